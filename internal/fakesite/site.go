// Package fakesite is a project with a recipe, a lock that fits it and files, a builder that runs nothing
// (internal/fakebuilder), and a registry of its own. Tests of what a build does around its builder use it:
// they need no root and no network.
package fakesite

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
)

// Site is a project with its builder and its registry.
type Site struct {
	Dir     string // of recipe, lock and files
	Host    string // of the registry
	Builder *fakebuilder.Builder
	Fails   map[string]string            // steps that fail, by title, and what they say
	Leaves  map[string]map[string]string // files that steps leave, by title's start
	Stops   map[string]func()            // what is done when a step runs, by title

	t testing.TB
}

const recipe = `
base: HOST/base:12
mirrors: {fetch: [{pip: MIRROR/simple, apt: MIRROR/debian, conda: MIRROR/conda, installer: MIRROR/miniconda}]}
apt: []
miniconda: {version: py311_25.7.0-2, sha256: 1111111111111111111111111111111111111111111111111111111111111111}
env: {name: ray, python: "3.11"}
ray: {version: "2.60.0", extras: [default]}
pip: [requests]
files: [{from: app, to: /home/ray/app}]
steps: [{name: note, run: "echo hello > /opt/note", needs: [ray]}]
image: {labels: {team: a}}
`

// inputs returns the digests of what the lock's layers were resolved for. Another value here makes
// every lock that anybody has stale.
func inputs() map[string]digest.Digest {
	return map[string]digest.Digest{
		"apt":       "sha256:3aa466dc91be11811fd8349a494e21847865240738ed8a80993b5d93f380bbde",
		"env":       "sha256:96c85ad1ae178a234926a11a9f8fdeb0ac8ce174593a23d188c63fb259fecc0d",
		"miniconda": "sha256:7ca0cfcfae408f4d5fd08401279a3c929420f23ba139b154ffabfb24b1b081a6",
		"ray":       "sha256:af4133e5b6196dc694e300f54388b3fdcdb7020409f3503be073677c8329aaed",
	}
}

// New makes a site that lives as long as the test.
func New(t testing.TB) *Site {
	t.Helper()
	s := &Site{t: t, Dir: t.TempDir(), Host: ServeRegistry(t), Fails: map[string]string{},
		Leaves: map[string]map[string]string{}, Stops: map[string]func(){}}
	s.Builder = fakebuilder.Start(t, fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		if stop, ok := s.Stops[title]; ok {
			stop()
			time.Sleep(time.Second) // the end of the call goes its own way
		}
		if text, ok := s.Fails[title]; ok {
			return nil, errors.New(text)
		}
		for start, files := range s.Leaves {
			if strings.HasPrefix(title, start) {
				return files, nil
			}
		}
		return nil, nil
	}})
	index := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dist, version, ok := wheelName(r.URL.Path); ok {
			_, _ = w.Write(Wheel(dist, version)) // a client that has gone gets nothing
			return
		}
		w.Header().Set("Content-Length", "1000")
	}))
	t.Cleanup(index.Close)
	base := s.PushBase("as it was")
	s.Write("raybuild.yaml", strings.NewReplacer("HOST", s.Host, "MIRROR", index.URL).Replace(recipe))
	s.Write("app/main.py", "print(1)\n")
	data, err := newLock(s.Host+"/base:12", base).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.Write("raybuild.lock", string(data))
	return s
}

// PushBase gives the registry's base image a content, and tells its digest.
func (s *Site) PushBase(note string) digest.Digest {
	s.t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, file := range [][2]string{
		{"etc/note", note},
		{"etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"},
		{"etc/apt/sources.list.d/debian.sources", ""},
		{"var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file[0], Mode: 0o644,
			Size: int64(len(file[1]))}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.ParseReference(s.Host + "/base:12")
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	config.OS, config.Architecture, config.Config.Env = "linux", "amd64", []string{"PATH=/usr/bin:/bin"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	return digest.Digest(d.String())
}

// wheelName takes a wheel's file name apart.
func wheelName(file string) (dist, version string, ok bool) {
	parts := strings.Split(path.Base(file), "-")
	if !strings.HasSuffix(file, ".whl") || len(parts) < 5 {
		return "", "", false
	}
	return parts[0], parts[1], true
}

// BigSize is the size of the file data in each wheel of BigDist, in bytes.
const (
	BigDist = "big"
	BigSize = 300 << 20
)

// bigFile is a file of BigSize that does not compress, as a wheel has it. It is made once: it takes seconds.
//
//nolint:gochecknoglobals // nobody writes to it
var bigFile = sync.OnceValue(func() (out struct {
	data []byte
	sum  uint32
}) {
	var packed bytes.Buffer
	sum := crc32.NewIEEE()
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err == nil {
		_, _ = io.CopyN(io.MultiWriter(w, sum), rand.NewChaCha8([32]byte{1}), BigSize) // a buffer takes everything
		_ = w.Close()
	}
	out.data, out.sum = packed.Bytes(), sum.Sum32()
	return out
})

// Wheel is a wheel without sources, so that it takes no Python to make its layer.
func Wheel(dist, version string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	info, noise := dist+"-"+version+".dist-info/", ""
	if dist == BigDist {
		packed := bigFile()
		out, err := w.CreateRaw(&zip.FileHeader{Name: dist + "/noise", Method: zip.Deflate, CRC32: packed.sum,
			CompressedSize64: uint64(len(packed.data)), UncompressedSize64: BigSize})
		if err == nil {
			_, _ = out.Write(packed.data) // a buffer takes everything
		}
		noise = dist + "/noise,,\n"
	}
	for _, f := range [][2]string{
		{dist + "/data", version},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + dist + "\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", noise + dist + "/data,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info +
			"RECORD,,\n"},
	} {
		if out, err := w.Create(f[0]); err == nil {
			_, _ = io.WriteString(out, f[1]) // a buffer takes everything
		}
	}
	_ = w.Close()
	return b.Bytes()
}

// newLock is a lock of the form that resolving gives; what it names is made up.
func newLock(ref string, base digest.Digest) *layers.Lock {
	image := layers.LockImage{
		Reference: ref, Digest: base, ID: "debian", Release: "12", Codename: "bookworm", Glibc: "2.36", Layers: 1,
		Env: []string{"PATH=/usr/bin:/bin"}, AptFiles: []string{"/etc/apt/sources.list.d/debian.sources"},
	}
	file := func(kind, name, version, origin, path string) layers.Artifact {
		return layers.Artifact{Kind: kind, Name: name, Version: version, Origin: origin, Path: path,
			SHA256: digest.FromString(path).Encoded(), Size: 1000}
	}
	wheel := func(name, version, path string) layers.Artifact {
		a, data := file(layers.KindWheel, name, version, "pypi", path), Wheel(name, version)
		a.SHA256, a.Size = digest.FromBytes(data).Encoded(), int64(len(data))
		return a
	}
	return &layers.Lock{Version: layers.LockVersion, Recipe: digest.FromString("recipe"),
		Platforms: map[string]*layers.LockPlatform{"linux/amd64": {
			Resolved: time.Unix(1790000000, 0).UTC(), Base: image, Tool: image,
			Layers: []layers.LockLayer{
				{Name: "apt", Inputs: inputs()["apt"]},
				{Name: "miniconda", Inputs: inputs()["miniconda"], Artifacts: []layers.Artifact{{
					Kind: layers.KindInstaller, Name: "miniconda", Version: "py311_25.7.0-2", Origin: "miniconda",
					Path: "Miniconda3-py311_25.7.0-2-Linux-x86_64.sh", SHA256: strings.Repeat("1", 64), Size: 1000}}},
				{Name: "env", Inputs: inputs()["env"], Artifacts: []layers.Artifact{
					file(layers.KindConda, "pip", "25.3", "conda-forge", "noarch/pip-25.3-pyh_0.conda"),
					file(layers.KindConda, "python", "3.11.9", "conda-forge", "linux-64/python-3.11.9-h_0.conda"),
				}},
				{Name: "ray", Inputs: inputs()["ray"], Artifacts: []layers.Artifact{
					wheel("ray", "2.60.0", "packages/ra/ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl"),
					wheel("requests", "2.32.0", "packages/re/requests-2.32.0-py3-none-any.whl"),
				}},
			},
		}}}
}

// Write writes a file of the project.
func (s *Site) Write(path, text string) {
	s.t.Helper()
	file := filepath.Join(s.Dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Edit replaces text in a file of the project.
func (s *Site) Edit(path, old, with string) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, path))
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		s.t.Fatalf("%s has no %q", path, old)
	}
	s.Write(path, strings.ReplaceAll(string(data), old, with))
}

// Ref is an image's name in the site's registry.
func (s *Site) Ref(image string) string { return s.Host + "/" + image }

// DigestOf is what the registry has under a name; "": nothing.
func (s *Site) DigestOf(ref string) string {
	s.t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := remote.Head(parsed, remote.WithContext(s.t.Context()))
	if err != nil {
		return ""
	}
	return d.Digest.String()
}
