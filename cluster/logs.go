package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/raybuild/raybuild/internal/docker"
)

// LogOptions select the output that Logs shows.
type LogOptions struct {
	Nodes      []string // Node.ID, or head; default: all
	Follow     bool
	Tail       int    // lines of each node; 0: all
	Since      string // RFC 3339, or a duration as 10m
	Timestamps bool
}

// Logs merges the output of the nodes' containers line by line. Each line begins with the name of its node. If the
// output of one of several nodes cannot be read, Logs shows the others and fails at the end.
func Logs(ctx context.Context, spec *Spec, lo LogOptions, stdout, stderr io.Writer, o Options) error {
	l := newLaunch(spec, o)
	defer l.close()
	nodes, err := l.pick(lo.Nodes)
	if err != nil {
		return err
	}
	var hosts []Host
	width := 0
	for _, n := range nodes {
		hosts = append(hosts, n.Host)
		width = max(width, len(n.ID))
	}
	l.connect(ctx, hosts, nil)
	opts := docker.LogOptions{Follow: lo.Follow, Since: lo.Since, Timestamps: lo.Timestamps}
	if lo.Tail > 0 {
		opts.Tail = fmt.Sprint(lo.Tail)
	}
	var mu sync.Mutex
	var errs []error
	absent := 0
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			prefix := fmt.Sprintf("%-*s | ", width, n.ID)
			if len(nodes) == 1 {
				prefix = ""
			}
			out, errw := &prefixed{w: stdout, prefix: prefix, mu: &mu}, &prefixed{w: stderr, prefix: prefix, mu: &mu}
			err := l.fleet.down[n.Host.ID()]
			if err == nil {
				l.tellForeign(ctx, n)
				err = l.fleet.up[n.Host.ID()].Logs(ctx, n.ID, opts, out, errw)
			}
			out.flush()
			errw.flush()
			if err == nil || ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if docker.IsNotFound(err) {
				absent++
				err = fmt.Errorf("it has no container; start it: %s", l.next())
			}
			errs = append(errs, fmt.Errorf("node %s: %w", n.ID, err))
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if absent == len(nodes) && len(lo.Nodes) == 0 {
		return fmt.Errorf("cluster %q has no containers: it is not up; start it: %s", l.spec.Name, l.next())
	}
	return errors.Join(errs...)
}

// tellForeign says that a node's container is another cluster's. A look at its log is allowed.
func (l *launch) tellForeign(ctx context.Context, n Node) {
	c, err := l.fleet.up[n.Host.ID()].Inspect(ctx, n.ID)
	if err == nil && l.foreign(c.Labels) {
		l.logf("note: %s", claimOf(containerState{Host: n.Host.ID(), Name: n.ID, Labels: c.Labels, Made: c.Made}))
	}
}

// pick finds nodes by their ID, or the head by "head". None means all.
func (l *launch) pick(ids []string) ([]Node, error) {
	all := l.spec.Nodes()
	if len(ids) == 0 {
		return all, nil
	}
	var out []Node
	for _, id := range ids {
		i := slices.IndexFunc(all, func(n Node) bool { return n.ID == id || id == "head" && n.Role == Head })
		if i < 0 {
			var names []string
			for _, n := range all {
				names = append(names, n.ID)
			}
			return nil, fmt.Errorf("find node %q: cluster %s has %s", id, l.spec.Name, strings.Join(names, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// prefixed writes whole lines with a prefix; writers of one mu do not mix within a line.
type prefixed struct {
	w      io.Writer
	prefix string
	mu     *sync.Mutex
	rest   []byte
}

const maxLine = 1 << 20 // a longer one is written in pieces

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			if len(p.rest) > maxLine {
				i = len(p.rest) - 1
			} else {
				return len(b), nil
			}
		}
		if err := p.line(p.rest[:i+1]); err != nil {
			return 0, err
		}
		p.rest = p.rest[i+1:]
	}
}

func (p *prefixed) line(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.w.Write(append([]byte(p.prefix), b...))
	return err
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		p.line(append(p.rest, '\n')) //nolint:errcheck // the stream has ended; nobody is left to tell
		p.rest = nil
	}
}
