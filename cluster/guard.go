package cluster

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// The guard is a container that keeps the packet filter: the kernel's table is gone after a reboot, and also when
// somebody flushes nftables, and Docker starts the nodes again on its own. So the filter's rules are in the guard's
// arguments, Docker starts it again as it does the nodes, and a node waits at a gate, a FIFO in a volume, until the
// guard has found or installed the table. Without a guard that runs, no node starts Ray.
//
// The guard has the host's network and CAP_NET_ADMIN alone. Its programs, sh and nft, are the host's, mounted
// read-only.

//go:embed guard.sh
var guardScript string

//go:embed gate.sh
var gateScript string

const (
	roleGuard   = "filter"
	labelOpen   = "raybuild.open" // ports that were open on the host before the cluster came
	gateDir     = "/run/raybuild-filter"
	gatePath    = gateDir + "/gate"
	guardLimit  = 20 * time.Second // to install the filter
	guardMemory = 64 << 20
)

func guardName(cluster string) string { return "raybuild-filter-" + cluster }

// gateVolume is the name of the volume with the gate.
func gateVolume(cluster string) string { return "raybuild-" + cluster + "-filter" }

// gated is a node's command behind the gate. It needs a shell in the image.
func gated(args []string) []string {
	return append([]string{"/bin/sh", "-c", gateScript, "sh", gatePath}, args...)
}

// guards says that a host's guard runs and keeps the filter of a digest.
func (hs hostState) guards(digest string) bool {
	return hs.guard != nil && hs.guard.State == "running" && hs.guard.Labels[labelFilter] == digest
}

// lookAtPorts finds out which ports a host had open before the cluster came: what its guard remembers, else what is
// open now.
func (hs *hostState) lookAtPorts(ctx context.Context, h *docker.Host) {
	nodes := false
	for _, c := range hs.containers {
		if open, ok := parseOpen(c.Labels[labelOpen]); ok {
			hs.open = open
		}
		role := Role(c.Labels[labelRole])
		nodes = nodes || (role == Head || role == Worker) && c.State != "created"
	}
	if len(hs.open.TCP) == 0 {
		hs.open, hs.openErr = otherPorts(ctx, h, nodes)
	}
}

// startGuard installs a host's filter: by a guard, which keeps it from then on. The table that is there stays until the
// guard replaces it.
func (l *launch) startGuard(ctx context.Context, h *docker.Host, rules, digest string, open openPorts) error {
	fail := func(err error) error {
		return fmt.Errorf("install the packet filter: %w", err)
	}
	if err := ensureToolImage(ctx, h, ""); err != nil {
		return fail(err)
	}
	programs, err := programDirs(ctx, h)
	if err != nil {
		return fail(err)
	}
	name, volume := guardName(l.spec.Name), gateVolume(l.spec.Name)
	if err := h.Remove(ctx, name); err != nil {
		return fail(err)
	}
	labels := l.mark().labels(roleGuard)
	v, err := h.CreateVolume(ctx, volume, labels)
	if err == nil && l.foreign(v.Labels) {
		err = fmt.Errorf("volume %q is of another cluster, of id %s", volume, textOf(v.Labels[labelID]))
	}
	if err != nil {
		return fail(err)
	}
	labels[labelFilter], labels[labelOpen] = digest, open.String()
	id, err := h.Create(ctx, docker.Create{Name: name, Image: toolImage, Labels: labels, Network: "host",
		Cmd:     []string{"/bin/sh", "-c", guardScript, "sh", filterTable(l.spec.Name), rules, gatePath},
		Env:     []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Restart: "unless-stopped", NoNewPrivileges: true, DropCaps: []string{"ALL"}, AddCaps: []string{"NET_ADMIN"},
		ReadOnly: true, NoSELinux: true, Pids: 64, Memory: guardMemory,
		Mounts: append(programs, docker.Mount{Volume: true, Source: volume, Target: gateDir})})
	if err == nil {
		err = h.Start(ctx, id)
	}
	if err == nil {
		err = l.awaitFilter(ctx, h, id, digest)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// awaitFilter waits until a guard has installed its filter.
func (l *launch) awaitFilter(ctx context.Context, h *docker.Host, id, digest string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, guardLimit, errTooLong)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollLast) {
		there, err := installedFilter(ctx, h, l.spec.Name)
		if err == nil && there.digest == digest {
			return nil
		}
		d, lookErr := h.Inspect(ctx, id)
		if lookErr == nil && (d.Restarts > 0 || !d.Running) {
			return fmt.Errorf("its guard ended, %s%s; it needs nftables on the host", exitOf(d.ExitCode),
				saying(lastWords(ctx, h, id)))
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// programDirs mounts where a host has its programs and their libraries.
func programDirs(ctx context.Context, h *docker.Host) ([]docker.Mount, error) {
	out, err := h.Run(ctx, nil, "ls", "-d", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")
	var failed *docker.CommandError // not every host has all of them
	if err != nil && !errors.As(err, &failed) {
		return nil, fmt.Errorf("look for its programs: %w", err)
	}
	var mounts []docker.Mount
	for _, dir := range strings.Fields(string(out)) {
		mounts = append(mounts, docker.Mount{Source: dir, Target: dir, ReadOnly: true})
	}
	if len(mounts) == 0 {
		return nil, fmt.Errorf("look for its programs: it shows no directory of them: %w", cmpErr(err))
	}
	return mounts, nil
}

// dropFilter removes a filter that is no longer wanted: first its guard, which would put it back.
func (l *launch) dropFilter(ctx context.Context, h *docker.Host) error {
	if err := h.Remove(ctx, guardName(l.spec.Name)); err != nil {
		return err
	}
	_, err := l.removeFilter(ctx, h)
	return err
}
