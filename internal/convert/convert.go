// Package convert makes layers of wheels, without a builder, and keeps them.
package convert

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/raybuild/raybuild/internal/bytecode"
	"github.com/raybuild/raybuild/internal/diskspace"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
	"github.com/raybuild/raybuild/wheel"
)

// Options say where layers are kept and what they are made of.
type Options struct {
	// Dir is the directory of the layers; it is made when missing. Required.
	Dir string
	// Artifacts brings wheels, and the Python that makes byte code. Required.
	Artifacts llb.ArtifactSource
	// Elsewhere starts the Python of a layer's byte code where it can run, if this machine cannot run it.
	// archive is a tar file of it, with this digest. end ends all that was started. Default: an error.
	Elsewhere func(ctx context.Context, l layers.WheelLayer, archive string,
		d digest.Digest) (start func(context.Context) (bytecode.Pipe, error), end func(), err error)
	// Step gets each step as it begins and as it ends. Default: nobody.
	Step func(llb.Step)
	// Anew makes all layers again, although they were made before.
	Anew bool
	// CPUs is how many layers are made at once. Default: one for each CPU.
	CPUs int
	// About gets the metadata of each wheel that is opened, as the wheel has it. Several goroutines call it at once.
	// Default: nobody.
	About func(a layers.Artifact, metadata []byte)
	// Trees also lays the files of each layer out in a directory, for Tree. It needs Linux and root. Default: none.
	Trees bool
}

// Converter makes layers of wheels. It is an llb.LayerSource.
type Converter struct {
	o      Options
	store  store
	trees  trees
	python compilers
	make   func(*job) (llb.StoredLayer, error) // until stop
	stop   context.CancelFunc
	cpus   chan struct{}
	work   sync.WaitGroup

	planting singleflight.Group // of trees, by digest

	mu    sync.Mutex
	jobs  map[digest.Digest]*job // by key
	order []*job
}

// job is a layer that may be made.
type job struct {
	layer layers.WheelLayer
	once  sync.Once
	began bool
	done  chan struct{}
	made  llb.StoredLayer // valid when done is closed
	err   error
	step  llb.Step
}

// New returns a converter. What it makes ends with ctx.
func New(ctx context.Context, o Options) *Converter {
	c := &Converter{o: o, store: newStore(o.Dir), jobs: map[digest.Digest]*job{},
		cpus: make(chan struct{}, cmp.Or(o.CPUs, runtime.GOMAXPROCS(0)))}
	c.store.sweep(time.Now())
	c.trees = openTrees(filepath.Join(o.Dir, TreesDir))
	c.trees.sweep(time.Now(), func() bool { free := diskspace.Free(o.Dir); return free >= 0 && free < treesLeave })
	if !o.Trees {
		c.trees = trees{}
	}
	ctx, c.stop = context.WithCancel(ctx)
	c.make = func(j *job) (llb.StoredLayer, error) { return c.makeLayer(ctx, j) }
	c.python.start = func(l *lazyCompiler) (*bytecode.Compiler, error) { return l.start(ctx, o) }
	return c
}

// Close stops what is being made, and waits for it.
func (c *Converter) Close() {
	c.stop()
	c.work.Wait()
	c.python.close()
}

// Know makes layers available to Layer.
func (c *Converter) Know(all []layers.WheelLayer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range all {
		if c.jobs[l.Key] == nil {
			name := strings.TrimPrefix(l.Title, "["+l.Name+"] ")
			j := &job{layer: l, done: make(chan struct{}), step: llb.Step{Layer: l.Name, Name: name}}
			c.jobs[l.Key], c.order = j, append(c.order, j)
		}
	}
}

// Start begins to make the layers of the keys that are not there, the largest first.
func (c *Converter) Start(keys []digest.Digest) {
	c.mu.Lock()
	var all []*job
	for _, k := range keys {
		if j := c.jobs[k]; j != nil {
			all = append(all, j)
		}
	}
	c.mu.Unlock()
	slices.SortStableFunc(all, func(a, b *job) int { return cmp.Compare(b.layer.Size(), a.layer.Size()) })
	for _, j := range all {
		c.start(j)
	}
}

func (c *Converter) start(j *job) {
	j.once.Do(func() {
		c.mu.Lock()
		j.began = true
		c.mu.Unlock()
		c.work.Go(func() {
			defer close(j.done)
			if l, ok := c.store.get(j.layer.Key); ok && !c.o.Anew {
				j.made, j.step.Cached = l, true
				return
			}
			j.made, j.err = c.make(j)
			if j.step.Failed = j.err != nil; !j.step.Started.IsZero() {
				c.tell(j.step)
			}
		})
	})
}

// Layer implements llb.LayerSource.
func (c *Converter) Layer(ctx context.Context, key digest.Digest, only bool) (llb.StoredLayer, error) {
	c.mu.Lock()
	j := c.jobs[key]
	began := j != nil && j.began
	c.mu.Unlock()
	if only && !began || j == nil {
		if l, ok := c.store.get(key); ok {
			return l, nil
		}
		return llb.StoredLayer{}, fmt.Errorf("layer %s: %w", key, os.ErrNotExist)
	}
	c.start(j)
	select {
	case <-j.done:
		return j.made, j.err
	case <-ctx.Done():
		return llb.StoredLayer{}, context.Cause(ctx)
	}
}

// Lookup gives the layer of a key.
func (c *Converter) Lookup(key digest.Digest) (layers.WheelLayer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.jobs[key]; j != nil {
		return j.layer, true
	}
	return layers.WheelLayer{}, false
}

// Known is the layer of a key, if a converter with the directory dir has made it. Its bytes may be gone.
func Known(dir string, key digest.Digest) (llb.StoredLayer, bool) {
	k, ok := newStore(dir).read(key)
	return stored(k), ok
}

// OpenLayer implements llb.LayerSource.
func (c *Converter) OpenLayer(d digest.Digest) (llb.LayerReader, error) { return c.store.open(d) }

// Steps says how the layers were made that somebody asked for.
func (c *Converter) Steps() []llb.Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []llb.Step
	for _, j := range c.order {
		select {
		case <-j.done:
			all = append(all, j.step)
		default:
		}
	}
	return all
}

func (c *Converter) tell(s llb.Step) {
	if c.o.Step != nil {
		c.o.Step(s)
	}
}

// makeLayer makes one layer.
func (c *Converter) makeLayer(ctx context.Context, j *job) (llb.StoredLayer, error) {
	wheels, closeAll, err := c.open(ctx, j.layer)
	if err != nil {
		return llb.StoredLayer{}, err
	}
	defer closeAll()
	select {
	case c.cpus <- struct{}{}:
		defer func() { <-c.cpus }()
	case <-ctx.Done():
		return llb.StoredLayer{}, context.Cause(ctx)
	}
	j.step.Started = time.Now()
	c.tell(j.step)
	made, err := c.write(ctx, j.layer, wheels)
	j.step.Completed = time.Now()
	j.step.Seconds = j.step.Completed.Sub(j.step.Started).Seconds()
	if err != nil {
		return llb.StoredLayer{}, fmt.Errorf("layer %s: %w", j.layer.Name, err)
	}
	return made, nil
}

func (c *Converter) write(ctx context.Context, l layers.WheelLayer, wheels []*wheel.Wheel) (llb.StoredLayer, error) {
	f, err := c.store.create()
	if err != nil {
		return llb.StoredLayer{}, err
	}
	defer f.discard()
	target := wheel.Target{Prefix: l.Prefix, Python: l.Python}
	for i, w := range wheels {
		if l.Part < l.Parts {
			break // the last part has the byte code
		}
		if err := c.compile(ctx, l, target, l.Wheels[i], w); err != nil {
			return llb.StoredLayer{}, fmt.Errorf("wheel %q: %w", l.Wheels[i].Filename(), err)
		}
	}
	o := wheel.Options{Compiler: c.python.of(l), Part: l.Part, Parts: l.Parts, EStargz: l.EStargz}
	tree, err := c.trees.begin()
	if err == nil {
		o.Tar = tree
		defer tree.discard()
	}
	made, err := wheel.Write(ctx, f, target, o, wheels...)
	if err != nil {
		return llb.StoredLayer{}, err
	}
	kept, err := c.store.keep(f, l.Key, made)
	if err == nil && tree != nil {
		_ = tree.keep(kept.Digest) // without it the layer is laid out when its tree is asked for
	}
	return kept, err
}

// Metadata reads the core metadata of the wheel in a file.
func Metadata(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read wheel's metadata: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read wheel's metadata: %w", err)
	}
	w, err := wheel.Open(f, info.Size())
	if err != nil {
		return nil, err
	}
	return w.Metadata()
}

// open waits for a layer's wheels, and opens them.
func (c *Converter) open(ctx context.Context, l layers.WheelLayer) (all []*wheel.Wheel, closeAll func(), err error) {
	var ends []func()
	closeAll = func() {
		for _, end := range ends {
			end()
		}
	}
	for _, a := range l.Wheels {
		f, size, end, err := openFile(ctx, c.o, a)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		ends = append(ends, end)
		w, err := wheel.Open(f, size)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("layer %s: wheel %q: %w", l.Name, path.Base(a.Path), err)
		}
		if c.o.About != nil {
			if metadata, err := w.Metadata(); err == nil {
				c.o.About(a, metadata)
			}
		}
		all = append(all, w)
	}
	return all, closeAll, nil
}

var _ llb.LayerSource = (*Converter)(nil)
