package llb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// pusher pushes what the builder has with raybuild's own client; what it has not comes from the image base.
func pusher(names []string, base string, done *registry.Pushed) func(context.Context, *llb.Pushing) error {
	return func(ctx context.Context, p *llb.Pushing) error {
		c := registry.New(registry.Options{})
		source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
			r, err := p.Open(ctx, d.Digest, offset)
			if errors.Is(err, os.ErrNotExist) && base != "" {
				return c.OpenBlob(ctx, base, d.Digest, offset)
			}
			return r, err
		}
		var err error
		*done, err = c.Push(ctx, ocispecs.Descriptor{Digest: p.Result.Digest}, source, registry.PushOptions{Names: names})
		return err
	}
}

// isPushed checks that a name is the result, whole.
func isPushed(t *testing.T, ref string, res *llb.Result) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(parsed)
	if err != nil || desc.Digest.String() != res.Digest.String() {
		t.Fatalf("%s is %v (%v), want %s", ref, desc, err, res.Digest)
	}
	c := registry.New(registry.Options{})
	for _, i := range res.Images {
		for _, l := range append([]llb.LayerResult{{Digest: i.Config}}, i.Layers...) {
			r, err := c.OpenBlob(t.Context(), ref, l.Digest, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := digest.FromReader(r)
			if err = errors.Join(err, r.Close()); err != nil || got != l.Digest {
				t.Errorf("%s has a blob %s where %s was pushed: %v", ref, got, l.Digest, err)
			}
		}
	}
}

// What a pusher of one's own gets from a real builder is all that an image is, in each of its forms.
func TestPusherGetsTheImageFromTheBuilder(t *testing.T) {
	w, b := newWorld(t), connect(t)
	other := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(other.Close)
	elsewhere := strings.TrimPrefix(other.URL, "http://")
	onBase := filesImage(amd64, "on the base")
	onBase.Base, onBase.BaseLayers = llb.From(w.base), []string{"1", "2"}
	for what, c := range map[string]struct {
		images []llb.Image
		host   string
		o      llb.BuildOptions
	}{
		"an index":    {[]llb.Image{filesImage(amd64, "amd"), filesImage(llb.Platform{OS: "linux", Architecture: "arm64"}, "arm")}, w.host, llb.BuildOptions{}},
		"zstd layers": {[]llb.Image{filesImage(amd64, "zstd")}, w.host, llb.BuildOptions{Compression: "zstd"}},
		"layers of a base that the builder never had": {[]llb.Image{onBase}, elsewhere, llb.BuildOptions{}},
	} {
		t.Run(what, func(t *testing.T) {
			var done registry.Pushed
			ref := c.host + "/" + strings.ReplaceAll(what, " ", "-") + ":1"
			o := c.o
			o.Names, o.Push, o.Pusher = []string{ref}, true, pusher([]string{ref}, w.base, &done)
			o.BuilderPushes = func(_ context.Context, why error) error { return fmt.Errorf("the builder pushes: %w", why) }
			res, err := b.Build(t.Context(), c.images, llb.Session{}, o)
			if err != nil {
				t.Fatal(err)
			}
			isPushed(t, ref, res)
			var size int64
			seen := map[digest.Digest]bool{}
			for _, i := range res.Images {
				for _, l := range i.Layers {
					if !seen[l.Digest] {
						size += l.Size
					}
					seen[l.Digest] = true
				}
			}
			if done.Bytes != size {
				t.Errorf("%d bytes were sent for layers of %d", done.Bytes, size)
			}
		})
	}
}

// A builder lets go of what it exported; manifests that are gone when the push begins are made again.
func TestPusherGetsManifestsThatTheBuilderLetGoOf(t *testing.T) {
	w, b := newWorld(t), connect(t)
	c, err := bkclient.New(t.Context(), b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var done registry.Pushed
	ref := w.host + "/ray:1"
	o := llb.BuildOptions{Names: []string{ref}, Push: true, Pusher: pusher([]string{ref}, "", &done)}
	o.BeforePush = func(ctx context.Context, r *llb.Result) error {
		if err := c.Prune(ctx, nil, bkclient.PruneAll); err != nil {
			return err
		}
		if _, _, err := b.Blob(ctx, r.Digest); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the manifest is still there, so that nothing is tested: %v", err)
		}
		return nil
	}
	o.BuilderPushes = func(_ context.Context, why error) error {
		t.Errorf("the builder pushed, where the manifest could be had again: %v", why)
		return nil
	}
	res, err := b.Build(t.Context(), []llb.Image{filesImage(amd64, "x")}, llb.Session{}, o)
	if err != nil {
		t.Fatal(err)
	}
	isPushed(t, ref, res)
}

// Where a pusher cannot have a blob the builder pushes, and that is told before it does. Trouble of a push is shown with the
// build's progress.
func TestBuilderPushesWhereThePusherCannot(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ref := w.host + "/ray:1"
	var shown bytes.Buffer
	o := llb.BuildOptions{SolveOptions: llb.SolveOptions{Progress: llb.ProgressPlain, ProgressTo: &shown}, Names: []string{ref}, Push: true}
	o.Pusher = func(_ context.Context, p *llb.Pushing) error {
		if !p.Warn("warning: the registry is in trouble") {
			t.Error("there is no display for a warning")
		}
		return fmt.Errorf("a layer is nowhere: %w", os.ErrNotExist)
	}
	var told error
	o.BuilderPushes = func(_ context.Context, why error) error { told = why; return nil }
	res, err := b.Build(t.Context(), []llb.Image{filesImage(amd64, "x")}, llb.Session{}, o)
	if err != nil {
		t.Fatal(err)
	}
	isPushed(t, ref, res)
	if told == nil || !strings.Contains(told.Error(), "a layer is nowhere") {
		t.Errorf("why the builder pushes is told as %v", told)
	}
	if !strings.Contains(shown.String(), "the registry is in trouble") {
		t.Errorf("the warning is not in the progress:\n%s", shown.String())
	}
	o.Progress = llb.ProgressQuiet
	o.Pusher = func(_ context.Context, p *llb.Pushing) error {
		if p.Warn("x") {
			t.Error("a warning was taken by a display that shows nothing")
		}
		return nil
	}
	if _, err := b.Build(t.Context(), []llb.Image{filesImage(amd64, "x")}, llb.Session{}, o); err != nil {
		t.Fatal(err)
	}
}
