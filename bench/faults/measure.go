package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
)

// result is what became of a push.
type result struct {
	Outcome string  `json:"outcome"`         // pushed, failed, hung
	Right   bool    `json:"right"`           // it is what should become of it
	Seconds float64 `json:"seconds"`         // until it ended
	Sent    int64   `json:"bytes_sent"`      // of blobs, as the registry saw them
	Again   int64   `json:"bytes_again"`     // of them, those above the image's own
	Early   int64   `json:"early,omitempty"` // R4: requests before the time that the registry asked for
	Whole   bool    `json:"whole"`           // the tag is the image's digest at the end, and all of the image is there
	Error   string  `json:"error,omitempty"`
}

const (
	pushed = "pushed"
	failed = "failed"
	hung   = "hung"
)

// measure lets a peer push into a new registry with a fault.
func measure(ctx context.Context, dir string, m *image, r row, p peer, limit time.Duration) (res result, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result{}, err
	}
	good := m
	if r.source != nil {
		if m, err = m.spoiled(filepath.Join(dir, "image"), r.source); err != nil {
			return result{}, err
		}
	}
	s, err := newSite(ctx, filepath.Join(dir, "registry"), m, r)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, s.close(), os.RemoveAll(dir)) }()
	own := good.bytes
	if r.twice {
		if err := limited(ctx, limit, func(ctx context.Context) error {
			return p.push(ctx, m, tag(s.host), true)
		}); err == nil {
			return result{}, fmt.Errorf("%s, %s: the first push did not fail", r.id, r.fault)
		}
		s.first.Store(false)
		s.meter.Reset()
		own = 0 // all of them are there
	}
	start := time.Now()
	failure := limited(ctx, limit, func(ctx context.Context) error { return p.push(ctx, m, tag(s.host), false) })
	res = result{Outcome: pushed, Seconds: time.Since(start).Seconds(), Sent: s.meter.Blobs()}
	res.Again = max(0, res.Sent-own)
	if s.limit != nil {
		res.Early = s.limit.Early.Load()
	}
	there, wrong := s.arrived(ctx)
	res.Whole = there && wrong == nil
	if failure != nil {
		res.Outcome, res.Error = failed, firstLine(failure)
		if errors.Is(failure, context.DeadlineExceeded) {
			res.Outcome = hung
		}
	} else if wrong != nil {
		res.Error = firstLine(wrong)
	}
	if r.fails {
		res.Right = res.Outcome == failed && !there && res.Seconds < soon.Seconds()
	} else {
		res.Right = res.Outcome == pushed && res.Whole && (s.limit == nil || res.Seconds >= s.limit.After.Seconds())
	}
	return res, ctx.Err()
}

// limited ends what takes too long.
func limited(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.DeadlineExceeded, err)
	}
	return err
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line[:min(len(line), 300)]
}

// bench is where everything runs.
type bench struct {
	options
	image *image
	peers map[string]peer
	buildkit
}

func peerNames() []string { return []string{"raybuild", "buildctl", "crane"} }

// patience is raybuild's here. What is not said is what the command has.
func patience() registry.PushOptions {
	return registry.PushOptions{Stall: 10 * time.Second, Answer: 40 * time.Second}
}

// newBench builds the image, once: its two layers are random bytes.
func newBench(ctx context.Context, o options, log io.Writer) (b *bench, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can measure: the engine runs as root")
	}
	for _, file := range []*string{&o.raybuild, &o.buildctl, &o.dir} {
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(o.dir); err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(o.dir, name) }
	files := map[string][]byte{
		"context/large": noise(8 << 20), "context/small": noise(512 << 10),
		"context/Dockerfile":       []byte("FROM scratch\nCOPY large /large\nCOPY small /small\n"),
		"context/Dockerfile.cache": []byte(cacheFile),
		"from/Dockerfile":          []byte("FROM source\n"),
	}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(at(name), data, 0o644); err != nil {
			return nil, err
		}
	}
	b = &bench{options: o, buildkit: buildkit{
		program: o.buildctl, context: at("context"), from: at("from"),
		engine: engine.Options{Home: at("home"), Exe: o.raybuild, Notes: log},
		bad:    engine.Options{Home: at("home-bad"), Exe: o.raybuild, Notes: log},
	}}
	if b.image, err = b.build(ctx); err != nil {
		return nil, errors.Join(err, b.close(ctx))
	}
	b.peers = map[string]peer{"raybuild": ourselves{options: patience()}, "buildctl": b.buildkit, "crane": craning{}}
	return b, nil
}

func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // it never fails (crypto/rand)
	return data
}

// close ends the engines and removes all.
func (b *bench) close(ctx context.Context) error {
	return errors.Join(stop(ctx, []engine.Options{b.engine, b.bad}), os.RemoveAll(b.dir))
}

// measureAll runs all rows, some at once, and calls done with each that is finished.
func (b *bench) measureAll(ctx context.Context, all []row, done func(*line)) ([]*line, error) {
	lines := make([]*line, len(all))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.jobs)
	for i, r := range all {
		g.Go(func() error {
			l := &line{Row: r.id, Fault: r.fault, Wanted: pushed, Results: map[string]result{}}
			if r.fails {
				l.Wanted = failed
			}
			for _, name := range peerNames() {
				res, err := measure(ctx, filepath.Join(b.dir, fmt.Sprintf("%d-%s", i, name)), b.image, r,
					b.peers[name], b.limit)
				if err != nil {
					return fmt.Errorf("%s, %s, %s: %w", r.id, r.fault, name, err)
				}
				l.Results[name] = res
			}
			mu.Lock()
			defer mu.Unlock()
			lines[i] = l
			done(l)
			return nil
		})
	}
	return lines, g.Wait()
}

// selected are the rows of a list with commas; of an empty one, all.
func selected[T interface{ name() string }](all []T, list string) []T {
	if list == "" {
		return all
	}
	ids := strings.Split(list, ",")
	return slices.DeleteFunc(all, func(r T) bool { return !slices.Contains(ids, r.name()) })
}

func (r row) name() string      { return r.id }
func (c cacheRow) name() string { return c.id }
