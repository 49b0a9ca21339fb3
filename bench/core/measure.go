package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
)

// sample is one measurement of a process.
type sample struct {
	seconds float64
	peak    int64 // resident bytes at most, as seen every 10 ms
}

// time runs a program from start to end.
func (p *place) time(ctx context.Context, home, program string, args ...string) (sample, error) {
	cmd := p.Cmd(ctx, home, program, args...)
	var said strings.Builder
	cmd.Stderr = &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var s sample
	for {
		select {
		case err := <-ended:
			s.seconds = time.Since(start).Seconds()
			if err != nil {
				err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said.String())
			}
			return s, err
		case <-tick.C:
			s.peak = max(s.peak, peak(cmd.Process.Pid))
		}
	}
}

// peak is the most memory in bytes that a process has had resident (VmHWM, proc(5)); 0 when it has ended.
func peak(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kb * 1024
}

// enginePeak is the most memory that the engine of a home has had: the engine alone, without the steps that it runs.
func (p *place) enginePeak(ctx context.Context, home string) (int64, error) {
	addr, err := engine.Ensure(ctx, p.Engine(home))
	if err != nil {
		return 0, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(addr, "unix://"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("engine address %q is no unix socket", addr)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return peak(int(cred.Pid)), nil
}

// engineStart measures the time from nothing to an engine that answers: on an empty state
// directory, on one that is there, and where it runs already.
func (p *place) engineStart(ctx context.Context, r *report) error {
	var cold, warm, running []float64
	ensure := func(home string, into *[]float64) error {
		start := time.Now()
		_, err := engine.Ensure(ctx, p.Engine(home))
		*into = append(*into, time.Since(start).Seconds())
		return err
	}
	for i := range p.runs {
		home := p.Home(fmt.Sprintf("start-%d", i))
		if err := ensure(home, &cold); err != nil {
			return err
		}
		if err := engine.Stop(ctx, p.Engine(home)); err != nil {
			return err
		}
		if err := ensure(home, &warm); err != nil {
			return err
		}
		if err := ensure(home, &running); err != nil {
			return err
		}
		if err := engine.Stop(ctx, p.Engine(home)); err != nil {
			return err
		}
	}
	r.add("engine start to first answer, no state yet", "s", cold, nil)
	r.add("engine start to first answer, state there", "s", warm, nil)
	r.add("engine runs already, to first answer", "s", running, nil)
	return nil
}

// side is one of the two that are compared.
type side struct {
	home, repo string
	build      func(ctx context.Context, home, ref string) (sample, error)
	seconds    []float64
	peak       int64
	engine     int64
}

func (p *place) raybuildBuild(ctx context.Context, home, ref string) (sample, error) {
	return p.time(ctx, home, p.Raybuild, "--push", "--frozen", "--graph-tag=false", "--reuse=false", "--progress",
		"plain", "-f", p.recipe(), ref)
}

// coldBuilds builds from nothing into an empty registry, in turns. What is left behind, a warm
// engine and a filled registry on each side, is what the cached builds are measured on.
func (p *place) coldBuilds(ctx context.Context, r *report) (ours, theirs *side, err error) {
	ours = &side{build: p.raybuildBuild}
	theirs = &side{build: func(ctx context.Context, home, ref string) (sample, error) {
		return p.buildctlBuild(ctx, home, ref)
	}}
	var stored []float64
	for i := range p.cold {
		for k, s := range []*side{ours, theirs} {
			name := [...]string{"raybuild", "dockerfile"}[k]
			if s.home != "" {
				if err := p.Drop(ctx, s.home, "."); err != nil {
					return nil, nil, err
				}
			}
			if err := p.coldBuild(ctx, s, fmt.Sprintf("%s-%d", name, i)); err != nil {
				return nil, nil, err
			}
		}
	}
	r.add("cold build and push", "s", ours.seconds, theirs.seconds)
	// The same with an empty engine, where the artifacts are in raybuild's store: a new engine on a
	// machine that has built before.
	again := &side{home: ours.home, build: p.raybuildBuild}
	if err := p.Drop(ctx, again.home, "engine"); err != nil {
		return nil, nil, err
	}
	if again.repo, err = p.Registry(ctx, "stored"); err != nil {
		return nil, nil, err
	}
	s, err := again.build(ctx, again.home, again.repo+"/bench/ray:cold")
	if err != nil {
		return nil, nil, err
	}
	stored = append(stored, s.seconds)
	r.add("the same, artifacts in raybuild's store", "s", stored, nil)
	r.add("peak memory of the client, cold build", "B", inBytes(ours.peak), inBytes(theirs.peak))
	r.add("peak memory of the engine, cold build", "B", inBytes(ours.engine), inBytes(theirs.engine))
	return ours, theirs, nil
}

// coldBuild builds on an empty engine, and pushes to an empty registry. buildctl's engine runs before the clock does;
// raybuild's start is part of what is measured.
func (p *place) coldBuild(ctx context.Context, s *side, name string) error {
	p.Say("cold build: %s", name)
	host, err := p.Registry(ctx, name)
	if err != nil {
		return err
	}
	s.home, s.repo = p.Home(name), host+"/bench/ray"
	m, err := s.build(ctx, s.home, s.repo+":cold")
	if err != nil {
		return err
	}
	s.seconds, s.peak = append(s.seconds, m.seconds), max(s.peak, m.peak)
	inEngine, err := p.enginePeak(ctx, s.home)
	s.engine = max(s.engine, inEngine)
	return err
}

// cachedBuilds measures builds of which nothing is new: under another tag, which both sides solve
// and push, and under the same one, where raybuild asks the registry first.
func (p *place) cachedBuilds(ctx context.Context, r *report, ours, theirs *side) error {
	for _, c := range []struct{ what, memory, tag string }{
		{"fully cached solve and push, new tag", "peak memory of the client, cached solve", "cached-%d"},
		{"nothing changed, same tag (bar: 150 ms)", "peak memory of the client, nothing changed", "cold"},
	} {
		p.Say("%s", c.what)
		var seconds [2][]float64
		var peaks [2]int64
		for i := range p.runs {
			for k, s := range []*side{ours, theirs} {
				tag := c.tag
				if strings.Contains(tag, "%d") {
					tag = fmt.Sprintf(tag, i)
				}
				m, err := s.build(ctx, s.home, s.repo+":"+tag)
				if err != nil {
					return err
				}
				seconds[k], peaks[k] = append(seconds[k], m.seconds), max(peaks[k], m.peak)
			}
		}
		r.add(c.what, "s", seconds[0], seconds[1])
		r.add(c.memory, "B", inBytes(peaks[0]), inBytes(peaks[1]))
	}
	return nil
}

// contents lists what is in an image: a comparison of builds of different things would say nothing.
const contents = `dpkg-query -W; for f in /opt/conda/envs/ray/conda-meta/*.json; do basename "$f"; done
python -m pip list --format freeze --disable-pip-version-check; ray --version; id -u; pwd
find /opt/conda/envs/ray -name '*.py' | wc -l`

// sameImage fails where the two images do not hold the same packages, and adds their sizes.
func (p *place) sameImage(ctx context.Context, r *report, ours, theirs *side) error {
	p.Say("comparing the two images")
	var said [2]string
	var sizes [2]int64
	for i, s := range []*side{ours, theirs} {
		ref := s.repo + ":cold"
		var err error
		if said[i], err = p.Command(ctx, s.home, p.runner, "run", ref, "bash", "-ec", contents); err != nil {
			return err
		}
		image, err := registry.New(registry.Options{}).Inspect(ctx, ref)
		if err != nil {
			return err
		}
		for _, platform := range image.Platforms {
			sizes[i] += platform.Size
		}
	}
	if said[0] != said[1] {
		a, b := strings.Split(said[0], "\n"), strings.Split(said[1], "\n")
		only := func(x, y []string) []string {
			return slices.DeleteFunc(slices.Clone(x), func(l string) bool { return slices.Contains(y, l) })
		}
		return errors.New("the two images differ, so their builds do not compare:\nonly in raybuild's:\n  " +
			strings.Join(only(a, b), "\n  ") + "\nonly in the Dockerfile's:\n  " + strings.Join(only(b, a), "\n  "))
	}
	r.add("image size, compressed", "B", inBytes(sizes[0]), inBytes(sizes[1]))
	return nil
}

func inBytes(n int64) []float64 { return []float64{float64(n)} }
