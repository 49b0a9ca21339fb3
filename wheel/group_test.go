package wheel

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func open(t testing.TB, data []byte) *Wheel {
	t.Helper()
	w, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// overlapping are two wheels that bring some of the same files: equal ones, different ones, and a command.
func overlapping(t testing.TB) (one, two *Wheel) {
	shared := file{name: "space/__init__.py", data: "equal = True\n"}
	one = open(t, makeWheel(t, "one", nil, shared,
		file{name: "space/one.py", data: "one = 1\n"},
		file{name: "space/both.py", data: "both = 1\n"},
		file{name: "one-1.0.data/scripts/tool", data: "#!python\n1\n", mode: 0o755}))
	two = open(t, makeWheel(t, "two", nil, shared,
		file{name: "space/two.py", data: "two = 2\n"},
		file{name: "space/both.py", data: "both = 2\n"},
		file{name: "two.py", data: "def main(): pass\n"},
		file{name: "two-1.0.dist-info/entry_points.txt", data: "[console_scripts]\ntool = two:main\n"}))
	return one, two
}

func TestGroupIsOneLayer(t *testing.T) {
	t.Parallel()
	one, two := overlapping(t)
	one.Dependency = true
	var out bytes.Buffer
	l, err := WriteLayer(t.Context(), &out, target(), one, two)
	if err != nil {
		t.Fatal(err)
	}
	files := readLayer(t, l, bytes.NewReader(out.Bytes())) // which refuses paths that are there twice
	site := "/opt/conda/envs/ray/lib/python3.12/site-packages/"
	for place, want := range map[string]string{
		"space/__init__.py": "equal = True\n", "space/one.py": "one = 1\n", "space/two.py": "two = 2\n",
		"space/both.py": "both = 2\n", "two-1.0.dist-info/REQUESTED": "", "one-1.0.dist-info/INSTALLER": "pip\n",
		"../../../bin/tool": string(target().script(entryPoint{"two", "main"})),
	} {
		place = strings.Replace(site+place, "lib/python3.12/site-packages/../../../", "", 1)
		if got, ok := files[place]; !ok || got.data != want {
			t.Errorf("%s: there: %v, %q; want %q", place, ok, got.data, want)
		}
	}
	if _, has := files[site+"one-1.0.dist-info/REQUESTED"]; has {
		t.Error("a dependency has REQUESTED")
	}
	if !strings.Contains(files[site+"one-1.0.dist-info/RECORD"].data, "space/both.py,sha256=") {
		t.Error("the first wheel's RECORD lacks a file that it installed")
	}
	want := []Conflict{{"/opt/conda/envs/ray/bin/tool", "one 1.0", "two 1.0"}, {site + "space/both.py", "one 1.0",
		"two 1.0"}}
	if !slices.Equal(l.Conflicts, want) {
		t.Errorf("conflicts are %v, want %v", l.Conflicts, want)
	}
	found, err := Conflicts(target(), two, one)
	if err != nil || len(found) != 2 || found[1].First != "two 1.0" {
		t.Errorf("the other way round conflicts are %v, %v", found, err)
	}
	own, err := one.Files(target())
	if err != nil || !slices.ContainsFunc(own, func(f File) bool {
		return f.Path == site+"space/one.py" && f.Size == 8 && f.CRC != 0 && f.Wheel == "one 1.0"
	}) || len(own) != 7 {
		t.Errorf("the files of the first wheel are %v, %v", own, err)
	}
	other, err := WriteLayer(t.Context(), io.Discard, target(), two, one)
	if err != nil || other.Digest == l.Digest {
		t.Errorf("the other way round the layer is %v, %v", other, err)
	}
}

// TestGroupsThatCannotBe has groups that are refused, each with a word of the reason.
func TestGroupsThatCannotBe(t *testing.T) {
	t.Parallel()
	one, two := overlapping(t)
	in := open(t, makeWheel(t, "in", nil, file{name: "two.py/in.py", data: "1"}))
	self := open(t, makeWheel(t, "self", nil, file{name: "a", data: "1"},
		file{name: "self-1.0.data/purelib/a/b", data: "1"}))
	for want, group := range map[string][]*Wheel{
		"no wheels": {}, "another wheel of this project": {one, two, one},
		"is a file of wheel two 1.0 and a directory of in 1.0":    {two, in},
		"is a file of wheel self 1.0 and a directory of self 1.0": {self},
	} {
		if _, err := WriteLayer(t.Context(), io.Discard, target(), group...); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}

// Who asks for the tar file gets what DiffID is the digest of, also of a layer with a table of contents.
func TestTarFile(t *testing.T) {
	t.Parallel()
	for _, toc := range []bool{false, true} {
		var tar bytes.Buffer
		l, err := Write(t.Context(), io.Discard, target(), Options{Compiler: &fakeCompiler{}, EStargz: toc, Tar: &tar},
			open(t, sourceWheel(t)), open(t, oddWheel(t)))
		if err != nil {
			t.Fatal(err)
		}
		if int64(tar.Len()) != l.Unpacked || digest.FromBytes(tar.Bytes()) != l.DiffID {
			t.Errorf("table of contents %v: %d bytes with the digest %s, not %d with %s", toc, tar.Len(),
				digest.FromBytes(tar.Bytes()), l.Unpacked, l.DiffID)
		}
	}
	broken := errors.New("the disk is full")
	fails := writerFunc(func([]byte) error { return broken })
	_, err := Write(t.Context(), io.Discard, target(), Options{Tar: fails}, open(t, oddWheel(t)))
	if !errors.Is(err, broken) {
		t.Errorf("with a writer that fails: %v", err)
	}
}
