package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// destinations is where an image goes: registries, files, the local Docker Engine.
type destinations struct {
	options llb.BuildOptions
	copies  []string     // names whose registry is spoken to in another way than the first one's: tagged after the push
	files   []*wholeFile // tars that appear when they are whole
	load    *loading     // into the local Docker Engine; nil: not
}

// destinations turns options into those of the build.
func (j *job) destinations(ctx context.Context, o *buildOptions, graph *layers.Graph) (*destinations, error) {
	d := &destinations{options: llb.BuildOptions{
		SolveOptions: llb.SolveOptions{
			NoCache:     o.noCache,
			CacheFrom:   o.parsed.cacheFrom,
			CacheTo:     o.parsed.cacheTo,
			CacheBudget: o.cacheBudget,
			Progress:    llb.ProgressMode(o.progress),
			ProgressTo:  j.app.stderr,
		},
		Push:        o.push,
		Compression: graph.Compression,
		Annotations: graph.Annotations,
	}}
	for i, name := range o.names {
		insecure := j.registry.Insecure(name)
		switch {
		case i == 0:
			d.options.Insecure = insecure
		case o.push && insecure != d.options.Insecure:
			d.copies = append(d.copies, name)
			continue
		}
		d.options.Names = append(d.options.Names, name)
	}
	for _, out := range o.parsed.outputs {
		if err := d.output(j.app, out); err != nil {
			return nil, errors.Join(err, d.finish(err))
		}
	}
	if !o.push && len(o.outputs) == 0 && j.builder.Store == nil {
		d.toDocker(ctx, j, graph)
	}
	return d, nil
}

// output opens one --output.
func (d *destinations) output(a *app, o output) error {
	if o.kind == "local" {
		d.options.Local = a.path(o.dest)
		return nil
	}
	var w io.WriteCloser = keepOpen{a.stdout}
	if o.dest != "-" {
		f, err := createWhole(a.path(o.dest))
		if err != nil {
			return err
		}
		d.files = append(d.files, f)
		w = f
	}
	if o.kind == "oci" {
		d.options.OCI = w
	} else {
		d.options.Docker = w
	}
	return nil
}

// toDocker loads the image into the local Docker Engine. Where there is none the image stays in the builder's cache, and a
// warning says so.
func (d *destinations) toDocker(ctx context.Context, j *job, graph *layers.Graph) {
	const kept = "warning: the image stays in the builder's cache: %s; give --push or --output to bring it somewhere"
	if len(graph.Images) > 1 {
		j.app.say(kept, "the Docker Engine loads one platform only")
		return
	}
	host, err := docker.Dial(ctx, docker.Target{Local: true}, docker.Options{})
	if err != nil {
		j.app.say(kept, "there is no Docker Engine here to load it into")
		return
	}
	d.load = startLoading(ctx, host)
	d.options.Docker = d.load.w
}

// finish gives files their names, or throws them away where the build failed.
func (d *destinations) finish(failed error) error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.finish(failed))
	}
	if d.load != nil {
		errs = append(errs, d.load.finish(failed))
	}
	return errors.Join(errs...)
}

// spread tags the names that the builder could not push to.
func (d *destinations) spread(ctx context.Context, j *job, res *llb.Result) error {
	if len(d.copies) == 0 {
		return nil
	}
	from, err := registry.Pin(d.options.Names[0], res.Digest.String())
	if err != nil {
		return err
	}
	return j.registry.Tag(ctx, from, d.copies...)
}

// keepOpen is a writer whose Close leaves it open: standard output.
type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

// wholeFile is written beside its place and moved there when it is whole.
type wholeFile struct {
	*os.File
	path   string
	closed bool
}

func createWhole(path string) (*wholeFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("write image to %q: %w", path, err)
	}
	return &wholeFile{File: f, path: path}, nil
}

// Close implements io.Closer; the exporter calls it, and finish does where the build did not come so far.
func (f *wholeFile) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.File.Close()
}

func (f *wholeFile) finish(failed error) error {
	err := f.Close()
	if failed == nil && err == nil {
		if err = os.Chmod(f.Name(), 0o644); err == nil {
			err = os.Rename(f.Name(), f.path)
		}
	}
	if failed != nil || err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("write image to %q: %w", f.path, err)
	}
	return nil
}

// loading is an image on its way into a Docker Engine.
type loading struct {
	host *docker.Host
	w    *io.PipeWriter
	done chan error
}

func startLoading(ctx context.Context, host *docker.Host) *loading {
	r, w := io.Pipe()
	l := &loading{host: host, w: w, done: make(chan error, 1)}
	go func() {
		_, err := host.Load(ctx, r)
		_ = r.CloseWithError(err) // the exporter must not wait for a reader that is gone
		l.done <- err
	}()
	return l
}

func (l *loading) finish(failed error) error {
	_ = l.w.CloseWithError(failed) // nil is the end of the tar
	err := <-l.done
	if failed != nil {
		err = nil // what the engine says of half a tar adds nothing
	}
	if err = errors.Join(err, l.host.Close()); err != nil {
		return fmt.Errorf("load image into the Docker Engine: %w", err)
	}
	return nil
}
