package layers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/raybuild/raybuild/llb"
)

// resolving shows what the resolvers of one call do, some of them at once, on one display. It opens when there is
// something to show. Until it is closed it keeps lines of the log: on a terminal the display draws over them.
type resolving struct {
	in ResolveInput // as the caller gave it

	mu      sync.Mutex
	display *llb.Display
	kept    []string
}

// shared makes the input ready for resolvers that run at once. end says what is left to say.
func (in ResolveInput) shared() (_ ResolveInput, end func() error) {
	if in.Log == nil {
		in.Log = func(string, ...any) {}
	}
	if in.Resolved == nil {
		in.Resolved = func(llb.Step) {}
	}
	s := &resolving{in: in}
	in.Log, in.Resolved, in.shown = s.log, s.resolved, s
	return in, s.end
}

func (s *resolving) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.display == nil {
		s.in.Log(format, args...)
		return
	}
	s.kept = append(s.kept, fmt.Sprintf(format, args...))
}

func (s *resolving) resolved(step llb.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.Resolved(step)
}

// on is the display.
func (s *resolving) on(ctx context.Context) (*llb.Display, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.display != nil {
		return s.display, nil
	}
	d, err := llb.OpenDisplay(ctx, llb.SolveOptions{Progress: s.in.Progress, ProgressTo: s.in.ProgressTo,
		Title: "Resolving"})
	if err == nil {
		s.display = d
	}
	return d, err
}

// step shows work of this machine until end is called.
func (s *resolving) step(ctx context.Context, layer, what string) (end func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	d, err := s.on(ctx)
	if err != nil {
		return nil, err
	}
	step := llb.Step{Layer: layer, Name: what, Started: time.Now()}
	d.ShowStep(step)
	return func() {
		step.Completed = time.Now()
		d.ShowStep(step)
	}, nil
}

func (s *resolving) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.display == nil {
		return nil
	}
	err := s.display.Close()
	for _, line := range s.kept {
		s.in.Log("%s", line)
	}
	s.display, s.kept = nil, nil
	return err
}
