package llb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	digest "github.com/opencontainers/go-digest"
)

// Limits bound what one command may use. They say nothing of its result, so they are in no cache key and in no digest.
// If two builds run one command at the same time, the one that began it sets the limits.
//
// Time is kept with every builder. raybuild's own engine keeps Memory and PIDs if it runs as root. Other builders keep
// Memory from BuildKit 0.34 on, and not PIDs; see [Builder.Unlimited].
type Limits struct {
	// Memory of all its processes together, in bytes, files in memory included. Default: no limit.
	Memory int64
	// PIDs are its processes and threads at one time. Default: the builder's; for raybuild's own engine 4096, or 64 for
	// each CPU if that is more.
	PIDs int64
	// Time that it may run. Default: no limit.
	Time time.Duration
}

// or fills what l leaves open.
func (l Limits) or(other Limits) Limits {
	if l.Memory == 0 {
		l.Memory = other.Memory
	}
	if l.PIDs == 0 {
		l.PIDs = other.PIDs
	}
	if l.Time == 0 {
		l.Time = other.Time
	}
	return l
}

func (l Limits) validate() error {
	if l.Memory < 0 || l.PIDs < 0 || l.Time < 0 {
		return fmt.Errorf("limits %+v: want none below 0", l)
	}
	return nil
}

// Keys of an operation's description, and what raybuild's own engine adds to a step's error. The engine knows the
// first and the last two.
const (
	pidsKey   = "raybuild.limits.pids"
	timeKey   = "raybuild.limits.time"
	metMemory = "raybuild: the step met a limit of memory"
	metPIDs   = "raybuild: the step met its limit of processes"
)

// limitsLabel lists what raybuild's own engine limits.
const limitsLabel = "raybuild.engine.limits"

// Names of limits, as [StepError.Limit] and [Builder.Unlimited] have them.
const (
	LimitMemory = "memory"
	LimitPIDs   = "pids"
	LimitTime   = "time"
)

// options write the limits into an operation's metadata.
func (l Limits) options() []bkllb.ConstraintsOpt {
	var all []bkllb.ConstraintsOpt
	if l.Memory > 0 {
		all = append(all, bkllb.MemoryLimit(l.Memory))
	}
	about := map[string]string{}
	if l.PIDs > 0 {
		about[pidsKey] = strconv.FormatInt(l.PIDs, 10)
	}
	if l.Time > 0 {
		about[timeKey] = l.Time.String()
	}
	if len(about) > 0 {
		all = append(all, bkllb.WithDescription(about))
	}
	return all
}

// limitsOf reads what options wrote.
func limitsOf(m bkllb.OpMetadata) Limits {
	l := Limits{Memory: m.LinuxResources.GetMemory()}
	l.PIDs, _ = strconv.ParseInt(m.Description[pidsKey], 10, 64)
	l.Time, _ = time.ParseDuration(m.Description[timeKey])
	return l
}

// Unlimited names those of the limits that the builder does not keep: [LimitMemory], [LimitPIDs]. Of a foreign builder
// it only knows what its version can do: one that runs without root keeps none, and does not say so.
func (b *Builder) Unlimited(ctx context.Context, l Limits) ([]string, error) {
	if l.Memory == 0 && l.PIDs == 0 {
		return nil, nil
	}
	workers, err := b.c.ListWorkers(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect builder %q: %w", b.addr, err)
	}
	keeps, own := "", false
	if len(workers) > 0 {
		keeps, own = workers[0].Labels[limitsLabel]
	}
	if !own {
		_, err = b.c.Build(ctx, client.SolveOpt{Internal: true}, "",
			func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
				if canLimit(gw.BuildOpts().LLBCaps) {
					keeps = LimitMemory
				}
				return gateway.NewResult(), nil
			}, nil)
		if err != nil {
			return nil, fmt.Errorf("inspect builder %q: %w", b.addr, err)
		}
	}
	var lacks []string
	for _, want := range []struct {
		name string
		n    int64
	}{{LimitMemory, l.Memory}, {LimitPIDs, l.PIDs}} {
		if want.n > 0 && !slices.Contains(strings.Split(keeps, ","), want.name) {
			lacks = append(lacks, want.name)
		}
	}
	return lacks, nil
}

func canLimit(caps apicaps.CapSet) bool { return caps.Supports(pb.CapExecMetaLinuxResources) == nil }

// overTimeError ends a solve whose step runs for too long.
type overTimeError struct{ vertex digest.Digest }

func (e *overTimeError) Error() string { return "a step ran longer than its limit" }

// limitTime gives a function that takes the events of a solve, and ends the solve when a step runs longer than it may.
func (c *call) limitTime(cancel context.CancelCauseFunc) (saw func(*client.SolveStatus), end func()) {
	var mu sync.Mutex
	running := map[digest.Digest]*time.Timer{}
	saw = func(ss *client.SolveStatus) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range ss.Vertexes {
			limit, counts := c.col.timeOf(v)
			timer := running[v.Digest]
			switch {
			case !counts:
			case v.Completed != nil && timer != nil:
				timer.Stop()
				delete(running, v.Digest)
			case v.Started != nil && v.Completed == nil && timer == nil:
				running[v.Digest] = time.AfterFunc(limit, func() { cancel(&overTimeError{v.Digest}) })
			}
		}
	}
	return saw, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, timer := range running {
			timer.Stop()
		}
	}
}

// timeOf is how long the step of an event may run. counts is false if there is no limit, or the event is not of the
// step itself.
func (c *collector) timeOf(v *client.Vertex) (limit time.Duration, counts bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.by[v.Digest]
	if s == nil || s.limits.Time <= 0 || s.inputs && len(v.Inputs) == 0 {
		return 0, false
	}
	return s.limits.Time, true
}

// tooLong is the error of a step that ran longer than it may.
func (c *collector) tooLong(over *overTimeError) *StepError {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.by[over.vertex]
	e := &StepError{ExitCode: -1, Limit: LimitTime, output: s.log(), Err: over}
	e.Log = slices.Clone(e.output[max(0, len(e.output)-logLines):])
	e.Layer, e.Step = splitTitle(s.title)
	e.met = fmt.Sprintf("it ran longer than %s (limits.time), and was ended", shortTime(s.limits.Time))
	e.Hint = "raise limits.time, or see in its output what it waited for"
	return e
}

// killed is the exit code of a command that SIGKILL ended.
const killed = 137

// meets finds which limit a failed step met. A foreign builder with control groups of version 2 says so by ENOMEM.
func (e *StepError) meets(l Limits) {
	text := e.Err.Error()
	switch {
	case strings.Contains(text, metMemory), e.ExitCode == killed && strings.HasSuffix(text, syscall.ENOMEM.Error()):
		e.Limit, e.met = LimitMemory, "the builder's machine had no memory left for it"
		e.Hint = "free some, or run fewer builds at once"
		if l.Memory > 0 {
			e.met = fmt.Sprintf("it used more than its %s of memory (limits.memory)", shortSize(l.Memory))
			e.Hint = "raise limits.memory, or make it use less, such as by fewer compilers at once"
		}
	case strings.Contains(text, metPIDs):
		e.Limit, e.met = LimitPIDs, "it wanted more processes and threads than the builder gives a step"
		if l.PIDs > 0 {
			e.met = fmt.Sprintf("it wanted more than its %d processes and threads at once (limits.pids)", l.PIDs)
		}
		e.Hint = "raise limits.pids, or make it use fewer"
	}
}

// Limited tells whether an error is that of a step that met a limit, and names the limit.
func Limited(err error) (limit string, ok bool) {
	var step *StepError
	if errors.As(err, &step) {
		return step.Limit, step.Limit != ""
	}
	return "", false
}

// shortTime is a time as people write it: 30m, not 30m0s.
func shortTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// shortSize is a size in the largest unit that needs no fraction.
func shortSize(n int64) string {
	for _, u := range []struct {
		bits uint
		name string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n>>u.bits<<u.bits == n {
			return fmt.Sprintf("%d %s", n>>u.bits, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
