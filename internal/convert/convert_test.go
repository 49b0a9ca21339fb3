package convert

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
	"github.com/raybuild/raybuild/wheel"
)

// shelf has artifacts by digest.
type shelf struct {
	mu    sync.Mutex
	files map[digest.Digest][]byte
	opens int
}

// Open implements llb.ArtifactSource.
func (s *shelf) Open(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	data, ok := s.files[d]
	if !ok {
		return nil, 0, os.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

// wheel puts a wheel without sources on the shelf: it takes no Python.
func (s *shelf) wheel(t *testing.T, name, text string, more ...[2]string) layers.Artifact {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	info := name + "-1.dist-info/"
	for _, f := range append([][2]string{
		{name + "/data", text},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", name + "/data,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	}, more...) {
		out, err := w.Create(f[0])
		if err == nil {
			_, err = io.WriteString(out, f[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s.put(name, b.Bytes())
}

func (s *shelf) put(name string, data []byte) layers.Artifact {
	d := digest.FromBytes(data)
	s.files[d] = data
	return layers.Artifact{Kind: layers.KindWheel, Name: name, Version: "1", Origin: "pypi",
		Path: "packages/" + name + "-1-py3-none-any.whl", SHA256: d.Encoded(), Size: int64(len(data))}
}

func layerOf(name string, wheels ...layers.Artifact) layers.WheelLayer {
	l := layers.WheelLayer{Name: name, Title: "[" + name + "] install", Wheels: wheels, Prefix: "/opt/env",
		Python: "3.12"}
	text := name
	for _, w := range wheels {
		text += w.SHA256
	}
	l.Key = digest.FromString(text)
	return l
}

// open starts a converter that knows layers.
func open(t *testing.T, dir string, s *shelf, o Options, all ...layers.WheelLayer) *Converter {
	t.Helper()
	o.Dir, o.Artifacts = dir, s
	c := New(t.Context(), o)
	t.Cleanup(c.Close)
	c.Know(all)
	return c
}

func (c *Converter) bytes(t *testing.T, d digest.Digest, size int64) []byte {
	t.Helper()
	r, err := c.OpenLayer(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.NewSectionReader(r, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A layer is made once, and is the same for every converter and number of CPUs.
func TestLayerIsMadeOnce(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	one := layerOf("one", s.wheel(t, "alpha", "a"), s.wheel(t, "beta", "b"))
	two := layerOf("two", s.wheel(t, "gamma", strings.Repeat("c", 100_000)))
	c := open(t, dir, s, Options{CPUs: 1}, one, two)
	if _, err := c.Layer(t.Context(), one.Key, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a layer that nobody made is there: %v", err)
	}
	c.Start([]digest.Digest{one.Key, two.Key})
	first, err := c.Layer(t.Context(), one.Key, false)
	if err != nil {
		t.Fatal(err)
	}
	if data := c.bytes(t, first.Digest, first.Size); digest.FromBytes(data) != first.Digest {
		t.Errorf("the layer's bytes are not those of its digest")
	}
	if _, err := c.Layer(t.Context(), two.Key, false); err != nil {
		t.Fatal(err)
	}
	before := s.opens
	again := open(t, dir, s, Options{}, one)
	again.Start([]digest.Digest{one.Key})
	if l, err := again.Layer(t.Context(), one.Key, false); err != nil || l.Digest != first.Digest || s.opens != before {
		t.Errorf("the second time it is %v (%v), and %d artifacts were opened", l, err, s.opens-before)
	}
	if steps := again.Steps(); len(steps) != 1 || !steps[0].Cached || steps[0].Layer != "one" {
		t.Errorf("the steps are %+v", steps)
	}
	elsewhere := open(t, t.TempDir(), s, Options{CPUs: 4}, one)
	if l, err := elsewhere.Layer(t.Context(), one.Key, false); err != nil || l.Digest != first.Digest {
		t.Errorf("elsewhere it is %v (%v), here %v", l, err, first)
	}
	anew := open(t, dir, s, Options{Anew: true}, one)
	if l, err := anew.Layer(t.Context(), one.Key, false); err != nil || l.Digest != first.Digest || s.opens == before {
		t.Errorf("made anew it is %v (%v)", l, err)
	}
}

// A wheel that lies, or that nobody has, is an error with its name, and leaves nothing behind.
func TestBadWheelLeavesNothing(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	good := s.wheel(t, "alpha", strings.Repeat("text ", 100))
	data := bytes.Replace(s.files[good.Digest()], []byte("alpha/data"), []byte("alpha/../x"), 1)
	gone := good
	gone.SHA256 = strings.Repeat("0", 64)
	for name, l := range map[string]layers.WheelLayer{
		"a lie":   layerOf("lie", s.put("lie", data)),
		"no zip":  layerOf("text", s.put("text", []byte("no archive"))),
		"nowhere": layerOf("gone", gone),
	} {
		c := open(t, dir, s, Options{Trees: true}, l)
		_, err := c.Layer(t.Context(), l.Key, false)
		if err == nil || !strings.Contains(err.Error(), l.Wheels[0].Filename()) {
			t.Errorf("%s: the error is %v, want one that names the wheel", name, err)
		}
		if _, ok := Known(dir, l.Key); ok {
			t.Errorf("%s: the store has a layer of it", name)
		}
		if steps := c.Steps(); len(steps) != 1 || !steps[0].Failed {
			t.Errorf("%s: the steps are %+v", name, steps)
		}
	}
	left := 0
	for _, sub := range []string{"keys", "blobs", "tmp", TreesDir} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub)) // it may not be there
		left += len(entries)
	}
	if left > 0 {
		t.Errorf("%d files are left", left)
	}
}

// A layer whose bytes were damaged on the disk is made again.
func TestDamagedLayerIsMadeAgain(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	one := layerOf("one", s.wheel(t, "alpha", "a"))
	made, err := open(t, dir, s, Options{}, one).Layer(t.Context(), one.Key, false)
	if err != nil {
		t.Fatal(err)
	}
	file := newStore(dir).blobFile(made.Digest)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, s, Options{}, one)
	if l, err := c.Layer(t.Context(), one.Key, false); err != nil || l.Digest != made.Digest ||
		digest.FromBytes(c.bytes(t, l.Digest, l.Size)) != made.Digest {
		t.Errorf("it is %v (%v), want it made again as %v", l, err, made)
	}
}

// What nobody used for two weeks is removed, and made again.
func TestUnusedLayersAreRemoved(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	one, two := layerOf("one", s.wheel(t, "alpha", "a")), layerOf("two", s.wheel(t, "beta", "b"))
	c := open(t, dir, s, Options{}, one, two)
	for _, l := range []layers.WheelLayer{one, two} {
		if _, err := c.Layer(t.Context(), l.Key, false); err != nil {
			t.Fatal(err)
		}
	}
	store, old := newStore(dir), time.Now().Add(-unusedAfter-time.Hour)
	for _, l := range []layers.WheelLayer{one, two} {
		k, _ := store.read(l.Key)
		for _, file := range []string{store.keyFile(l.Key), store.blobFile(k.Digest)} {
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := store.get(two.Key); !ok { // a use
		t.Fatal("a layer is not there")
	}
	again := open(t, dir, s, Options{}, one, two)
	for _, c := range []struct {
		layer layers.WheelLayer
		there bool
	}{{one, false}, {two, true}} {
		if _, ok := Known(dir, c.layer.Key); ok != c.there {
			t.Errorf("layer %s is there: %v, want %v", c.layer.Name, ok, c.there)
		}
	}
	if _, err := again.Layer(t.Context(), one.Key, false); err != nil {
		t.Errorf("a removed layer is not made again: %v", err)
	}
}

// A converter that is closed ends what it makes.
func TestClosedConverterMakesNothing(t *testing.T) {
	t.Parallel()
	s := &shelf{files: map[digest.Digest][]byte{}}
	one := layerOf("one", s.wheel(t, "alpha", "a"))
	ctx, cancel := context.WithCancel(t.Context())
	c := New(ctx, Options{Dir: t.TempDir(), Artifacts: s})
	c.Know([]layers.WheelLayer{one})
	cancel()
	if _, err := c.Layer(t.Context(), one.Key, false); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	c.Close()
}

var _ llb.ArtifactSource = (*shelf)(nil)

// Files that two wheels bring with different content are found, in one layer and in two.
func TestConflicts(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	shared := func(text string) [2]string { return [2]string{"shared/a \"b", text} }
	equal := [2]string{"shared/equal", "="}
	one := layerOf("one", s.wheel(t, "alpha", "a", shared("1"), equal), s.wheel(t, "beta", "b", shared("2"), equal))
	two := layerOf("two", s.wheel(t, "gamma", "c", shared("3"), equal))
	three := layerOf("three", s.wheel(t, "delta", "d", shared("3"), equal))
	c := open(t, dir, s, Options{}, one, two, three)
	for _, l := range []layers.WheelLayer{one, two, three} {
		if _, err := c.Layer(t.Context(), l.Key, false); err != nil {
			t.Fatal(err)
		}
	}
	const place = "/opt/env/lib/python3.12/site-packages/shared/a \"b"
	want := []wheel.Conflict{{Path: place, First: "alpha 1", Second: "beta 1"},
		{Path: place, First: "beta 1", Second: "gamma 1"}}
	again := open(t, dir, s, Options{}) // reads what was kept
	for name, c := range map[string]*Converter{"that made them": c, "another": again} {
		if got := c.Conflicts([]digest.Digest{one.Key, two.Key, three.Key}); !slices.Equal(got, want) {
			t.Errorf("the converter %s finds %+v, want %+v", name, got, want)
		}
	}
	if got := c.Conflicts([]digest.Digest{two.Key, three.Key}); len(got) > 0 {
		t.Errorf("equal files are a conflict: %+v", got)
	}
}

// The parts of a wheel have its files between them, whatever order they are made in.
func TestPartsOfAWheel(t *testing.T) {
	t.Parallel()
	s, dir := &shelf{files: map[digest.Digest][]byte{}}, t.TempDir()
	var files [][2]string
	for i := range 10 {
		files = append(files, [2]string{fmt.Sprintf("alpha/%d", i), strings.Repeat(fmt.Sprint(i), 1000)})
	}
	wheel := s.wheel(t, "alpha", "a", files...)
	var parts []layers.WheelLayer
	for i := range 3 {
		l := layerOf(fmt.Sprintf("alpha-part-%d", i+1), wheel)
		l.Part, l.Parts = i+1, 3
		parts = append(parts, l)
	}
	c := open(t, dir, s, Options{}, parts...)
	in := map[string]int{}
	for i := range parts {
		l, err := c.Layer(t.Context(), parts[2-i].Key, false)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(c.bytes(t, l.Digest, l.Size)))
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				in[path.Base(h.Name)]++
			}
		}
	}
	for _, name := range []string{"data", "0", "9", "METADATA", "RECORD", "INSTALLER"} {
		if in[name] != 1 {
			t.Errorf("%d parts have %s, want 1", in[name], name)
		}
	}
	if len(in) != 16 {
		t.Errorf("the parts have the files %v", in)
	}
}
