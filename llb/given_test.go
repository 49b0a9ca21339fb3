package llb_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

// givenLayers are layers by key.
type givenLayers struct {
	layers map[digest.Digest]llb.StoredLayer
	blobs  map[digest.Digest][]byte
	asked  map[digest.Digest]int
	trees  map[digest.Digest]string // see llb.TreeSource
}

func newGivenLayers() *givenLayers {
	return &givenLayers{map[digest.Digest]llb.StoredLayer{}, map[digest.Digest][]byte{}, map[digest.Digest]int{},
		map[digest.Digest]string{}}
}

// add keeps a layer of files, in gzip of several members as converted wheels are. No builder would pack it so.
func (g *givenLayers) add(t *testing.T, key string, files map[string]string) digest.Digest {
	t.Helper()
	unpacked := tarOf(t, files)
	var blob bytes.Buffer
	for part := unpacked; len(part) > 0; {
		n := min(len(part), 700)
		z, err := gzip.NewWriterLevel(&blob, gzip.HuffmanOnly)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(part[:n]); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		part = part[n:]
	}
	k, d := digest.FromString(key), digest.FromBytes(blob.Bytes())
	g.blobs[d] = blob.Bytes()
	g.layers[k] = llb.StoredLayer{DiffID: digest.FromBytes(unpacked), Descriptor: ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: d, Size: int64(blob.Len())}}
	return k
}

// Layer implements llb.LayerSource.
func (g *givenLayers) Layer(_ context.Context, key digest.Digest, only bool) (llb.StoredLayer, error) {
	g.asked[key]++
	l, ok := g.layers[key]
	if !ok {
		return l, fmt.Errorf("layer %s: %w", key, os.ErrNotExist)
	}
	return l, nil
}

// Tree implements llb.TreeSource.
func (g *givenLayers) Tree(_ context.Context, key digest.Digest) (string, error) {
	if g.trees[key] == "" {
		return "", os.ErrNotExist
	}
	return g.trees[key], nil
}

// OpenLayer implements llb.LayerSource.
func (g *givenLayers) OpenLayer(d digest.Digest) (llb.LayerReader, error) {
	return readerAt{bytes.NewReader(g.blobs[d])}, nil
}

type readerAt struct{ *bytes.Reader }

func (readerAt) Close() error { return nil }

// givenImage has two given layers, of which a step reads one.
func givenImage(t *testing.T, w *world, g *givenLayers) llb.Image {
	t.Helper()
	one := llb.GivenLayer("[one] take", g.add(t, "one", map[string]string{"opt/": "", "opt/one": "1\n"}))
	two := llb.GivenLayer("[two] take", g.add(t, "two", map[string]string{"opt/": "", "opt/two": "2\n"}))
	read := sh("read", "look", "cat /opt/one >/out/read")
	read.Mounts = []llb.Mount{{Path: "/opt", Stage: one, From: "/opt"}}
	made := llb.From(w.base).Make(read, llb.Output{Path: "/out", On: llb.Scratch()})
	return llb.Image{Platform: amd64, Base: llb.From(w.base), BaseLayers: []string{"1", "2"}, Layers: []llb.Layer{
		{Name: "one", Stage: one}, {Name: "two", Stage: two}, {Name: "read", Stage: made},
	}}
}

// A layer that the session gives is in the image as it is, byte for byte, and steps can read it.
func TestGivenLayersStayAsTheyAre(t *testing.T) {
	w, b := newWorld(t), connect(t)
	g := newGivenLayers()
	image := givenImage(t, w, g)
	s := llb.Session{Artifacts: w, Layers: g}
	var archive bytes.Buffer
	res, err := b.Build(t.Context(), []llb.Image{image}, s, llb.BuildOptions{Names: []string{"localhost:1/given:1"},
		OCI: nopWriter{&archive}})
	if err != nil {
		t.Fatal(err)
	}
	got := res.Images[0].Layers
	for i, key := range []string{"one", "two"} {
		if want := g.layers[digest.FromString(key)]; got[2+i].Digest != want.Digest || got[2+i].Size != want.Size {
			t.Errorf("layer %s is %+v, want %s of %d bytes", key, got[2+i], want.Digest, want.Size)
		}
	}
	if files := layer(t, b, got[4].Digest); files["/read"].data != "1\n" {
		t.Errorf("the step read %q of the given layer", files["/read"].data)
	}
	for d, dt := range g.blobs {
		if !bytes.Contains(archive.Bytes(), dt) {
			t.Errorf("the archive does not have layer %s as it was given", d)
		}
	}
	def, err := image.Marshal(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	before := def.Digest()
	g.add(t, "one", map[string]string{"opt/": "", "opt/one": "other\n"})
	if def, err = image.Marshal(t.Context(), false); err != nil || def.Digest() != before {
		t.Errorf("the graph's digest follows the layer's bytes instead of its key: %v", err)
	}
}

// A builder without OCI layouts, or one that cannot merge, gets a given layer as an archive.
func TestGivenLayersOnALine(t *testing.T) {
	w, b := newWorld(t), connect(t)
	g := newGivenLayers()
	image := givenImage(t, w, g)
	res, err := b.Build(t.Context(), []llb.Image{image}, llb.Session{Artifacts: w, Layers: g},
		llb.BuildOptions{Names: []string{"localhost:1/given:1"}, Linear: true})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, l := range res.Images[0].Layers[2:] {
		for name, e := range layer(t, b, l.Digest) {
			all[name] = e.data
		}
	}
	for name, want := range map[string]string{"/opt/one": "1\n", "/opt/two": "2\n", "/read": "1\n"} {
		if all[name] != want {
			t.Errorf("%s is %q, want %q", name, all[name], want)
		}
	}
}

// opened notes when layers are read first.
type opened struct {
	*givenLayers
	mu sync.Mutex
	at time.Time
}

func (o *opened) Layer(ctx context.Context, key digest.Digest, only bool) (llb.StoredLayer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.givenLayers.Layer(ctx, key, only)
}

func (o *opened) OpenLayer(d digest.Digest) (llb.LayerReader, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at.IsZero() {
		o.at = time.Now()
	}
	return o.givenLayers.OpenLayer(d)
}

// A layer that only the image's check reads is unpacked while the image's steps still run.
func TestGivenLayersAreUnpackedAhead(t *testing.T) {
	w, b := newWorld(t), connect(t)
	g := &opened{givenLayers: newGivenLayers()}
	one := llb.GivenLayer("[one] take", g.add(t, "one", map[string]string{"opt/": "", "opt/ahead": t.Name()}))
	slow := sh("slow", "sleep", "sleep 5; date +%N >/slow")
	slow.Fresh = true
	step := llb.Diff("[slow] layer", llb.From(w.base), llb.From(w.base).Run(slow))
	whole := llb.Merge("[smoke] image", llb.From(w.base), one, step)
	check := llb.Check{Platform: amd64, Stage: whole.Run(sh("smoke", "look", "test -s /opt/ahead -a -s /slow"))}
	res, err := b.Build(t.Context(), []llb.Image{{Platform: amd64, Layers: []llb.Layer{{Name: "slow", Stage: step}}}},
		llb.Session{Artifacts: w, Layers: g}, llb.BuildOptions{Checks: []llb.Check{check}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.Steps {
		if s.Name == "sleep" && !g.at.Before(s.Completed) {
			t.Errorf("the layer was read at %v, when the slow step had ended at %v", g.at, s.Completed)
		}
	}
	if g.at.IsZero() {
		t.Error("nobody read the layer")
	}
}

// A layer that cannot be made ends the build with its own error.
func TestGivenLayerThatIsNotThere(t *testing.T) {
	w, b := newWorld(t), connect(t)
	g := newGivenLayers()
	image := llb.Image{Platform: amd64, Layers: []llb.Layer{
		{Name: "one", Stage: llb.GivenLayer("[one] take wheels", digest.FromString("none"))}}}
	_, err := b.Build(t.Context(), []llb.Image{image}, llb.Session{Artifacts: w, Layers: g}, llb.BuildOptions{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "take wheels") {
		t.Errorf("the error is %v", err)
	}
	if s := llb.GivenLayer("[one] take wheels", "none"); s.Err() == nil {
		t.Error("a key that is no digest is taken")
	}
}

type nopWriter struct{ *bytes.Buffer }

func (nopWriter) Close() error { return nil }
