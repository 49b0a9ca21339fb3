package llb_test

import (
	"bytes"
	"context"
	"errors"
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

// started builds an image that push pushes.
func started(t *testing.T, b *llb.Builder, images []llb.Image, o llb.BuildOptions,
	push func(context.Context, *llb.Build) error) (*llb.Result, error) {
	t.Helper()
	build, ctx, err := b.Start(t.Context(), images, llb.Session{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = build.Wait(); err == nil {
		err = push(ctx, build)
	}
	return build.End(ctx, err)
}

// pusher pushes what the builder has with raybuild's own client; what it has not comes from the image base.
func pusher(names []string, base string, done *registry.Pushed) func(context.Context, *llb.Build) error {
	return func(ctx context.Context, p *llb.Build) error {
		c := registry.New(registry.Options{})
		source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
			r, err := p.Open(ctx, d.Digest, offset)
			if errors.Is(err, os.ErrNotExist) && base != "" {
				return c.OpenBlob(ctx, base, d.Digest, offset)
			}
			return r, err
		}
		var err error
		*done, err = c.Push(ctx, ocispecs.Descriptor{Digest: p.Result.Digest}, source,
			registry.PushOptions{Names: names})
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

// What is read of a build on a real builder is all that an image is, in each of its forms.
func TestBuildGivesAllOfTheImage(t *testing.T) {
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
		"an index": {[]llb.Image{filesImage(amd64, "amd"),
			filesImage(llb.Platform{OS: "linux", Architecture: "arm64"}, "arm")}, w.host, llb.BuildOptions{}},
		"zstd layers": {[]llb.Image{filesImage(amd64, "zstd")}, w.host, llb.BuildOptions{Compression: "zstd"}},
		"layers of a base that the builder never had": {[]llb.Image{onBase}, elsewhere, llb.BuildOptions{}},
	} {
		t.Run(what, func(t *testing.T) {
			var done registry.Pushed
			ref := c.host + "/" + strings.ReplaceAll(what, " ", "-") + ":1"
			o := c.o
			o.Names, o.Push = []string{ref}, true
			res, err := started(t, b, c.images, o, pusher([]string{ref}, w.base, &done))
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

// A builder lets go of what it has exported. Manifests and configs can be read all the same, and it
// pushes what it makes again.
func TestBuildKeepsManifestsThatTheBuilderLetsGoOf(t *testing.T) {
	w, addr := newWorld(t), builderAddr(t)
	b := connectTo(t, addr)
	c, err := bkclient.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ref := w.host + "/ray:1"
	o := llb.BuildOptions{Names: []string{ref}, Push: true}
	res, err := started(t, b, []llb.Image{filesImage(amd64, "x")}, o,
		func(ctx context.Context, build *llb.Build) error {
			if err := c.Prune(ctx, nil, bkclient.PruneAll); err != nil {
				return err
			}
			image := build.Result.Images[0]
			if _, _, err := b.Blob(ctx, image.Manifest); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the manifest is still there, so that nothing is tested: %v", err)
			}
			for _, d := range []digest.Digest{image.Manifest, image.Config} {
				r, err := build.Open(ctx, d, 0)
				if err != nil {
					return err
				}
				if got, err := digest.FromReader(r); err != nil || got != d {
					t.Errorf("%s is read as %s: %v", d, got, err)
				}
			}
			return build.Push(ctx)
		})
	if err != nil {
		t.Fatal(err)
	}
	isPushed(t, ref, res)
}

// Trouble of a push is shown with the build's progress, where there is one.
func TestWarningsAreShownWithTheProgress(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ref := w.host + "/ray:1"
	var shown bytes.Buffer
	o := llb.BuildOptions{SolveOptions: llb.SolveOptions{Progress: llb.ProgressPlain, ProgressTo: &shown},
		Names: []string{ref}, Push: true}
	res, err := started(t, b, []llb.Image{filesImage(amd64, "x")}, o,
		func(ctx context.Context, build *llb.Build) error {
			if !build.Warn("warning: the registry is in trouble") {
				t.Error("there is no display for a warning")
			}
			return build.Push(ctx)
		})
	if err != nil {
		t.Fatal(err)
	}
	isPushed(t, ref, res)
	if !strings.Contains(shown.String(), "the registry is in trouble") {
		t.Errorf("the warning is not in the progress:\n%s", shown.String())
	}
	o.Progress = llb.ProgressQuiet
	_, err = started(t, b, []llb.Image{filesImage(amd64, "x")}, o, func(_ context.Context, build *llb.Build) error {
		if build.Warn("x") {
			t.Error("a warning was taken by a display that shows nothing")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
