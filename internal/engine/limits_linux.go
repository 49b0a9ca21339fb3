package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/llbsolver/linuxresources"
	"github.com/moby/buildkit/solver/llbsolver/ops"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sys/unix"
)

// BuildKit limits a step's memory by metadata of its operation, which is in no cache key. It has no word for processes,
// so that limit is in the operation's description. llb knows these texts.
const (
	pidsKey = "raybuild.limits.pids"
	// What the engine adds to the error of a step that met a limit.
	metMemory = "raybuild: the step met a limit of memory"
	metPIDs   = "raybuild: the step met its limit of processes"
)

// defaultPIDs is how many processes and threads a step has at once, if its recipe says nothing: enough for compilers
// on each CPU, and few enough that a fork bomb leaves the machine alive.
func defaultPIDs() int64 { return max(4096, 64*int64(runtime.NumCPU())) }

const cgroupRoot = "/sys/fs/cgroup"

// cgroups is which limits this machine's control groups keep for the engine.
type cgroups struct{ v2, memory, swap, pids bool }

// findCgroups looks at control groups. BuildKit must have set up its own before.
func findCgroups() cgroups {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		on, _ := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"))
		has := func(name string) bool {
			return slices.Contains(strings.Fields(string(on)), name) && unix.Access(cgroupRoot, unix.W_OK) == nil
		}
		swaps, _ := os.ReadFile("/proc/swaps")
		return cgroups{v2: true, memory: has("memory"), pids: has("pids"), swap: bytes.Count(swaps, []byte("\n")) > 1}
	}
	has := func(name string) bool {
		dir := filepath.Join(cgroupRoot, name)
		err := unix.Statfs(dir, &st)
		return err == nil && st.Type == unix.CGROUP_SUPER_MAGIC && unix.Access(dir, unix.W_OK) == nil
	}
	_, err := os.Stat(filepath.Join(cgroupRoot, "memory", "memory.memsw.limit_in_bytes"))
	return cgroups{memory: has("memory"), pids: has("pids"), swap: err == nil}
}

// String lists the limits for the engine's label.
func (c cgroups) String() string {
	var all []string
	if c.memory {
		all = append(all, "memory")
	}
	if c.pids {
		all = append(all, "pids")
	}
	return strings.Join(all, ",")
}

// events is how often the kernel has ended a process of a group for lack of memory, and has refused to make one.
func (c cgroups) events(group string) (killed, refused int64) {
	memory, pids := filepath.Join("memory", group, "memory.oom_control"), filepath.Join("pids", group, "pids.events")
	if c.v2 {
		memory, pids = filepath.Join(group, "memory.events"), filepath.Join(group, "pids.events")
	}
	return counter(memory, "oom_kill"), counter(pids, "max")
}

// counter reads a number of a file of "name number" lines; 0 if it is not there.
func counter(file, name string) int64 {
	text, _ := os.ReadFile(filepath.Join(cgroupRoot, file))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// limiting is an executor that limits what a step may use, and says which limit it met.
type limiting struct {
	executor.Executor
	has cgroups
}

// limited is one run of a step. The network of the step gets it by the context, because that is what sees the
// container's specification.
type limited struct {
	has             cgroups
	memory, pids    int64
	group           string
	killed, refused int64
}

type (
	limitedKey  struct{} // of a *limited
	ownPIDsKey  struct{} // of an int64
	limitedSpan struct { // is told of the container's end while its groups are still there
		trace.Span
		run *limited
	}
)

// Run implements executor.Executor.
func (l limiting) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount,
	process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	if id == "" {
		id = identity.NewID()
	}
	if !l.has.memory {
		process.Meta.LinuxResources = nil
	}
	run := &limited{has: l.has, memory: process.Meta.LinuxResources.GetMemory(), pids: defaultPIDs()}
	if own, ok := ctx.Value(ownPIDsKey{}).(int64); ok {
		run.pids = own
	}
	ctx = context.WithValue(ctx, limitedKey{}, run)
	ctx = trace.ContextWithSpan(ctx, limitedSpan{trace.SpanFromContext(ctx), run})
	rec, err := l.Executor.Run(ctx, id, root, mounts, process, started)
	switch {
	case err == nil:
	case run.killed > 0:
		err = fmt.Errorf("%w; %s", err, metMemory)
	case run.refused > 0:
		err = fmt.Errorf("%w; %s", err, metPIDs)
	}
	return rec, err
}

// AddEvent implements trace.Span. BuildKit's executor tells the span of the container's end before it removes the
// container. A test holds it to that.
func (s limitedSpan) AddEvent(name string, o ...trace.EventOption) {
	if name == "Container exited" && s.run.group != "" {
		s.run.killed, s.run.refused = s.run.has.events(s.run.group)
	}
	s.Span.AddEvent(name, o...)
}

// set writes the limits into a container's specification.
func (r *limited) set(s *specs.Spec) {
	if s.Linux == nil {
		return
	}
	r.group = s.Linux.CgroupsPath
	if s.Linux.Resources == nil {
		s.Linux.Resources = &specs.LinuxResources{}
	}
	if r.has.pids {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &r.pids}
	}
	if m := s.Linux.Resources.Memory; m != nil && r.memory > 0 && r.has.swap {
		m.Swap = &r.memory // of both together: none
	}
}

// limitNetworks makes each step's network set the step's limits.
func limitNetworks(all map[pb.NetMode]network.Provider) {
	for mode, p := range all {
		all[mode] = limitedNetworks{p}
	}
}

type limitedNetworks struct{ network.Provider }

// New implements network.Provider.
func (p limitedNetworks) New(ctx context.Context, host string, o network.NamespaceOptions) (network.Namespace, error) {
	n, err := p.Provider.New(ctx, host, o)
	run, ok := ctx.Value(limitedKey{}).(*limited)
	if err != nil || !ok {
		return n, err
	}
	return limitedNetwork{n, run}, nil
}

type limitedNetwork struct {
	network.Namespace
	run *limited
}

// Set implements network.Namespace.
func (n limitedNetwork) Set(s *specs.Spec) error {
	n.run.set(s)
	return n.Namespace.Set(s)
}

// limitingWorker reads how many processes a step may have out of its description.
type limitingWorker struct{ *base.Worker }

// ResolveOp implements worker.Worker.
func (w limitingWorker) ResolveOp(v solver.Vertex, s frontend.FrontendLLBBridge, sm *session.Manager,
	proxy worker.ProxyOpt) (solver.Op, error) {
	op, _ := v.Sys().(*pb.Op)
	step, ok := op.GetOp().(*pb.Op_Exec)
	pids, err := strconv.ParseInt(v.Options().Description[pidsKey], 10, 64)
	if !ok || proxy.Network || err != nil || pids <= 0 {
		return w.Worker.ResolveOp(v, s, sm, proxy)
	}
	var memory *pb.LinuxResources
	if m, ok := v.Options().Metadata.(*linuxresources.Metadata); ok && m != nil {
		memory = m.LinuxResources
	}
	return ops.NewExecOp(v, step, op.Platform, w.CacheMgr, w.ParallelismSem, sm, ownPIDs{w.WorkerOpt.Executor, pids},
		w.Worker, memory, false)
}

// ownPIDs is an executor of a step with a limit of its own.
type ownPIDs struct {
	executor.Executor
	pids int64
}

// Run implements executor.Executor.
func (o ownPIDs) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount,
	process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	return o.Executor.Run(context.WithValue(ctx, ownPIDsKey{}, o.pids), id, root, mounts, process, started)
}
