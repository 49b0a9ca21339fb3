package wheel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// fakeCompiler gives "byte code" that tells of its source.
type fakeCompiler struct {
	fails string // a path
	calls atomic.Int32
}

func (f *fakeCompiler) Compile(_ context.Context, path string, source []byte) ([]byte, error) {
	f.calls.Add(1)
	switch {
	case path == f.fails:
		return nil, errors.New("out of order")
	case bytes.HasPrefix(source, []byte("print '")):
		return nil, nil
	}
	return []byte("code of " + path + ": " + string(source)), nil
}

// sourceWheel has sources of all kinds, in and out of the library.
func sourceWheel(t testing.TB) []byte {
	return makeWheel(t, "code", nil,
		file{name: "code/tests/of.py", data: "x = 1\n"}, file{name: "code/__init__.py", data: "a = 1\n"},
		file{name: "code/.py", data: "b = 1\n"},
		file{name: "code/old.py", data: "print 'old'\n"},
		file{name: "code/large.py", data: strings.Repeat("c = 1\n", 10_000)},
		file{name: "code/data.txt", data: "no source\n"},
		file{name: "code/__pycache__/old.cpython-312.pyc", data: "stale"},
		file{name: "code/__pycache__/large.cpython-312.pyc", data: "stale"},
		file{name: "code/__pycache__/large.cpython-310.pyc", data: "of another Python"},
		file{name: "code/__pycache__/odd.py", data: "no source"},
		file{name: "code-1.0.data/purelib/more.py", data: "d = 1\n"},
		file{name: "code-1.0.data/scripts/tool.py", data: "#!python\n", mode: 0o755},
		file{name: "code-1.0.data/data/share/share.py", data: "e = 1\n"})
}

// write writes wheels into one buffer per layer.
func write(t testing.TB, o Options, wheels ...*Wheel) (all []Layer, out []*bytes.Buffer) {
	t.Helper()
	for o.Part = 1; o.Part <= max(o.Parts, 1); o.Part++ {
		b := &bytes.Buffer{}
		l, err := Write(t.Context(), b, target(), o, wheels...)
		if err != nil {
			t.Fatal(err)
		}
		all, out = append(all, *l), append(out, b)
	}
	return all, out
}

func TestByteCodeIsInTheLayer(t *testing.T) {
	t.Parallel()
	w := open(t, sourceWheel(t))
	c := &fakeCompiler{}
	l, out := write(t, Options{Compiler: c}, w)
	files := readLayer(t, &l[0], out[0])
	site := "/opt/conda/envs/ray/lib/python3.12/site-packages/"
	var code, record []string
	for place, f := range files {
		if !strings.HasSuffix(place, ".pyc") {
			continue
		}
		code = append(code, strings.TrimPrefix(place, site))
		if f.Mode != 0o644 || strings.Contains(f.data, "stale") {
			t.Errorf("%s has mode %o and is %.60q", place, f.Mode, f.data)
		}
	}
	for line := range strings.Lines(files[site+"code-1.0.dist-info/RECORD"].data) {
		if place, _, _ := strings.Cut(line, ","); strings.HasSuffix(place, ".pyc") {
			record = append(record, place)
			if !strings.Contains(place, "310") && line != place+",,\r\n" {
				t.Errorf("RECORD has %q", line)
			}
		}
	}
	want := []string{"__pycache__/more.cpython-312.pyc", "code/__pycache__/__init__.cpython-312.pyc",
		"code/__pycache__/large.cpython-310.pyc", "code/__pycache__/large.cpython-312.pyc",
		"code/__pycache__/py.cpython-312.pyc"}
	slices.Sort(code)
	slices.Sort(record)
	if !slices.Equal(code, want) || !slices.Equal(record, want) {
		t.Errorf("the layer has the byte code %q, and RECORD %q; want %q", code, record, want)
	}
	if got := files[site+"__pycache__/more.cpython-312.pyc"].data; got != "code of "+site+"more.py: d = 1\n" {
		t.Errorf("the byte code is %q", got)
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, cpus := range []int{1, 8} {
		runtime.GOMAXPROCS(cpus)
		again := open(t, sourceWheel(t))
		if other, _ := write(t, Options{Compiler: &fakeCompiler{}}, again); other[0].Digest != l[0].Digest ||
			!bytes.Equal(again.ByteCode, w.ByteCode) {
			t.Errorf("on %d CPUs the layer is %s, not %s", cpus, other[0].Digest, l[0].Digest)
		}
	}
	// Byte code that was made before gives the same layer.
	again, calls := open(t, sourceWheel(t)), c.calls.Load()
	again.ByteCode = w.ByteCode
	for _, o := range []Options{{}, {Compiler: c}} {
		if other, _ := write(t, o, again); other[0].Digest != l[0].Digest || c.calls.Load() != calls {
			t.Errorf("with byte code from before the layer is %s, not %s, and %d more files are compiled",
				other[0].Digest, l[0].Digest, c.calls.Load()-calls)
		}
	}
}

// TestByteCodeIsThatOfTheLastSource has a source that a later wheel overwrites, which has no byte code then.
func TestByteCodeIsThatOfTheLastSource(t *testing.T) {
	t.Parallel()
	one := open(t, makeWheel(t, "one", nil, file{name: "a.py", data: "a = 1\n"}, file{name: "b.py", data: "b = 1\n"}))
	two := open(t, makeWheel(t, "two", nil, file{name: "a.py", data: "a = 2\n"},
		file{name: "b.py", data: "print 'old'\n"}))
	l, out := write(t, Options{Compiler: &fakeCompiler{}}, one, two)
	files := readLayer(t, &l[0], out[0])
	site := "/opt/conda/envs/ray/lib/python3.12/site-packages/"
	if got := files[site+"__pycache__/a.cpython-312.pyc"].data; !strings.HasSuffix(got, "a = 2\n") {
		t.Errorf("the byte code is %q", got)
	}
	if f, ok := files[site+"__pycache__/b.cpython-312.pyc"]; ok {
		t.Errorf("a source without byte code has that of another: %q", f.data)
	}
}

// TestByteCodeThatCannotBe has byte code that is refused, each with a word of the reason.
func TestByteCodeThatCannotBe(t *testing.T) {
	t.Parallel()
	data := sourceWheel(t)
	w := open(t, data)
	code, err := w.Compile(t.Context(), target(), &fakeCompiler{})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := target()
	elsewhere.Prefix = "/elsewhere"
	damaged := bytes.Clone(code)
	damaged[len(damaged)/2]++
	for want, c := range map[string]struct {
		data, code []byte
		to         Target
	}{
		"code is damaged":           {data, damaged, target()},
		"its byte code is damaged":  {data, code[:20], target()},
		`not of code 1.0 at "/else`: {data, code, elsewhere},
		"that of code 1.0 at": {makeWheel(t, "other", nil, file{name: "code/__init__.py", data: "1"}), code,
			target()},
		`"code/.py", which is no source of it`: {makeWheel(t, "code", nil), code, target()},
	} {
		w := open(t, c.data)
		w.ByteCode = c.code
		if _, err := WriteLayer(t.Context(), io.Discard, c.to, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	failing := &fakeCompiler{fails: target().library() + "/more.py"}
	_, err = Write(t.Context(), io.Discard, target(), Options{Compiler: failing}, open(t, data))
	if err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("a compiler fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Compile(ctx, target(), failing); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestLayersAreCut cuts wheels into layers of at most some bytes: the same files at any size.
// TestLayersAreCut holds that parts have together what the whole layer has, each file once.
func TestLayersAreCut(t *testing.T) {
	t.Parallel()
	data := sourceWheel(t)
	whole, out := write(t, Options{Compiler: &fakeCompiler{}}, open(t, data), open(t, oddWheel(t)))
	want := readLayer(t, &whole[0], out[0])
	for parts := range 12 {
		o := Options{Compiler: &fakeCompiler{}, Parts: parts}
		layers, out := write(t, o, open(t, data), open(t, oddWheel(t)))
		again, _ := write(t, o, open(t, data), open(t, oddWheel(t)))
		got, files := map[string]entry{}, 0
		for i := range layers {
			l := &layers[i]
			if l.Digest != again[i].Digest {
				t.Errorf("of %d parts, part %d is %s and %s", parts, i+1, l.Digest, again[i].Digest)
			}
			files += len(l.Files)
			for place, f := range readLayer(t, l, out[i]) {
				got[place] = f
			}
		}
		if files != len(whole[0].Files) || len(got) != len(want) {
			t.Errorf("%d parts have %d files, not %d", parts, files, len(whole[0].Files))
		}
		for place, f := range want {
			if got[place].data != f.data || got[place].Header == nil || got[place].Mode != f.Mode {
				t.Errorf("of %d parts, %s differs", parts, place)
			}
		}
		last := layers[len(layers)-1].Files
		if name := last[len(last)-1].Path; !strings.HasSuffix(name, "Odd_Wheel-1.0.dist-info/RECORD") {
			t.Errorf("of %d parts, the last file is %s", parts, name)
		}
	}
	if _, err := Write(t.Context(), io.Discard, target(), Options{Part: 3, Parts: 2}, open(t, data)); err == nil {
		t.Error("a third part of two is written")
	}
}

// TestPartsAreEven holds that no part is larger than its share and one file.
func TestPartsAreEven(t *testing.T) {
	t.Parallel()
	var files []file
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		b := make([]byte, 1000)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		files = append(files, file{name: fmt.Sprintf("even/%d.bin", i), data: string(b)})
	}
	layers, _ := write(t, Options{Parts: 4}, open(t, makeWheel(t, "even", nil, files...)))
	for i, l := range layers {
		if l.Size < 50_000 || l.Size > 75_000 {
			t.Errorf("part %d has %d bytes, want about 60,000", i+1, l.Size)
		}
	}
}

// FuzzByteCode holds that no index of byte code panics, or leads out of the library.
func FuzzByteCode(f *testing.F) {
	data := sourceWheel(f)
	code, err := open(f, data).Compile(f.Context(), target(), &fakeCompiler{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code[:len(code)-sha256.Size])
	f.Fuzz(func(t *testing.T, code []byte) {
		w, sum := open(t, data), sha256.Sum256(code)
		w.ByteCode = append(bytes.Clone(code), sum[:]...)
		p, err := w.placeAt(target())
		if err != nil {
			t.Fatal(err)
		}
		files, packed, err := p.codeFiles()
		if err != nil {
			return
		}
		for _, f := range files {
			if !strings.HasPrefix(f.place, target().library()+"/") || f.data < 0 ||
				f.data+f.packed > int64(len(packed)) {
				t.Errorf("there is %+v of %d bytes", f, len(packed))
			}
		}
	})
}
