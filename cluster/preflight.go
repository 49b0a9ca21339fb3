package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

const (
	maxSkew   = 2 * time.Minute
	minFree   = 1 << 30 // bytes below which a host can hold neither image layers nor logs
	minInodes = 10000
)

// preflight checks the hosts on which containers will be made: what would make them fail later,
// named before anything starts. Errors are by host; warnings go to the log.
func (l *launch) preflight(ctx context.Context, cs *clusterState) map[string]error {
	needs, makes, evicts := map[string][]portNeed{}, map[string]bool{}, map[string]bool{}
	gpus := map[string]bool{} // nodes that are made there want some
	for _, a := range cs.actions {
		evicts[a.Host] = evicts[a.Host] || l.TakeOver && a.Kind == Remove
		if a.Kind == Create || a.Kind == Recreate {
			makes[a.Host], gpus[a.Host] = true, gpus[a.Host] || a.Want.GPUs > 0
		}
		if a.Kind != Create || evicts[a.Host] {
			continue // ports of a container that is there are its own, or those of the cluster that goes
		}
		// portsNeeded fails only on a version that planContainers has refused before.
		ports, _ := portsNeeded(a.Want.Node, cs.image.RayVersion, cs.image.Client)
		needs[a.Host] = append(needs[a.Host], ports...)
	}
	image := l.withLayers(ctx, cs, makes)
	return l.each(func(id string, h *docker.Host) error {
		hs := cs.hosts[id]
		if d := hs.facts.Skew; d.Abs() > maxSkew {
			l.logf("%s: warning: its clock is %s %s of ours; logs and certificates will be off", id,
				d.Abs().Round(time.Second), aheadOrBehind(d))
		}
		if !makes[id] {
			return nil
		}
		if w := oldSeccomp(hs.facts.Engine); w != "" {
			l.logf("%s: warning: %s", id, w)
		}
		if gpus[id] && hs.facts.GPUs == 0 {
			l.logf("%s: warning: its Engine lists no runtime and no device for GPUs; num_gpus is tried all the same",
				id)
		}
		ctx, cancel := docker.Within(ctx, engineLimit)
		defer cancel()
		return errors.Join(checkPorts(ctx, h, needs[id]), l.checkRoom(ctx, id, h, hs.info, image, cs.imageSize))
	})
}

// oldSeccomp is a warning about an Engine under which glibc 2.34 and later cannot start threads:
// its profile answers clone3 with EPERM, of which glibc makes no second try (moby 42681, mended in
// 20.10.10). Ubuntu 22.04 and Debian 12 have such a glibc.
func oldSeccomp(engine string) string {
	number := strings.FieldsFunc(engine, func(r rune) bool { return r == '+' || r == '-' || r == '~' })
	if len(number) == 0 {
		return ""
	}
	v, err := parseVersion(number[0]) // without a distribution's part: 20.10.5+dfsg1
	if err != nil || strings.HasPrefix(engine, "podman") || v.atLeast(20, 10, 10) {
		return ""
	}
	return fmt.Sprintf("docker %s is older than 20.10.10: in images with glibc 2.34 or later (Ubuntu 22.04, Debian "+
		"12) Ray dies there with \"pthread_create failed: Operation not permitted\"; update Docker and libseccomp",
		engine)
}

func aheadOrBehind(d time.Duration) string {
	if d > 0 {
		return "ahead"
	}
	return "behind"
}

func checkPorts(ctx context.Context, h *docker.Host, needs []portNeed) error {
	if len(needs) == 0 {
		return nil
	}
	taken, err := listening(ctx, h)
	if err != nil {
		return fmt.Errorf("look at its ports: %w", err)
	}
	var errs []error
	for _, n := range needs {
		for port, who := range taken {
			if port < n.First || port > n.Last {
				continue
			}
			if who == "" {
				who = "another process"
			}
			errs = append(errs, fmt.Errorf("port %d is needed by node %s (%s), and is used by %s; stop that, or "+
				"choose other ports", port, n.Node, n.Use, who))
		}
	}
	return errors.Join(errs...)
}

// freeOf runs df(1) and reads the fourth field of its last line, as POSIX has it with -P.
func freeOf(ctx context.Context, h *docker.Host, flag, path string) (int64, error) {
	out, err := h.Run(ctx, nil, "df", flag, path)
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(f) < 4 {
		return 0, fmt.Errorf("read %q of df", lines[len(lines)-1])
	}
	return strconv.ParseInt(f[3], 10, 64)
}
