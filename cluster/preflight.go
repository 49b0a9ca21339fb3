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

// preflight checks the hosts on which containers will be made: what would make them fail later, named before anything starts.
// Errors are by host; warnings are told.
func (l *launch) preflight(ctx context.Context, v *view) map[string]error {
	needs := map[string][]PortNeed{}
	for _, a := range v.actions {
		if a.Kind != Create {
			continue // ports of a container that is there are its own
		}
		// PortsNeeded fails only on a version that Desired has refused before.
		ports, _ := PortsNeeded(a.Want.Node, v.image.RayVersion, v.image.Client)
		needs[a.Host] = append(needs[a.Host], ports...)
	}
	return l.each(func(id string, h *docker.Host) error {
		k := v.looks[id]
		if d := k.facts.Skew; d.Abs() > maxSkew {
			l.tell.say("%s: warning: its clock is %s %s of ours; logs and certificates will be off", id, d.Abs().Round(time.Second), aheadOrBehind(d))
		}
		if len(needs[id]) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, engineLimit)
		defer cancel()
		var errs []error
		errs = append(errs, checkPorts(ctx, h, needs[id]), l.checkDisk(ctx, id, h, k.info.Root, v.imageSize))
		return errors.Join(errs...)
	})
}

func aheadOrBehind(d time.Duration) string {
	if d > 0 {
		return "ahead"
	}
	return "behind"
}

func checkPorts(ctx context.Context, h *docker.Host, needs []PortNeed) error {
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
			errs = append(errs, fmt.Errorf("port %d, which node %s needs (%s), is taken by %s; stop that, or choose other ports", port, n.Node, n.Use, who))
		}
	}
	return errors.Join(errs...)
}

// checkDisk looks at the file system of the Engine's images. A host on which df cannot be run is told, not refused.
func (l *launch) checkDisk(ctx context.Context, id string, h *docker.Host, root string, image int64) error {
	if root == "" {
		return nil
	}
	bytes, err := freeOf(ctx, h, "-Pk", root)
	if err != nil {
		l.tell.say("%s: warning: its free disk space is not known: %v", id, err)
		return nil
	}
	inodes, err := freeOf(ctx, h, "-Pi", root)
	if err != nil {
		inodes = minInodes // some file systems count none
	}
	free := bytes << 10
	if need := max(int64(minFree), image); free < need {
		return fmt.Errorf("%s has %d MiB free, and the image needs %d MiB; make room there (docker image prune)", root, free>>20, need>>20)
	}
	if inodes > 0 && inodes < minInodes {
		return fmt.Errorf("%s has %d inodes free, and an image takes many thousands; make room there (docker image prune)", root, inodes)
	}
	return nil
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
