package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// destinations are the places that an image goes to: registries, files, the local Docker Engine.
type destinations struct {
	options llb.BuildOptions
	// names whose registry is insecure and the first name's is not, or the reverse: tagged after the push
	copies []string
	files  []*wholefile.File // tars that appear when they are complete
	load   *loading          // the load into the local Docker Engine; nil: there is none
}

// destinations turns the options into the options of package llb, and opens the outputs.
func (p *Project) destinations(ctx context.Context, o *BuildOptions, graph *layers.Graph) (*destinations, error) {
	d := &destinations{options: llb.BuildOptions{
		SolveOptions: llb.SolveOptions{
			HostNetwork: p.recipe.HostNetwork(),
			Limits:      p.recipe.Limits,
			Proxy:       p.stepProxy(),
			NoCache:     o.NoCache,
			CacheFrom:   o.CacheFrom,
			CacheTo:     exports(o.CacheTo),
			CacheBudget: o.CacheBudget,
			Progress:    p.env.Progress,
			ProgressTo:  p.env.ProgressTo,
		},
		Push:        o.Push,
		Compression: graph.Compression,
		Annotations: graph.Annotations,
	}}
	for i, name := range o.Names {
		insecure := p.registry.Insecure(name)
		switch {
		case i == 0:
			d.options.Insecure = insecure
		case o.Push && insecure != d.options.Insecure:
			d.copies = append(d.copies, name)
			continue
		}
		d.options.Names = append(d.options.Names, name)
	}
	for _, out := range o.Outputs {
		if err := d.output(p.env, out); err != nil {
			return nil, errors.Join(err, d.finish(err))
		}
	}
	if !o.Push && len(o.Outputs) == 0 && p.builder.Store == nil {
		d.toDocker(ctx, p, graph)
	}
	return d, nil
}

// output opens one output.
func (d *destinations) output(e *env, o Output) error {
	if o.Type == "local" {
		d.options.Local = e.path(o.Path)
		return nil
	}
	var w io.WriteCloser = keepOpen{o.To}
	if o.To == nil {
		f, err := wholefile.Create(e.path(o.Path))
		if err != nil {
			return fmt.Errorf("write image: %w", err)
		}
		f.Lasting = true
		d.files = append(d.files, f)
		w = f
	}
	if o.Type == "oci" {
		d.options.OCI = w
	} else {
		d.options.Docker = w
	}
	return nil
}

// toDocker loads the image into the local Docker Engine. If there is none, it warns that the image
// stays in the builder's cache.
func (d *destinations) toDocker(ctx context.Context, p *Project, graph *layers.Graph) {
	const kept = "the image stays in the builder's cache: %s; give --push or --output to bring it somewhere"
	if len(graph.Images) > 1 {
		p.env.warn(kept, "the Docker Engine loads one platform only")
		return
	}
	host, err := docker.Dial(ctx, docker.Target{Local: true}, docker.Options{})
	if err != nil {
		p.env.warn(kept, "there is no Docker Engine here to load it into")
		return
	}
	d.load = startLoading(ctx, host)
	d.options.Docker = d.load.w
}

// finish gives the files their names, or removes them if the build failed.
func (d *destinations) finish(failed error) error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Finish(0o644, failed))
	}
	if d.load != nil {
		errs = append(errs, d.load.finish(failed))
	}
	return errors.Join(errs...)
}

// spread tags the names that the builder could not push to.
func (d *destinations) spread(ctx context.Context, p *Project, res *llb.Result) error {
	if len(d.copies) == 0 {
		return nil
	}
	from, err := registry.Pin(d.options.Names[0], res.Digest.String())
	if err != nil {
		return err
	}
	return p.tag(ctx, from, d.copies...)
}

// keepOpen is a writer whose Close does nothing, for standard output.
type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

// loading is an image that is being loaded into a Docker Engine.
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
		_ = r.CloseWithError(err) // the exporter must not wait for a reader that has ended
		l.done <- err
	}()
	return l
}

func (l *loading) finish(failed error) error {
	_ = l.w.CloseWithError(failed) // nil is the end of the tar
	err := <-l.done
	if failed != nil {
		err = nil // the engine's error about half a tar tells nothing new
	}
	if err = errors.Join(err, l.host.Close()); err != nil {
		return fmt.Errorf("load image into the Docker Engine: %w", err)
	}
	return nil
}
