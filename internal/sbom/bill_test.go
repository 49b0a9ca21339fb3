package sbom

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// file is an entry of a layer.
type file struct{ name, text, link, hard string }

// layerOf packs a layer.
func layerOf(t testing.TB, pack string, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.text)), Mode: 0o644}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case f.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, f.hard
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	switch pack {
	case "gzip":
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(out.Bytes())
		_ = z.Close()
	case "zstd":
		z, _ := zstd.NewWriter(&packed)
		_, _ = z.Write(out.Bytes())
		_ = z.Close()
	default:
		return out.Bytes()
	}
	return packed.Bytes()
}

func found(t testing.TB, o ReadOptions, layers ...[]byte) []*Found {
	t.Helper()
	var all []*Found
	for _, l := range layers {
		f, err := ReadLayer(t.Context(), bytes.NewReader(l), o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

const (
	statusA  = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
	statusB  = "Package: b\nStatus: install ok installed\nVersion: 2\nArchitecture: all\nSource: src (3)\n"
	metadata = "Name: Req\nVersion: 1\nLicense: MIT\n"
	site     = "opt/conda/envs/ray/lib/python3.11/site-packages/"
)

// names of the parts of each layer.
func names(all [][]Part) [][]string {
	out := make([][]string, len(all))
	for i, parts := range all {
		for _, p := range parts {
			out[i] = append(out[i], p.Kind+" "+p.Name+" "+p.Version)
		}
	}
	return out
}

func TestLayersGivePackages(t *testing.T) {
	t.Parallel()
	base := layerOf(t, "gzip", file{name: "./etc/os-release", link: "../usr/lib/os-release"},
		file{name: "./usr/lib/os-release", text: "ID=debian\nVERSION_ID=\"12\"\n"},
		file{name: "./var/lib/dpkg/status", text: statusA},
		file{name: "./usr/share/doc/a/copyright", text: dep5 + "Files: *\nLicense: Expat\n"},
		file{name: "usr/share/doc/b", link: "a"})
	apt := layerOf(t, "zstd", file{name: "var/lib/dpkg/status", text: statusA + "\n" + statusB})
	conda := layerOf(t, "", file{name: "opt/conda/conda-meta/x-1-0.json", text: `{"name": "x", "version": "1"}`},
		file{name: "opt/conda/conda-meta/history", text: "not json"},
		file{name: "opt/conda/conda-meta/bad.json", text: "{"},
		file{name: "opt/conda/pkgs/y-1/site-packages/y-1.dist-info/METADATA", text: "Name: y\nVersion: 1\n"},
		file{name: site + "y-1.dist-info/METADATA", hard: "opt/conda/pkgs/y-1/site-packages/y-1.dist-info/METADATA"},
		file{name: site + "req-1.dist-info/METADATA", text: metadata},
		file{name: site + "req/_vendor/z-1.dist-info/METADATA", text: "Name: z\nVersion: 1\n"},
		file{name: "usr/lib/python3/dist-packages/old-1.egg-info", text: "Name: old\nVersion: 1\n"})
	all := found(t, ReadOptions{}, base, apt, conda)
	got := Combine(all)
	want := [][]string{{"deb a 1"}, {"deb b 2"}, {"conda x 1", "python Req 1", "python old 1"}}
	if !reflect.DeepEqual(names(got), want) {
		t.Errorf("%v, want %v", names(got), want)
	}
	if a, b := got[0][0], got[1][0]; a.License != "Expat" || b.License != "Expat" || a.Distro != "debian-12" ||
		b.PURL() != "pkg:deb/debian/b@2?arch=all&distro=debian-12&upstream=src%403" {
		t.Errorf("%+v\n%+v", a, b)
	}
	if len(all[2].Bad) != 1 || !strings.Contains(all[2].Bad[0], "bad.json") {
		t.Errorf("bad: %v", all[2].Bad)
	}
}

func TestLaterLayersReplaceAndRemove(t *testing.T) {
	t.Parallel()
	first := layerOf(t, "", file{name: "var/lib/dpkg/status", text: statusA},
		file{name: site + "req-1.dist-info/METADATA", text: metadata},
		file{name: site + "two-1.dist-info/METADATA", text: "Name: two\nVersion: 1\n"},
		file{name: site + "three-1.dist-info/METADATA", text: "Name: three\nVersion: 1\n"})
	second := layerOf(t, "",
		file{name: "var/lib/dpkg/status", text: strings.Replace(statusA, "Version: 1", "Version: 9", 1)},
		file{name: site + "req-1.dist-info/METADATA", text: metadata},
		file{name: site + ".wh.two-1.dist-info"}, file{name: site + "three-1.dist-info/.wh..wh..opq"})
	got := names(Combine(append(found(t, ReadOptions{}, first), nil, found(t, ReadOptions{}, second)[0])))
	if want := [][]string{{"python Req 1"}, nil, {"deb a 9"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestUnowned(t *testing.T) {
	t.Parallel()
	base := layerOf(t, "", file{name: "lib", link: "usr/lib"},
		file{name: "var/lib/dpkg/info/a.list", text: "/.\n/lib/a.so\n/etc\n"},
		file{name: "usr/lib/a.so", text: "x"}, file{name: "var/cache/x", text: "x"}, file{name: "tmp/gone", text: "x"})
	conda := layerOf(t, "", file{name: "opt/conda/conda-meta/x-1-0.json", text: `{"name": "x", "version": "1", "files": ["lib/x.py"]}`},
		file{name: "opt/conda/lib/x.py"}, file{name: "opt/conda/lib/__pycache__/x.cpython-311.pyc"},
		file{name: site + "req-1.dist-info/METADATA", text: metadata},
		file{name: site + "req-1.dist-info/RECORD",
			text: "req-1.dist-info/METADATA,,\nreq-1.dist-info/RECORD,,\n../../../bin/req,,\n"},
		file{name: "opt/conda/envs/ray/bin/req"}, file{name: "opt/conda/envs/ray/lone"}, file{name: "tmp/.wh.gone"})
	step := layerOf(t, "", file{name: "opt/made"})
	got := Unowned(found(t, ReadOptions{Files: true}, base, conda, step), func(n int) bool { return n == 2 })
	if want := []string{"lib", "opt/conda/envs/ray/lone", "var/cache/x"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// bill is one with everything.
func bill() *Bill {
	d := func(s string) digest.Digest { return digest.FromString(s) }
	torch := Part{Kind: Python, Name: "torch", Version: "2.7.0", License: "BSD-3-Clause", SHA256: d("torch").Encoded(),
		URL: "https://files.pythonhosted.org/packages/torch.whl"}
	return &Bill{Digest: d("image"), Created: time.Unix(1790000000, 0), Platforms: []Platform{{
		Name: "linux/amd64", Digest: d("manifest"), Unowned: []string{"var/cache/x"}, Layers: []Layer{
			{d("base"), "base", []Part{
				{Kind: Base, Name: "debian:12", Version: d("base").String(), SHA256: d("base").Encoded()},
				{Kind: Deb, Name: "libssl3", Version: "1:3-1", Arch: "amd64", Source: "openssl", SourceVersion: "3-1",
					Distro: "debian-12", License: "Apache-2.0"}}},
			{d("conda"), "miniconda", []Part{
				{Kind: Installer, Name: "miniconda", Version: "py311", SHA256: d("sh").Encoded()},
				{Kind: Conda, Name: "pip", Version: "25", Build: "py_0", Channel: "conda-forge", Subdir: "noarch",
					License: "MIT", Path: "opt/conda/conda-meta/pip.json"},
				{Kind: Python, Name: "pip", Version: "25", License: "Own Licence AND MIT",
					Path: site + "pip-25.dist-info/METADATA"}}},
			{d("torch-1"), "torch-part-1", []Part{torch}}, {d("torch-2"), "torch-part-2", []Part{torch}},
			{d("files"), "files", []Part{{Kind: File, Name: "app/main.py", SHA256: d("main").Encoded()}}},
			{d("step"), "note", []Part{{Kind: Step, Name: "note"}}},
			{d("user"), "user", []Part{{Kind: Config, Name: "user"}}},
		}}}}
}

func TestFormsAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*Bill) ([]byte, error){
		"SPDX": (*Bill).SPDX, "CycloneDX": (*Bill).CycloneDX} {
		a, errA := write(bill())
		b, errB := write(bill())
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %v %v: two bills differ:\n%s\n%s", name, errA, errB, a, b)
		}
		var tree map[string]any
		if err := json.Unmarshal(a, &tree); err != nil {
			t.Error(err)
		}
	}
}

func TestSPDXIsReadAgain(t *testing.T) {
	t.Parallel()
	b := bill()
	data, err := b.SPDX()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadSPDX(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.List(), b.List()) {
		t.Errorf("%+v\nwant\n%+v", got.List(), b.List())
	}
	got.Created, got.Platforms[0].Unowned = b.Created, b.Platforms[0].Unowned
	if again, err := got.SPDX(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: what was read is written as\n%s\nwant\n%s", err, again, data)
	}
	for _, bad := range []string{"", "{}", `{"creationInfo": {"created": "x", "creators": ["Tool: other"]}}`} {
		if _, err := ReadSPDX([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestListHasEachPartOnce(t *testing.T) {
	t.Parallel()
	for _, l := range bill().List() {
		if l.Name == "torch" && !slices.Equal(l.Layers, []int{2, 3}) {
			t.Errorf("torch is in layers %v", l.Layers)
		}
	}
	if n := len(bill().List()); n != 9 {
		t.Errorf("%d parts, want 9", n)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := Store{Dir: t.TempDir()}
	d := digest.FromString("x")
	if _, ok := s.Layer(d); ok {
		t.Error("an empty store has a layer")
	}
	f := &Found{Rules: Rules, Distro: "debian-12", Parts: []Part{{Kind: Python, Name: "a", Version: "1"}}}
	if err := s.KeepLayer(d, f); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Layer(d); !ok || !reflect.DeepEqual(got, f) {
		t.Errorf("%v %+v", ok, got)
	}
	if err := s.KeepLicense(d, "MIT"); err != nil {
		t.Fatal(err)
	}
	if l, ok := s.License(d); !ok || l != "MIT" {
		t.Errorf("%v %q", ok, l)
	}
	if err := s.KeepLicense("../x", "MIT"); err == nil {
		t.Error("a path is taken for a digest")
	}
	s.Sweep(time.Now().Add(2 * keptFor))
	if _, ok := s.Layer(d); ok {
		t.Error("what was kept long ago is still there")
	}
}

func FuzzReadLayer(f *testing.F) {
	f.Add(layerOf(f, "", file{name: "var/lib/dpkg/status", text: statusA},
		file{name: site + "r-1.dist-info/METADATA", text: metadata}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := ReadLayer(t.Context(), bytes.NewReader(data), ReadOptions{Files: true}); err == nil {
			Combine([]*Found{l, l})
			Unowned([]*Found{l}, func(int) bool { return false })
		}
	})
}

func FuzzReadSPDX(f *testing.F) {
	data, err := bill().SPDX()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := ReadSPDX(data); err == nil {
			b.List()
		}
	})
}

func BenchmarkForms(b *testing.B) {
	one := bill()
	for i := range 300 {
		p := one.Platforms[0].Layers[2].Parts[0]
		p.Name += strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		one.Platforms[0].Layers[2].Parts = append(one.Platforms[0].Layers[2].Parts, p)
	}
	for b.Loop() {
		if _, err := one.SPDX(); err != nil {
			b.Fatal(err)
		}
		if _, err := one.CycloneDX(); err != nil {
			b.Fatal(err)
		}
	}
}
