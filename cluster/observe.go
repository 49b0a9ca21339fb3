package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// engineLimit bounds one call to an Engine that answers at once when it is well.
const engineLimit = 13 * time.Second

// hostState is a snapshot of one host.
type hostState struct {
	info       docker.Info // empty where what is recorded was enough
	facts      hostFacts
	kernel     kernel
	sign       docker.Sign
	containers []containerState
	lock       *containerState
	filter     installed // the packet filter that is there
	filterErr  error     // why it is not known
	guard      *containerState
	open       openPorts // of other services, which a packet filter leaves open
	openErr    error     // why they are not known
}

// observeOptions say what is observed.
type observeOptions struct {
	cluster string
	filter  bool // the packet filter, too
	// quick is content with what was recorded when a node's container was made, where the host is as it was then.
	quick bool
}

// observe looks at every connected host: its containers of the cluster, its Engine, its addresses; all at once.
// A host that does not answer moves from up to down.
func (l *launch) observe(ctx context.Context, what observeOptions) map[string]hostState {
	out := map[string]hostState{}
	var mu sync.Mutex
	errs := l.each(func(id string, h *docker.Host) error {
		hs, err := observeHost(ctx, id, h, what)
		if err != nil {
			return err
		}
		mu.Lock()
		out[id] = hs
		mu.Unlock()
		return nil
	})
	for id, err := range errs {
		l.fleet.up[id].Close() // it does not answer
		delete(l.fleet.up, id)
		l.fleet.down[id] = err
	}
	return out
}

func observeHost(ctx context.Context, id string, h *docker.Host, what observeOptions) (hostState, error) {
	ctx, cancel := docker.Within(ctx, engineLimit)
	defer cancel()
	var hs hostState
	var infoErr, listErr error
	var wg sync.WaitGroup
	askInfo := func() {
		before := time.Now()
		hs.info, infoErr = h.Info(ctx)
		hs.facts = engineFacts(hs.info, before.Add(time.Since(before)/2))
	}
	if !what.quick {
		wg.Go(askInfo)
	}
	wg.Go(func() { hs.containers, listErr = listContainers(ctx, id, h, what.cluster) })
	wg.Go(func() { hs.kernel = askKernel(ctx, h) })
	if what.filter {
		wg.Go(func() { hs.filter, hs.filterErr = installedFilter(ctx, h, what.cluster) })
	}
	wg.Wait()
	for i, c := range hs.containers {
		switch c.Labels[labelRole] {
		case roleLock:
			hs.lock = &hs.containers[i]
		case roleGuard:
			hs.guard = &hs.containers[i]
		}
	}
	if what.filter && listErr == nil {
		hs.lookAtPorts(ctx, h)
	}
	hs.sign = h.Sign()
	if what.quick && listErr == nil && !hs.restoreFacts() {
		askInfo()
	}
	if err := cmp.Or(infoErr, listErr); err != nil {
		return hs, err
	}
	hs.facts.Addresses, hs.facts.Looked = hs.kernel.addresses, hs.kernel.looked
	return hs, nil
}

func listContainers(ctx context.Context, id string, h *docker.Host, cluster string) ([]containerState, error) {
	list, err := h.Containers(ctx, labelCluster+"="+cluster)
	if err != nil {
		return nil, err
	}
	list = madeHere(ctx, h, list)
	out := make([]containerState, len(list))
	for i, c := range list {
		out[i] = containerState{Host: id, ID: c.ID, Name: c.Name, State: c.State, Young: c.Young, Labels: c.Labels,
			Made: c.Made, Token: c.Kept[tokenDir]}
	}
	slices.SortFunc(out, func(a, b containerState) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// engineFacts reads what the Engine says of itself. at is when it said so, by our clock.
func engineFacts(i docker.Info, at time.Time) hostFacts {
	f := hostFacts{CPUs: i.CPUs, Memory: i.Memory, Engine: i.Version, Arch: goArch(i.Arch), Rootless: i.Rootless}
	if i.GPUs {
		f.GPUs = gpuUnknown
	}
	if !i.Time.IsZero() {
		f.Skew = i.Time.Sub(at)
	}
	return f
}

// gpuUnknown: the Engine can hand GPUs to containers, but its API does not tell how many there are;
// it refuses what it cannot give.
const gpuUnknown = 1 << 10

// goArch turns a kernel's name of a CPU (uname -m, which the Engine reports) into Go's.
func goArch(kernel string) string {
	switch kernel {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l":
		return "arm"
	}
	return kernel
}

// listening asks the host's kernel which TCP ports are taken, and, where ss(8) is there and we may know, by whom.
func listening(ctx context.Context, h *docker.Host) (map[int]string, error) {
	if out, err := h.Run(ctx, nil, "ss", "-Hltnp"); err == nil {
		return parseSS(string(out)), nil
	}
	out, err := h.Run(ctx, nil, "cat", "/proc/net/tcp", "/proc/net/tcp6")
	var failed *docker.CommandError
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	return parseProcTCP(string(out)), nil
}

// parseSS reads lines as `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=612,fd=3))`.
func parseSS(text string) map[int]string {
	out := map[int]string{}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != "LISTEN" {
			continue
		}
		i := strings.LastIndexByte(f[3], ':')
		port, err := strconv.Atoi(f[3][i+1:])
		if err != nil {
			continue
		}
		who := ""
		if len(f) > 5 {
			if _, rest, ok := strings.Cut(f[5], `(("`); ok {
				name, rest, _ := strings.Cut(rest, `"`)
				pid, _, _ := strings.Cut(strings.TrimPrefix(rest, ",pid="), ",")
				who = fmt.Sprintf("%s (pid %s)", name, pid)
			}
		}
		out[port] = who
	}
	return out
}

// parseProcTCP reads /proc/net/tcp: "sl local_address rem_address st …", state 0A is LISTEN (Linux
// include/net/tcp_states.h).
func parseProcTCP(text string) map[int]string {
	out := map[int]string{}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" {
			continue
		}
		if _, hexPort, ok := strings.Cut(f[1], ":"); ok {
			if port, err := strconv.ParseUint(hexPort, 16, 16); err == nil {
				out[int(port)] = ""
			}
		}
	}
	return out
}
