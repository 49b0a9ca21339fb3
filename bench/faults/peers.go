package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
)

// peer is one of those that are compared.
type peer interface {
	// push brings an image to a reference. once: a failure must come back soon.
	push(ctx context.Context, m *image, ref string, once bool) error
}

// ourselves is raybuild's pusher, the package that the command calls.
type ourselves struct {
	client  registry.Options
	options registry.PushOptions
}

func (r ourselves) push(ctx context.Context, m *image, ref string, once bool) error {
	o := r.options
	o.Names = []string{ref}
	if once {
		o.Retry = -1
	}
	_, err := registry.New(r.client).Push(ctx, m.root, m.open, o)
	return err
}

// craning is crane's package, as "crane push LAYOUT REF" calls it.
type craning struct{ options []crane.Option }

func (c craning) push(ctx context.Context, m *image, ref string, _ bool) error {
	index, err := layout.ImageIndexFromPath(m.dir)
	if err != nil {
		return err
	}
	digest, err := v1.NewHash(m.root.Digest.String())
	if err != nil {
		return err
	}
	img, err := index.Image(digest)
	if err != nil {
		return err
	}
	return crane.Push(img, ref, append([]crane.Option{crane.WithContext(ctx)}, c.options...)...)
}

// buildkit is buildctl and an engine, which has built the image and has all of it in its cache.
type buildkit struct {
	program string
	engine  engine.Options
	bad     engine.Options // for images that it must not have
	context string         // of the build; its Dockerfile is in it
	from    string         // directory of a Dockerfile that takes an image as it is
}

func (b buildkit) push(ctx context.Context, m *image, ref string, _ bool) error {
	if m.dir != b.layout() {
		return b.run(ctx, b.bad, b.from, "--oci-layout", "source="+m.dir, "--opt",
			"context:source=oci-layout://source@"+m.root.Digest.String(), "--output", output(ref))
	}
	return b.run(ctx, b.engine, b.context, "--output", output(ref))
}

func output(ref string) string { return "type=image,oci-mediatypes=true,push=true,name=" + ref }

// layout is where the image is that was built.
func (b buildkit) layout() string { return b.context + "-image" }

// build makes the image and writes it down.
func (b buildkit) build(ctx context.Context) (*image, error) {
	if err := b.run(ctx, b.engine, b.context, "--output", "type=oci,tar=false,dest="+b.layout()); err != nil {
		return nil, err
	}
	return readImage(b.layout())
}

// run has an engine build the Dockerfile in dir, and starts the engine where it does not run.
func (b buildkit) run(ctx context.Context, e engine.Options, dir string, more ...string) error {
	addr, err := engine.Ensure(ctx, e)
	if err != nil {
		return err
	}
	args := append([]string{"--addr", addr, "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local",
		"context=" + dir,
		"--local", "dockerfile=" + dir, "--opt", "build-arg:SOURCE_DATE_EPOCH=315532800"}, more...)
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("buildctl: %w: %s", errors.Join(ctx.Err(), err), lastError(said.String()))
	}
	return nil
}

var errorLine = regexp.MustCompile(`(?m)^(?:error|ERROR): (.*)$`)

// lastError is what buildctl says at its end.
func lastError(said string) string {
	if m := errorLine.FindAllStringSubmatch(said, -1); len(m) > 0 {
		return m[len(m)-1][1]
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return lines[len(lines)-1]
}
