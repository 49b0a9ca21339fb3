package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/docker"
)

// Images finds facts about an image without an Engine. The raybuild command uses one that asks the registry from this
// machine.
type Images interface {
	// Facts resolves a reference. If it fails, the Engine of the head's host is asked.
	Facts(ctx context.Context, ref string) (ImageFacts, error)
}

// Credentials log in to a registry.
type Credentials struct{ Username, Password, IdentityToken string }

// Options of a launcher. The zero value reaches hosts as ssh does, and writes no log.
type Options struct {
	SSH    SSH    // default: what ssh itself takes for this user
	Images Images // default: only the head's Engine is asked
	// per pull, never stored on a host; default: none
	Auth func(ctx context.Context, registry string) (Credentials, error)
	// identity of the cluster, as NewID makes one; a launcher changes only what has the same. Default: none. Two
	// clusters without one that have the same name and share a host are one cluster to a launcher.
	ID       string
	TakeOver bool // removes, or takes for its own, what has the cluster's name and not its identity
	// Down: the file that a cluster of an earlier version, which has no identity, must fit. Default: it fits none
	Fits  *Spec
	Owner string        // who holds the lock and makes containers, for others to read; default user@machine
	Log   io.Writer     // a line for each event; default: nowhere
	Lease time.Duration // how long a lock outlives its launcher; default 30 s
	Also  []Host        // hosts that are no longer in the spec and may have containers to remove
	// tells who of a spec's Trust has signed an image, which is named by digest. Default: an image of a spec with
	// Trust is refused
	Verify func(ctx context.Context, ref string, t Trust) (who string, err error)
}

func (o Options) withDefaults() Options {
	if o.Owner == "" {
		o.Owner = owner()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	return o
}

func owner() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		name += "@" + h
	}
	return name
}

// launch is one run of a command of the launcher.
type launch struct {
	Options
	spec  *Spec
	fleet fleet
	logMu sync.Mutex // keeps the log's lines whole
	start time.Time

	digest string    // that the image's name resolved to
	local  sync.Once // tells that a local image is taken

	verified string // the image that somebody trusted has signed
	ran      string // digest of the image in which `ray --version` was run
}

func newLaunch(spec *Spec, o Options) *launch {
	o = o.withDefaults()
	return &launch{Options: o, spec: spec, start: time.Now()}
}

// logf writes one line to the log. A log that nobody can read any more must not stop the work.
func (l *launch) logf(format string, a ...any) {
	l.logMu.Lock()
	defer l.logMu.Unlock()
	fmt.Fprintln(l.Log, textOf(fmt.Sprintf(format, a...)))
}

// HostError says what went wrong with one host, and what to do next.
type HostError struct {
	Host string // Host.ID
	Err  error
	Next string // a command, or what to change
}

func (e *HostError) Error() string {
	s := fmt.Sprintf("host %s: %v", e.Host, e.Err)
	if e.Next != "" {
		s += "; next: " + e.Next
	}
	return s
}

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.Err }

// fleet is the hosts of a cluster, connected as far as they can be.
type fleet struct {
	order []Host
	up    map[string]*docker.Host // by Host.ID
	down  map[string]error        // by Host.ID: why not
}

// connect reaches every host at once, within the limit, and goes on with each as soon as it is
// there. A host that cannot be reached, or with which it cannot go on, is no error here: the caller
// knows the policy.
func (l *launch) connect(ctx context.Context, hosts []Host, goOn func(id string, h *docker.Host) error) {
	f := fleet{up: map[string]*docker.Host{}, down: map[string]error{}}
	seen := map[string]bool{}
	for _, h := range hosts {
		if !seen[h.ID()] {
			seen[h.ID()] = true
			f.order = append(f.order, h)
		}
	}
	var mu sync.Mutex
	g := l.group()
	for _, h := range f.order {
		g.Go(func() error {
			c, err := docker.Dial(ctx, target(h), l.SSH.options())
			if err == nil && goOn != nil {
				if err = goOn(h.ID(), c); err != nil {
					c.Close() // it does not answer
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.down[h.ID()] = err
				return nil
			}
			f.up[h.ID()] = c
			return nil
		})
	}
	g.Wait() //nolint:errcheck // errors are in f.down
	l.fleet = f
	for _, h := range f.order {
		if c := f.up[h.ID()]; c != nil && c.Note() != "" {
			l.logf("note: %s", c.Note())
		}
	}
}

// group bounds how many hosts are worked on at once. Its context is the caller's: one host's
// failure does not cancel the others.
func (l *launch) group() *errgroup.Group {
	g := &errgroup.Group{}
	limit := 32
	if l.spec != nil && l.spec.Parallel > 0 {
		limit = l.spec.Parallel
	}
	g.SetLimit(limit)
	return g
}

// each runs f for every connected host, in parallel, and gathers the errors by host.
func (l *launch) each(f func(id string, h *docker.Host) error) map[string]error {
	errs := map[string]error{}
	var mu sync.Mutex
	g := l.group()
	for _, h := range l.fleet.order {
		id := h.ID()
		c, ok := l.fleet.up[id]
		if !ok {
			continue
		}
		g.Go(func() error {
			if err := f(id, c); err != nil {
				mu.Lock()
				errs[id] = err
				mu.Unlock()
			}
			return nil
		})
	}
	g.Wait() //nolint:errcheck // errors are in errs
	return errs
}

func (l *launch) close() {
	for _, h := range l.fleet.up {
		h.Close() // the work is done
	}
}

func (l *launch) head() *docker.Host { return l.fleet.up[l.spec.Head.Host.ID()] }

// next is the command that a user runs after mending something.
func (l *launch) next() string {
	if l.spec == nil || l.spec.File == "" {
		return "raybuild cluster up"
	}
	return "raybuild cluster up -f " + l.spec.File
}

// unreachable decides whether the cluster can do without the hosts that could not be reached.
func (l *launch) unreachable() ([]error, error) {
	var failures []error
	for _, h := range l.spec.Hosts() {
		if err := l.fleet.down[h.ID()]; err != nil {
			failures = append(failures, &HostError{Host: h.ID(), Err: err})
		}
	}
	if err := l.fleet.down[l.spec.Head.Host.ID()]; err != nil {
		return failures, fmt.Errorf("the head's host cannot be reached, nothing was started:\n%w\n"+
			"next: mend it, then %s", errors.Join(failures...), l.next())
	}
	if missing := l.missing(); len(l.spec.Workers)-missing < l.required() {
		return failures, fmt.Errorf("%s, nothing was started:\n%w\n"+
			"next: mend that, or go on without: %s --skip-unreachable",
			plural(missing, "worker cannot be reached", "workers cannot be reached"), errors.Join(failures...),
			l.next())
	}
	return failures, nil
}

// missing counts the workers whose host cannot be reached.
func (l *launch) missing() int {
	n := 0
	for _, w := range l.spec.Workers {
		if l.fleet.down[w.Host.ID()] != nil {
			n++
		}
	}
	return n
}

// required is the number of workers without which up fails. An explicit min_workers counts also
// when hosts may be skipped.
func (l *launch) required() int {
	if l.spec.MinWorkers < len(l.spec.Workers) || !l.spec.SkipUnreachable {
		return l.spec.MinWorkers
	}
	return len(l.spec.Workers) - l.missing()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// ImageOf finds the facts about a spec's image. It asks o.Images first, and then the Engine of the head's host.
func ImageOf(ctx context.Context, spec *Spec, o Options) (ImageFacts, error) {
	l := newLaunch(spec, o)
	defer l.close()
	if l.Images != nil {
		f, err := l.Images.Facts(ctx, spec.Image)
		if err == nil && f.RayVersion != "" {
			return f, nil
		}
	}
	h, err := l.hostOf(ctx, spec.Head)
	if err != nil {
		return ImageFacts{}, err
	}
	p, err := l.resolveImage(ctx, h, nil, false)
	return p.facts, err
}
