package security

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/layers"
)

// lockToo adds a wheel to the lock, as one that another package needs.
func (v *victim) lockToo(dist, version string) {
	v.t.Helper()
	data, err := os.ReadFile(filepath.Join(v.Dir, "raybuild.lock"))
	if err != nil {
		v.t.Fatal(err)
	}
	lock, err := layers.ParseLock(data, "raybuild.lock")
	if err != nil {
		v.t.Fatal(err)
	}
	wheel, of := fakesite.Wheel(dist, version), lock.Platforms["linux/amd64"]
	at := slices.IndexFunc(of.Layers, func(l layers.LockLayer) bool { return l.Name == "ray" })
	file := dist + "-" + version + "-py3-none-any.whl"
	of.Layers[at].Artifacts = append(of.Layers[at].Artifacts, layers.Artifact{Kind: layers.KindWheel, Name: dist,
		Version: version, Origin: "pypi", Path: "packages/bi/" + file, SHA256: digest.FromBytes(wheel).Encoded(),
		Size: int64(len(wheel))})
	slices.SortFunc(of.Layers[at].Artifacts, func(a, b layers.Artifact) int { return strings.Compare(a.Name, b.Name) })
	if data, err = lock.Marshal(); err != nil {
		v.t.Fatal(err)
	}
	v.Write("raybuild.lock", string(data))
}

// tamper flips a bit of a file in a layer of an image, and pushes the image under its name.
func (v *victim) tamper(ref, file string) {
	v.t.Helper()
	i := v.read(ref)
	for n, l := range i.manifest.Layers {
		tampered, found := v.flipped(ref, l, file)
		if !found {
			continue
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		if err == nil {
			_, err = z.Write(tampered)
		}
		if err = errors.Join(err, z.Close()); err != nil {
			v.t.Fatal(err)
		}
		i.manifest.Layers[n] = v.blob(ref, l.MediaType, packed.Bytes())
		i.config.RootFS.DiffIDs[n] = digest.FromBytes(tampered)
		v.put(i, ref)
		return
	}
	v.t.Fatalf("no layer has %s", file)
}

// flipped is a layer's tar file with one bit of a file changed.
func (v *victim) flipped(ref string, l ocispecs.Descriptor, file string) ([]byte, bool) {
	v.t.Helper()
	at, err := name.NewDigest(parse(v.t, ref).Context().Name() + "@" + l.Digest.String())
	if err != nil {
		v.t.Fatal(err)
	}
	layer, err := remote.Layer(at, remote.WithContext(v.t.Context()))
	if err != nil {
		v.t.Fatal(err)
	}
	r, err := layer.Uncompressed()
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		v.t.Fatal(err)
	}
	in := bytes.NewReader(data)
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, false
		}
		if err != nil {
			v.t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, file) && h.Size > 0 {
			data[int64(len(data))-int64(in.Len())+h.Size/2] ^= 1
			return data, true
		}
	}
}

// documented attaches the documents of another image to the one that a name has now, as a forger would.
func (v *victim) documented(ref, from string) {
	v.t.Helper()
	for _, kind := range []string{lockType, inputsType, recipeType} {
		v.attach(v.pinned(ref), kind, v.attached(from, kind))
	}
}

// verify verifies an image on a machine that remembers nothing.
func (v *victim) verify(image string, o raybuild.VerifyOptions) *raybuild.VerifyResult {
	v.t.Helper()
	v.homes++
	v.Builder.Forget()
	r, err := raybuild.Verify(v.t.Context(), image, v.options(), o)
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// TestVerifyFindsOneByte flips one bit in a file of 300 MB. Nothing else of the image says that it is another.
func TestVerifyFindsOneByte(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	v.lockToo(fakesite.BigDist, "1.0")
	honest, _ := v.build(raybuild.BuildOptions{})
	if r := v.verify(honest.Reference, raybuild.VerifyOptions{}); !r.Same || r.Image != honest.Reference ||
		len(r.Layers) != len(honest.Layers) {
		t.Fatalf("an honest image of %d layers: %+v", len(honest.Layers), r)
	}
	if i, err := raybuild.Inspect(t.Context(), honest.Reference, v.options()); err != nil ||
		!strings.Contains(string(i.Recipe), "requests") {
		t.Errorf("the recipe that is verified: %s, %v", i.Recipe, err)
	}
	v.tamper(v.Ref("ray:1"), "big/noise")
	v.documented(v.Ref("ray:1"), honest.Reference)
	r := v.verify(v.Ref("ray:1"), raybuild.VerifyOptions{})
	var differ []raybuild.VerifiedLayer
	for _, l := range r.Layers {
		if !l.Same {
			differ = append(differ, l)
		}
	}
	if r.Same || len(differ) != 1 || differ[0].Name != fakesite.BigDist || len(differ[0].Files) != 1 {
		t.Fatalf("after a flipped bit: %+v", r)
	}
	f := differ[0].Files[0]
	if !strings.HasSuffix(f.Path, "/big/noise") || f.What != "content" || f.Package != "big 1.0" {
		t.Errorf("the file is said to be %+v", f)
	}
	// Some layers alone.
	if r := v.verify(v.Ref("ray:1"), raybuild.VerifyOptions{Layers: []string{"ray"}}); !r.Same || len(r.Layers) != 1 {
		t.Errorf("the layer of Ray alone: %+v", r)
	}
	if r := v.verify(v.Ref("ray:1"), raybuild.VerifyOptions{Layers: []string{"ray", "big"}}); r.Same ||
		len(r.Layers) != 2 {
		t.Errorf("the layers of Ray and big: %+v", r)
	}
	_, err := raybuild.Verify(t.Context(), v.Ref("ray:1"), v.options(), raybuild.VerifyOptions{Layers: []string{"rai"}})
	if err == nil || !strings.Contains(err.Error(), `did you mean "ray"`) {
		t.Errorf("a layer that is not there: %v", err)
	}
}

// TestVerifyReadsManifestAndConfig: layers are as they were, and what starts them is not.
func TestVerifyReadsManifestAndConfig(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	for what, change := range map[string]func(*image){
		"entrypoint": func(i *image) { i.config.Config.Entrypoint = []string{"/bin/evil"} },
		"env":        func(i *image) { i.config.Config.Env = append(i.config.Config.Env, "LD_PRELOAD=/evil.so") },
		"layer more": func(i *image) {
			l, diffID := v.evil(v.Ref("ray:1"))
			i.manifest.Layers = append(i.manifest.Layers, l)
			i.config.RootFS.DiffIDs = append(i.config.RootFS.DiffIDs, diffID)
			i.config.History = append(i.config.History, ocispecs.History{CreatedBy: "evil"})
		},
		"base": func(i *image) {
			i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(v.Ref("ray:1"))
		},
	} {
		i := v.read(v.Ref("ray:1"))
		change(i)
		v.put(i, v.Ref("ray:2"))
		v.documented(v.Ref("ray:2"), honest.Reference)
		v.homes++
		r, err := raybuild.Verify(t.Context(), v.Ref("ray:2"), v.options(), raybuild.VerifyOptions{})
		if err == nil && (r.Same || r.Manifest == "") || err != nil && what != "layer more" {
			t.Errorf("%s: %+v, %v", what, r, err)
		} else if err != nil && !strings.Contains(err.Error(), "layers") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
