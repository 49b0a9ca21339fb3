package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// bulk is something to push, held in memory.
type bulk struct {
	root  ocispecs.Descriptor
	blobs map[digest.Digest][]byte
	bytes int64 // of layers
}

func (b *bulk) source(_ context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	data, ok := b.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, os.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

// layered is an image of random layers of the given sizes.
func layered(t *testing.T, sizes ...int64) *bulk {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, size := range sizes {
		layer, err := random.Layer(size, types.OCIUncompressedLayer)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	b := &bulk{blobs: map[digest.Digest][]byte{}}
	b.root.Digest = b.add(t, img)
	return b
}

func (b *bulk) add(t *testing.T, img v1.Image) digest.Digest {
	t.Helper()
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if b.blobs[digest.FromBytes(data)] == nil {
			b.bytes += int64(len(data))
		}
		b.blobs[digest.FromBytes(data)] = data
	}
	b.blobs[digest.FromBytes(config)] = config
	b.blobs[digest.FromBytes(raw)] = raw
	return digest.FromBytes(raw)
}

// quick is a push whose patience is short.
func quick(names ...string) PushOptions {
	return PushOptions{Names: names, Retry: 10 * time.Second, Stall: 5 * time.Second, Answer: 10 * time.Second,
		Pause: time.Millisecond}
}

// arrived checks that a name is the image, whole.
func arrived(t *testing.T, ref string, b *bulk) {
	t.Helper()
	c := client(Options{})
	found, ok, err := c.Head(t.Context(), ref)
	if err != nil || !ok || found.Digest != b.root.Digest {
		t.Fatalf("%s is %v (there: %v, error %v), not what was pushed, %s", ref, found.Digest, ok, err, b.root.Digest)
	}
	if err := c.Validate(t.Context(), ref); err != nil {
		t.Errorf("what was pushed is not whole: %v", err)
	}
}

// absent checks that there is no such tag.
func absent(t *testing.T, ref string) {
	t.Helper()
	if _, ok, err := client(Options{}).Head(t.Context(), ref); err != nil || ok {
		t.Errorf("the tag %s is there (error %v), though the push failed", ref, err)
	}
}

func TestPushSendsWhatIsMissing(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	b := layered(t, 3000, 5000)
	names := []string{host + "/team/ray:1", host + "/team/ray:2", host + "/other/ray:1"}
	done, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(names...))
	if err != nil {
		t.Fatal(err)
	}
	if done.Bytes != b.bytes {
		t.Errorf("%d bytes were sent for %d bytes of layers in two repositories of a registry that mounts",
			done.Bytes, b.bytes)
	}
	for _, name := range names {
		arrived(t, name, b)
	}
	asked.reset()
	done, err = client(Options{}).Push(t.Context(), b.root, b.source, quick(names[0]))
	if err != nil || done.Bytes != 0 {
		t.Errorf("a second push sent %d bytes, error %v", done.Bytes, err)
	}
	if n := asked.count("POST"); n != 0 {
		t.Errorf("a second push opened %d uploads", n)
	}
	reused := 0
	for _, r := range done.Reused {
		if r {
			reused++
		}
	}
	if reused != 2 {
		t.Errorf("of 2 layers that were there, %d are said to be reused: %v", reused, done.Reused)
	}
}

func TestPushAnIndex(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	idx := index(t)
	b := &bulk{blobs: map[digest.Digest][]byte{}}
	list, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Manifests {
		img, err := idx.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		b.add(t, img)
	}
	raw, err := idx.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	b.root.Digest = digest.FromBytes(raw)
	b.blobs[b.root.Digest] = raw
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	arrived(t, host+"/ray:1", b)
}

// A blob that is nowhere is told as such, so that somebody else can push, and no tag appears.
func TestPushWithoutABlob(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	b := layered(t, 3000, 5000)
	for d := range b.blobs {
		if d != b.root.Digest {
			delete(b.blobs, d)
			break
		}
	}
	_, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a blob that is nowhere is the error %v", err)
	}
	absent(t, host+"/ray:1")
}

// R1: a registry in trouble for a while takes the push all the same.
func TestPushThroughServerErrors(t *testing.T) {
	t.Parallel()
	for kind, is := range faultyregistry.Kinds() {
		for _, k := range []int64{1, 3, 10} {
			t.Run(fmt.Sprintf("%s fails %d times", kind, k), func(t *testing.T) {
				t.Parallel()
				host, _ := start(t, faultyregistry.Failing(is, k, http.StatusServiceUnavailable))
				b := layered(t, 3000, 5000)
				if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1")); err != nil {
					t.Fatalf("the push failed: %v", err)
				}
				arrived(t, host+"/ray:1", b)
			})
		}
	}
}

// A registry that stays in trouble is an error that names it and its answer, and the tag is not there.
func TestPushGivesUp(t *testing.T) {
	t.Parallel()
	for kind, is := range faultyregistry.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			host, _ := start(t, faultyregistry.Failing(is, 1<<60, http.StatusInternalServerError))
			b := layered(t, 3000)
			o := quick(host + "/ray:1")
			o.Retry = 50 * time.Millisecond
			_, err := client(Options{}).Push(t.Context(), b.root, b.source, o)
			if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "500") {
				t.Errorf("error %v does not name the registry %s and its status", err, host)
			}
			absent(t, host+"/ray:1")
		})
	}
}

// R2: an upload that breaks goes on from where the registry says that it is.
func TestPushResumes(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	b := layered(t, size)
	for _, percent := range []int64{10, 50, 99} {
		t.Run(fmt.Sprintf("broken at %d %%", percent), func(t *testing.T) {
			meter := &faultyregistry.Meter{}
			broken := faultyregistry.Breaking(size * percent / 100)
			host, _ := start(t, func(next http.Handler) http.Handler { return meter.Middleware()(broken(next)) })
			if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1")); err != nil {
				t.Fatal(err)
			}
			arrived(t, host+"/ray:1", b)
			config := int64(4096)
			if twice := meter.Blobs() - b.bytes - config; twice > b.bytes/20 {
				t.Errorf("%d bytes of a layer of %d arrived more than once; 5 %% are allowed", twice, b.bytes)
			}
		})
	}
}

// R3: silence is found out; a registry that checks a blob before it answers is waited for, and the user is told.
func TestPushThroughSilence(t *testing.T) {
	t.Parallel()
	for kind, is := range faultyregistry.Kinds() {
		t.Run(kind+" never answered", func(t *testing.T) {
			t.Parallel()
			host, _ := start(t, faultyregistry.Stalling(t.Context(), is, 1, time.Minute))
			b := layered(t, 3000)
			o := quick(host + "/ray:1")
			o.Stall, o.Answer = 200*time.Millisecond, 300*time.Millisecond
			if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
				t.Fatal(err)
			}
			arrived(t, host+"/ray:1", b)
		})
	}
	t.Run("slow to check a blob", func(t *testing.T) {
		t.Parallel()
		host, asked := start(t, faultyregistry.Stalling(t.Context(), faultyregistry.Commit, 1, 600*time.Millisecond))
		b := layered(t, 3000)
		o := quick(host + "/ray:1")
		o.Stall, o.Answer = 200*time.Millisecond, 20*time.Second
		said := make(chan string, 10)
		o.Log = func(format string, args ...any) { said <- fmt.Sprintf(format, args...) }
		if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
			t.Fatal(err)
		}
		if n := asked.count("PUT /v2/ray/blobs"); n != 2 {
			t.Errorf("%d PUTs for a layer and a config: the slow one was not waited for", n)
		}
		select {
		case text := <-said:
			if !strings.Contains(text, "does not answer yet") {
				t.Errorf("the user was told %q", text)
			}
		default:
			t.Error("the user was told nothing while the registry was silent")
		}
	})
}
