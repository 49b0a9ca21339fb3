package llb

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	digest "github.com/opencontainers/go-digest"
)

// view shows the progress of one or more solves until it is closed.
type view struct {
	ch    chan *client.SolveStatus
	done  chan struct{}
	quiet bool  // nothing is shown
	lent  bool  // it is another's, who closes it
	err   error // of the display; valid when done is closed
}

// newView starts a display. It ends by close, not with ctx, so that the last lines of a cancelled build are shown.
func newView(ctx context.Context, o SolveOptions) (*view, error) {
	if d := o.Display; d != nil {
		return &view{ch: d.view.ch, done: d.view.done, quiet: d.view.quiet, lent: true}, nil
	}
	to, mode := o.ProgressTo, o.Progress
	if to == nil {
		to, mode = io.Discard, ProgressQuiet
	}
	if env := os.Getenv("BUILDKIT_PROGRESS"); env != "" && (mode == "" || mode == ProgressAuto) {
		mode = ProgressMode(env)
	}
	var opts []progressui.DisplayOpt
	if o.Title != "" {
		opts = append(opts, progressui.WithPhase(o.Title))
	}
	d, err := progressui.NewDisplay(to, progressui.DisplayMode(mode), opts...)
	if err != nil {
		return nil, fmt.Errorf("show progress as %q: %w (want auto, tty, plain, quiet or rawjson)", mode, err)
	}
	v := &view{ch: make(chan *client.SolveStatus), done: make(chan struct{}), quiet: mode == ProgressQuiet}
	go func() {
		defer close(v.done)
		_, v.err = d.UpdateFrom(context.WithoutCancel(ctx), v.ch)
	}()
	return v, nil
}

func (v *view) show(ss *client.SolveStatus) {
	select {
	case v.ch <- ss:
	case <-v.done:
	}
}

// close drains the display.
func (v *view) close() error {
	if v.lent {
		return nil
	}
	close(v.ch)
	<-v.done
	if v.err != nil {
		return fmt.Errorf("show progress: %w", v.err)
	}
	return nil
}

const (
	logLines = 20       // of a failed step
	logKeep  = 64 << 10 // bytes of output kept to take them from
)

// step has what a solve's events said about one run or file operation.
type step struct {
	title    string
	platform string // whose programs it runs; "" for file operations
	offline  bool   // a command without network, and without a socket that would stand in for one
	limits   Limits
	vertex   *client.Vertex
	tail     []byte
	// BuildKit reports an operation without inputs as started once more than it runs: when it asks for its cache key.
	extra  int
	starts int
	last   time.Time
	inputs bool // the operation has some
}

// saw takes in an event of the step's vertex. BuildKit reports the layers of a cached result, when
// something else needs them and they are pulled, as if the operation that made them was started
// again; but such an event does not name its inputs.
func (s *step) saw(v *client.Vertex) {
	if s.inputs && len(v.Inputs) == 0 {
		return
	}
	if v.Started != nil && !v.Cached && !v.Started.Equal(s.last) {
		s.starts++
		s.last = *v.Started
	}
	s.vertex = v
}

// ran tells whether the step's operation was carried out.
func (s *step) ran() bool { return s.vertex != nil && !s.vertex.Cached && s.starts > s.extra }

// collector learns from definitions which vertices are steps, and from a solve's events how they went.
type collector struct {
	mu     sync.Mutex
	steps  []*step
	by     map[digest.Digest]*step
	titles map[digest.Digest]string // of every operation

	caches     map[digest.Digest]*client.Vertex // imports and exports of caches
	cacheOrder []digest.Digest
	unread     string // why a cached result could not be loaded, the first time
	unreadOps  []digest.Digest
}

func newCollector() *collector {
	return &collector{by: map[digest.Digest]*step{}, titles: map[digest.Digest]string{}}
}

// define takes the steps of a definition, which the builder knows by the digests in known, and tells artifact the name
// of each artifact in it.
func (c *collector) define(def *bkllb.Definition, known map[digest.Digest]digest.Digest,
	artifact func(d digest.Digest, name string)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, dt := range def.Def {
		op, err := decodeOp(dt)
		if err != nil {
			return err
		}
		dgst := digest.FromBytes(dt)
		title, limits := def.Metadata[dgst].Description["llb.customname"], limitsOf(def.Metadata[dgst])
		dgst = known[dgst]
		c.titles[dgst] = title
		if src := op.GetSource(); src != nil {
			if sum := digest.Digest(src.Attrs[pb.AttrHTTPChecksum]); sum != "" {
				artifact(sum, src.Attrs[pb.AttrHTTPFilename])
			}
			continue
		}
		if op.GetExec() == nil && op.GetFile() == nil || c.by[dgst] != nil {
			continue
		}
		s := &step{title: title, inputs: len(op.Inputs) > 0, limits: limits}
		if len(op.Inputs) == 0 {
			s.extra = 1
		}
		s.offline = isOffline(op.GetExec())
		if p := op.Platform; p != nil && op.GetExec() != nil {
			s.platform = FormatPlatform(Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
		}
		c.steps = append(c.steps, s)
		c.by[dgst] = s
		// The solver's name of a vertex that may not come from the cache while another build runs it from there.
		c.by[digest.FromString(dgst.String()+"-ignorecache")] = s
	}
	return nil
}

func isOffline(e *pb.ExecOp) bool {
	return e != nil && e.Network == pb.NetMode_NONE &&
		!slices.ContainsFunc(e.Mounts, func(m *pb.Mount) bool { return m.MountType == pb.MountType_SSH })
}

// add takes in events of a solve.
func (c *collector) add(ss *client.SolveStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range ss.Vertexes {
		c.cacheWork(v)
		c.lost(v)
		if s := c.by[v.Digest]; s != nil {
			s.saw(v)
		}
	}
	for _, l := range ss.Logs {
		s := c.by[l.Vertex]
		if s == nil {
			continue
		}
		s.tail = append(s.tail, l.Data...)
		if over := len(s.tail) - logKeep; over > 0 {
			s.tail = slices.Delete(s.tail, 0, over)
		}
	}
}

// result gives the steps. If a step never started, its result was not needed, because a later result was there.
func (c *collector) result() []Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Step, len(c.steps))
	for i, s := range c.steps {
		layer, name := splitTitle(s.title)
		out[i] = Step{Name: name, Layer: layer, Cached: true}
		if s.ran() {
			v := s.vertex
			out[i].Cached, out[i].Started, out[i].Failed = false, *v.Started, v.Error != ""
			if v.Completed != nil {
				out[i].Completed = *v.Completed
				out[i].Seconds = v.Completed.Sub(*v.Started).Seconds()
			}
		}
	}
	return out
}

// log is what is kept of a step's output.
func (s *step) log() []string {
	text := strings.TrimRight(strings.ReplaceAll(string(s.tail), "\r\n", "\n"), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
