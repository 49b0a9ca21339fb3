package bundle_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/bundle"
)

// maker writes a bundle for a test.
type maker struct {
	t *testing.T
	w *bundle.Writer
	c bundle.Content
}

func newMaker(t *testing.T, dir string) *maker {
	t.Helper()
	w, err := bundle.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &maker{t: t, w: w, c: bundle.Content{Recipe: []byte("{}"), Lock: []byte("version: 1\n")}}
}

func (m *maker) blob(mediaType, text string) ocispecs.Descriptor {
	m.t.Helper()
	d, err := m.w.Bytes(m.t.Context(), mediaType, []byte(text))
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *maker) artifact(name, text string) digest.Digest {
	m.t.Helper()
	d := m.blob("", text)
	m.c.Artifacts = append(m.c.Artifacts, bundle.File{Name: name, URL: "https://pypi.example/" + name, Digest: d.Digest,
		Size: d.Size})
	return d.Digest
}

func (m *maker) manifest(of ocispecs.Manifest) ocispecs.Descriptor {
	m.t.Helper()
	data, err := json.Marshal(of)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.blob(ocispecs.MediaTypeImageManifest, string(data))
}

// image adds an image of one layer, with a document attached to it.
func (m *maker) image(ref, role, arch string) bundle.Image {
	m.t.Helper()
	at := m.manifest(ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest,
		Config: m.blob(ocispecs.MediaTypeImageConfig, `{"author":"`+ref+`","architecture":"`+arch+`","os":"linux"}`),
		Layers: []ocispecs.Descriptor{m.blob(ocispecs.MediaTypeImageLayer, "layer of "+arch)}})
	i := bundle.Image{Ref: ref, Role: role, Manifest: at}
	if role == bundle.RoleBase {
		i.Manifest.Platform = &ocispecs.Platform{OS: "linux", Architecture: arch}
	} else {
		doc := m.manifest(ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: "text/lock",
			Config: m.blob(ocispecs.MediaTypeEmptyJSON, "{}"), Subject: &at,
			Layers: []ocispecs.Descriptor{m.blob("text/plain", "the lock of "+ref)}})
		doc.ArtifactType = "text/lock"
		i.Attached = append(i.Attached, doc)
	}
	m.c.Images = append(m.c.Images, i)
	return i
}

func (m *maker) finish() (digest.Digest, bundle.Written) {
	m.t.Helper()
	d, done, err := m.w.Finish(m.t.Context(), m.c)
	if err != nil {
		m.t.Fatal(err)
	}
	return d, done
}

// sample writes a bundle with an artifact, a base for two platforms, and a finished image.
func sample(t *testing.T, dir string) (wheel digest.Digest, base, finished bundle.Image) {
	t.Helper()
	m := newMaker(t, dir)
	wheel = m.artifact("a-1.0-py3-none-any.whl", "the wheel")
	base = m.image("docker.io/library/debian:12", bundle.RoleBase, "amd64")
	m.image("docker.io/library/debian:12", bundle.RoleBase, "arm64")
	finished = m.image("registry.example/team/ray:1", bundle.RoleImage, "amd64")
	m.finish()
	return wheel, base, finished
}

func open(t *testing.T, dir string) bundle.Set {
	t.Helper()
	b, err := bundle.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.Set{b}
}

func TestBundleGivesWhatItGot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	wheel, base, finished := sample(t, dir)
	s := open(t, dir)
	if got := readAll(t, s, wheel); got != "the wheel" || !s.Has(wheel) || s.Has(base.Manifest.Digest) {
		t.Errorf("the artifact is %q", got)
	}
	if text, err := s[0].File(t.Context(), bundle.LockName); err != nil || string(text) != "version: 1\n" {
		t.Errorf("the lock is %q (%v)", text, err)
	}
	if !s.HasImage(base.Manifest.Digest) || s.HasImage(finished.Manifest.Digest) {
		t.Error("the base is not at hand for a builder, or the finished image is one")
	}
	bases, images := s.Bases(), s.Finished()
	both, data, ok := bases.Manifest("docker.io/library/debian", "12")
	if !ok || both.MediaType != ocispecs.MediaTypeImageIndex || strings.Count(string(data), `"architecture"`) != 2 {
		t.Errorf("the tag of the base gives %s (%v), want an index of two platforms:\n%s", both.MediaType, ok, data)
	}
	for _, tt := range []struct {
		name     string
		of       bundle.Images
		repo, at string
		want     bool
	}{
		{"a base by digest", bases, "docker.io/library/debian", base.Manifest.Digest.String(), true},
		{"a base under another name", bases, "docker.io/library/ubuntu", base.Manifest.Digest.String(), false},
		{"a finished image as base", bases, "registry.example/team/ray", "1", false},
		{"a finished image by tag", images, "team/ray", "1", true},
		{"another tag", images, "team/ray", "2", false},
		{"a layer as manifest", images, "team/ray", digest.FromString("layer of amd64").String(), false},
	} {
		if _, _, ok := tt.of.Manifest(tt.repo, tt.at); ok != tt.want {
			t.Errorf("%s: found is %v, want %v", tt.name, ok, tt.want)
		}
	}
	if r := images.Referrers("team/ray", finished.Manifest.Digest); len(r) != 1 || r[0].ArtifactType != "text/lock" {
		t.Errorf("attached to the image is %+v, want its lock", r)
	}
	// The base's layer is the finished image's as well.
	r, size, err := images.Blob(t.Context(), "team/ray", digest.FromString("layer of amd64"))
	if err != nil || size != int64(len("layer of amd64")) {
		t.Fatalf("the layer has %d bytes (%v)", size, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := images.Blob(t.Context(), "team/ray", wheel); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an artifact is served as a layer: %v", err)
	}
}

func readAll(t *testing.T, s bundle.Set, d digest.Digest) string {
	t.Helper()
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The same content is the same bundle, in whatever order it came, and whatever an earlier run left.
func TestBundleIsTheSameAgain(t *testing.T) {
	t.Parallel()
	dir, other := filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "c")
	m := newMaker(t, dir)
	m.artifact("gone.whl", "no longer")
	m.finish()
	gone := digest.FromString("no longer")
	m = newMaker(t, dir)
	m.artifact("a.whl", "a")
	m.artifact("b.whl", "b")
	one, _ := m.finish()
	m = newMaker(t, other)
	m.artifact("b.whl", "b")
	m.artifact("a.whl", "a")
	two, first := m.finish()
	if one != two {
		t.Errorf("the bundles are %s and %s", one, two)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", gone.Encoded())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a blob of the bundle before is still there: %v", err)
	}
	m = newMaker(t, other)
	m.artifact("b.whl", "b")
	m.artifact("a.whl", "a")
	if _, again := m.finish(); again.New != 0 || again.Bytes != first.Bytes || first.New != first.Bytes {
		t.Errorf("first %+v, then %+v: the second writes nothing", first, again)
	}
}

func TestBundleIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		blob func(wheel digest.Digest, base, finished bundle.Image) digest.Digest
		says string
	}{
		{"an artifact", func(d digest.Digest, _, _ bundle.Image) digest.Digest { return d }, "a-1.0-py3-none-any.whl"},
		{"a manifest", func(_ digest.Digest, b, _ bundle.Image) digest.Digest { return b.Manifest.Digest },
			"debian:12"},
		{"a layer", func(digest.Digest, bundle.Image, bundle.Image) digest.Digest {
			return digest.FromString("layer of amd64")
		}, "debian:12"},
		{"what is attached", func(_ digest.Digest, _, f bundle.Image) digest.Digest { return f.Attached[0].Digest },
			"attached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "b")
			d := tt.blob(sample(t, dir))
			file := filepath.Join(dir, "blobs", "sha256", d.Encoded())
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			err = readEverything(t, dir)
			var damaged *bundle.DamagedError
			if !errors.As(err, &damaged) || damaged.Digest != d || damaged.Got != digest.FromBytes(data) ||
				!strings.Contains(damaged.Name, tt.says) {
				t.Errorf("the error is %v, want one that names %s and %q", err, d, tt.says)
			}
			if err := os.Truncate(file, 1); err != nil {
				t.Fatal(err)
			}
			if _, err := bundle.Open(t.Context(), dir); !errors.As(err, &damaged) {
				t.Errorf("a bundle with a cut blob opens: %v", err)
			}
		})
	}
}

// readEverything opens a bundle, and reads all blobs of it. It gives the first error.
func readEverything(t *testing.T, dir string) error {
	t.Helper()
	b, err := bundle.Open(t.Context(), dir)
	if err != nil {
		return err
	}
	s := bundle.Set{b}
	entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if s.Has(d) {
			r, err := s.Open(t.Context(), d)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			if err = errors.Join(err, r.Close()); err != nil {
				return err
			}
		}
		r, _, err := s.OpenImage(t.Context(), d)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestBundlePutRefusesOtherBytes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	m := newMaker(t, dir)
	d := digest.FromString("right")
	_, err := m.w.Put(t.Context(), d, "x.whl", func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("wrong")), nil
	})
	if err == nil || !strings.Contains(err.Error(), "x.whl") {
		t.Errorf("wrong bytes were put: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if _, err := bundle.Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("an unfinished bundle opens: %v", err)
	}
}

func TestBundleKeepsOutOfOtherDirectories(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a file of somebody", map[string]string{"a.txt": "x"}, "a.txt"},
		{"a directory called blobs", map[string]string{"blobs/x": "x"}, "holds no bundle"},
		{"another layout", map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
			"index.json": `{"schemaVersion":2,"manifests":[]}`}, "another OCI layout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tt.files {
				file := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text),
					0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := bundle.Create(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one with %q", err, tt.want)
			}
			var left []string
			if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					rel, _ := filepath.Rel(dir, path)
					left = append(left, rel)
				}
				return err
			}); err != nil || len(left) != len(tt.files) {
				t.Errorf("the directory has %v (%v), want it as it was", left, err)
			}
		})
	}
}

// FuzzOpen: whatever an index of a bundle says, opening it reads nothing outside, and does not crash.
func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		`{"artifactType":"` + bundle.IndexType + `","manifests":[]}`,
		`{"artifactType":"` + bundle.IndexType + `","manifests":[{"artifactType":"` + bundle.FilesType +
			`","digest":"sha256:../../etc/passwd","size":-1}]}`,
		`{"artifactType":"` + bundle.IndexType + `","manifests":[{"annotations":{"` + bundle.RoleAnnotation +
			`":"base","` + bundle.ImageAnnotation + `":"::"},"digest":"sha512:aa"}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, index string) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, "blobs", "sha256")
		d := digest.FromString(index)
		root, err := json.Marshal(ocispecs.Index{Manifests: []ocispecs.Descriptor{{ArtifactType: bundle.IndexType,
			Digest: d, Size: int64(len(index)), Annotations: map[string]string{ocispecs.AnnotationRefName: "bundle"}}}})
		if err = errors.Join(err, os.MkdirAll(blobs, 0o755),
			os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
			os.WriteFile(filepath.Join(dir, "index.json"), root, 0o644),
			os.WriteFile(filepath.Join(blobs, d.Encoded()), []byte(index), 0o644)); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(t.Context(), dir)
		if err != nil {
			return
		}
		s := bundle.Set{b}
		for repo, tags := range s.Finished().Repositories() {
			for _, tag := range append(slices.Clone(tags), d.String()) {
				s.Finished().Manifest(repo, tag)
			}
		}
	})
}
