package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/raybuild/raybuild/bench/bed"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/layers"
)

// peer makes images in its own way.
type peer interface {
	// fresh gives the peer an empty builder. keep is whether the one before it comes back with restore.
	fresh(ctx context.Context, keep bool) error
	restore(ctx context.Context) error
	// prepare makes what the peer needs of an image beside recipe and lock; it is not measured.
	prepare(ctx context.Context, v *variation) error
	// build builds the image and pushes it to ref. cache is a reference of this image that was
	// pushed before, for a builder that has nothing; empty otherwise. It gives the number of steps
	// that ran.
	build(ctx context.Context, v *variation, ref, cache string) (took, error)
	// keepCache brings what a builder that has nothing needs to the registry, beside ref.
	keepCache(ctx context.Context, v *variation, ref string) error
	close(ctx context.Context) error
}

// took is what a build took.
type took struct {
	seconds float64
	steps   int
}

// ourselves is raybuild.
type ourselves struct {
	b          *bench
	home, kept string
	n          int
}

func (r *ourselves) fresh(ctx context.Context, keep bool) error {
	return freshHome(ctx, r.b, "ours", &r.home, &r.kept, &r.n, keep)
}

func (r *ourselves) restore(ctx context.Context) error {
	return restoreHome(ctx, r.b, &r.home, &r.kept)
}

func (r *ourselves) prepare(context.Context, *variation) error { return nil }

func (r *ourselves) build(ctx context.Context, v *variation, ref, _ string) (took, error) {
	meta := filepath.Join(v.dir, "meta.json")
	args := []string{"--push", "--progress", "plain", "--metadata-file", meta, "-f", v.recipeFile(), ref}
	if !v.unlocked {
		args = append([]string{"--frozen"}, args...)
	}
	seconds, _, err := timed(r.b.Cmd(ctx, r.home, r.b.Raybuild, args...))
	if err != nil {
		return took{}, err
	}
	data, err := os.ReadFile(meta)
	if err != nil {
		return took{}, err
	}
	var m struct {
		Raybuild struct {
			Steps []struct{ Cached bool }
		}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return took{}, err
	}
	out := took{seconds: seconds}
	for _, s := range m.Raybuild.Steps {
		if !s.Cached {
			out.steps++
		}
	}
	return out, nil
}

func (r *ourselves) keepCache(context.Context, *variation, string) error { return nil }
func (r *ourselves) close(ctx context.Context) error                     { return closeHome(ctx, r.b, &r.home) }

// timed runs a command and gives what it said on both of its outputs.
func timed(cmd *exec.Cmd) (float64, string, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	err := cmd.Run()
	seconds := time.Since(start).Seconds()
	if err != nil {
		err = bed.Failed(cmd, err, said.String())
	}
	return seconds, said.String(), err
}

// freshHome gives a peer a new home.
func freshHome(ctx context.Context, b *bench, name string, home, kept *string, n *int, keep bool) error {
	switch {
	case keep:
		*kept = *home
	case *home != "":
		if err := b.Drop(ctx, *home, "."); err != nil {
			return err
		}
	}
	*n++
	*home = b.Home(fmt.Sprintf("%s-%d", name, *n))
	return b.makeRoom(ctx)
}

// restoreHome takes the kept home again.
func restoreHome(ctx context.Context, b *bench, home, kept *string) error {
	if err := b.Drop(ctx, *home, "."); err != nil {
		return err
	}
	*home, *kept = *kept, ""
	return nil
}

// closeHome ends a peer's engine and takes its home away.
func closeHome(ctx context.Context, b *bench, home *string) error {
	if *home == "" {
		return nil
	}
	dir := *home
	*home = ""
	return b.Drop(ctx, dir, ".")
}

// buildkit is BuildKit's own client and its Dockerfile frontend.
type buildkit struct {
	b *bench
	// installer installs the wheels of an image of real ones. Default: the Dockerfile is that of the offline world.
	installer  *installer
	home, kept string
	n          int
}

func (d *buildkit) fresh(ctx context.Context, keep bool) error {
	name := "file"
	if d.installer != nil {
		name = d.installer.name
	}
	if err := freshHome(ctx, d.b, name, &d.home, &d.kept, &d.n, keep); err != nil {
		return err
	}
	_, err := engine.Ensure(ctx, d.b.Engine(d.home)) // that it runs is not measured
	return err
}

func (d *buildkit) restore(ctx context.Context) error {
	return restoreHome(ctx, d.b, &d.home, &d.kept)
}

func (d *buildkit) context(v *variation) bed.Context {
	dir := filepath.Join(v.dir, "dockerfile")
	c := bed.Context{Dir: dir, Dockerfile: dir, Lock: v.lock, Mirror: v.mirror, List: bigLists(), GzipLevel: d.b.gzip}
	if d.installer != nil {
		c.Dir, c.Dockerfile, c.List = dir+"-"+d.installer.name, dir+"-"+d.installer.name, listOf(v)
	}
	return c
}

func (d *buildkit) prepare(_ context.Context, v *variation) error {
	if d.installer != nil {
		return d.installer.write(d.context(v), v)
	}
	return writeDockerfile(d.context(v), v, true)
}

func (d *buildkit) build(ctx context.Context, v *variation, ref, cache string) (took, error) {
	var more []string
	if cache != "" {
		more = []string{"--import-cache", "type=registry,ref=" + cache + "-cache"}
	}
	args, err := d.b.BuildctlArgs(ctx, d.home, ref, d.context(v), more...)
	if err != nil {
		return took{}, err
	}
	seconds, said, err := timed(d.b.Cmd(ctx, d.home, d.b.Buildctl, args...))
	return took{seconds, stepsRun(said)}, err
}

func (d *buildkit) keepCache(ctx context.Context, v *variation, ref string) error {
	args, err := d.b.BuildctlArgs(ctx, d.home, ref, d.context(v), "--export-cache",
		"type=registry,mode=max,image-manifest=true,oci-mediatypes=true,ref="+ref+"-cache")
	if err != nil {
		return err
	}
	_, _, err = timed(d.b.Cmd(ctx, d.home, d.b.Buildctl, args...))
	return err
}

func (d *buildkit) close(ctx context.Context) error { return closeHome(ctx, d.b, &d.home) }

// bigWheels are the wheels that the Dockerfile installs in steps of their own.
func bigWheels() []string { return []string{"tensorflow", "torch"} }

func bigLists() func(wheel string) string { return bed.Alone(append(bigWheels(), "ray")...) }

var (
	stepLine = regexp.MustCompile(`^#(\d+) \[[^\]]*\] (RUN|COPY|ADD|WORKDIR) `)
	doneLine = regexp.MustCompile(`^#(\d+) DONE `)
)

// stepsRun counts the instructions that ran, in BuildKit's plain progress: those that are done and were not cached.
func stepsRun(progress string) int {
	steps, done := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(progress) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			steps[m[1]] = true
		}
		if m := doneLine.FindStringSubmatch(line); m != nil && steps[m[1]] {
			done[m[1]] = true
		}
	}
	return len(done)
}

// writeDockerfile writes Dockerfile and context of an image. link is whether the frontend knows COPY --link and
// ADD --checksum.
func writeDockerfile(c bed.Context, v *variation, link bool) error {
	return writeContext(c, v, func(mirrors bool) string { return dockerfile(v, mirrors, link) })
}

// writeContext writes the context of an image, and the Dockerfile that text gives. mirrors is
// whether the context has files that configure the image with mirrors.
func writeContext(c bed.Context, v *variation, text func(mirrors bool) string) error {
	if err := os.RemoveAll(c.Dir); err != nil {
		return err
	}
	if err := c.Write(); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(c.Dir, "app"), os.DirFS(filepath.Join(v.dir, "app"))); err != nil {
		return err
	}
	root := filepath.Join(c.Dir, "mirrors")
	files, err := imageMirrors(v)
	if err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, []byte(f.Content), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.Dir, "Dockerfile"), []byte(text(len(files) > 0)), 0o644)
}

// imageMirrors are the files that configure the image with a mirror.
func imageMirrors(v *variation) ([]layers.MirrorFile, error) {
	if v.image == "" {
		return nil, nil
	}
	m, ok := layers.Preset(v.image)
	if !ok {
		return nil, fmt.Errorf("configure mirrors: no preset is called %q", v.image)
	}
	return layers.ImageMirrorFiles(m, v.lock.Base, "amd64", "conda-forge"), nil
}
