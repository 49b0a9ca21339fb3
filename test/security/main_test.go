// Package security has attacks on what raybuild believes: each forges what a registry says of an image. A
// test is named after the number of the attack in the review that found it. The registry is raybuild's own,
// and the builder runs nothing.
package security

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/registry"
)

// victim is a project whose registry somebody else may write to.
type victim struct {
	*fakesite.Site
	t      *testing.T
	client *registry.Client
	homes  int // how many machines have built

	platforms []string           // default: the recipe's
	trust     raybuild.TrustMode // default: the recipe's
	env       map[string]string  // environment variables

	mu     sync.Mutex
	events []raybuild.Event
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	return &victim{Site: fakesite.New(t), t: t, client: registry.New(registry.Options{})}
}

func (v *victim) options() raybuild.Options {
	v.events = nil
	return raybuild.Options{Dir: v.Dir, Builder: v.Builder.Addr(),
		Platforms: v.platforms, Trust: v.trust,
		Home:   filepath.Join(v.Dir, "home", strconv.Itoa(v.homes)),
		Getenv: func(name string) string { return v.env[name] },
		Log: func(e raybuild.Event) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.events = append(v.events, e)
		}}
}

// build builds and pushes on a machine that remembers nothing, and gives the titles of the steps that ran.
func (v *victim) build(o raybuild.BuildOptions) (*raybuild.Result, []string) {
	v.t.Helper()
	v.homes++
	v.Builder.Forget()
	v.Builder.Ran()
	if len(o.Names) == 0 {
		o.Names = []string{v.Ref("ray:1")}
	}
	o.Push, o.Frozen, o.PushRetry = true, true, -1
	p, err := raybuild.Open(v.t.Context(), v.options())
	if err != nil {
		v.t.Fatal(err)
	}
	defer p.Close()
	res, err := p.Build(v.t.Context(), o)
	if err != nil {
		v.t.Fatalf("build: %v", err)
	}
	return res, v.Builder.Ran()
}

// told tells whether an event has a text.
func (v *victim) told(text string) bool {
	return slices.ContainsFunc(v.events, func(e raybuild.Event) bool { return strings.Contains(e.Text, text) })
}

// image is an image as it is stored, to be changed.
type image struct {
	manifest ocispecs.Manifest
	config   ocispecs.Image
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// read reads an image.
func (v *victim) read(ref string) *image {
	v.t.Helper()
	found, err := remote.Image(parse(v.t, ref), remote.WithContext(v.t.Context()))
	if err != nil {
		v.t.Fatal(err)
	}
	out := &image{}
	for _, part := range []struct {
		read func() ([]byte, error)
		into any
	}{{found.RawManifest, &out.manifest}, {found.RawConfigFile, &out.config}} {
		data, err := part.read()
		if err == nil {
			err = json.Unmarshal(data, part.into)
		}
		if err != nil {
			v.t.Fatal(err)
		}
	}
	return out
}

// evil stores a layer that nobody wants, and gives its descriptor and diff ID.
func (v *victim) evil(repo string) (ocispecs.Descriptor, digest.Digest) {
	v.t.Helper()
	data := bytes.Repeat([]byte("evil"), 1024)
	d := v.blob(repo, ocispecs.MediaTypeImageLayer, data)
	return d, d.Digest
}

// blob stores a blob in the repository of ref.
func (v *victim) blob(ref, mediaType string, data []byte) ocispecs.Descriptor {
	v.t.Helper()
	l := static.NewLayer(data, types.MediaType(mediaType))
	if err := remote.WriteLayer(parse(v.t, ref).Context(), l, remote.WithContext(v.t.Context())); err != nil {
		v.t.Fatal(err)
	}
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// stored is a manifest in a registry.
type stored struct {
	data      []byte
	mediaType string
}

func (s stored) RawManifest() ([]byte, error)        { return s.data, nil }
func (s stored) MediaType() (types.MediaType, error) { return types.MediaType(s.mediaType), nil }

// put stores an image under references of one repository, in the form in which raybuild writes it.
func (v *victim) put(i *image, refs ...string) stored {
	v.t.Helper()
	text, err := json.Marshal(i.config)
	if err != nil {
		v.t.Fatal(err)
	}
	sorted := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &sorted); err != nil {
		v.t.Fatal(err)
	}
	if text, err = json.Marshal(sorted); err != nil {
		v.t.Fatal(err)
	}
	i.manifest.Config = v.blob(refs[0], ocispecs.MediaTypeImageConfig, text)
	data, err := json.MarshalIndent(i.manifest, "", "  ")
	if err != nil {
		v.t.Fatal(err)
	}
	m := stored{data, ocispecs.MediaTypeImageManifest}
	v.tag(m, refs...)
	return m
}

// tag stores a manifest under references.
func (v *victim) tag(m stored, refs ...string) {
	v.t.Helper()
	for _, ref := range refs {
		if err := remote.Put(parse(v.t, ref), m, remote.WithContext(v.t.Context())); err != nil {
			v.t.Fatal(err)
		}
	}
}

// pinned is ref with the digest that it has now.
func (v *victim) pinned(ref string) string {
	v.t.Helper()
	pinned, err := registry.Pin(ref, v.DigestOf(ref))
	if err != nil {
		v.t.Fatal(err)
	}
	return pinned
}

// Types of the documents that raybuild attaches.
const (
	lockType   = "application/vnd.raybuild.lock.v1+yaml"
	inputsType = "application/vnd.raybuild.inputs.v1+json"
	recipeType = "application/vnd.raybuild.recipe.v1+json"
)

// attached reads the only document of a type that is attached to an image.
func (v *victim) attached(ref, kind string) []byte {
	v.t.Helper()
	all, err := v.client.Attached(v.t.Context(), ref, kind)
	if err != nil || len(all) != 1 {
		v.t.Fatalf("%s has %d documents of type %s: %v", ref, len(all), kind, err)
	}
	return all[0].Data
}

// attach attaches a document in many forms that differ by blanks alone. So one of them is the first in any
// order of the registry, and one the last.
func (v *victim) attach(ref, kind string, data []byte) {
	v.t.Helper()
	var docs []registry.Document
	for n := range 24 {
		docs = append(docs, registry.Document{ArtifactType: kind, Data: append(bytes.Clone(data),
			bytes.Repeat([]byte("\n"), n)...)})
	}
	if _, err := v.client.Attach(v.t.Context(), ref, docs...); err != nil {
		v.t.Fatal(err)
	}
}

// document is a document to attach.
func (v *victim) document(kind string, data []byte) registry.Document {
	return registry.Document{ArtifactType: kind, Data: data}
}

// graphTag is the tag of an image's graph in a repository.
func (v *victim) graphTag(repo string, i *image) string {
	return v.Ref(repo + ":graph-" + strings.TrimPrefix(i.manifest.Annotations["dev.raybuild.graph"], "sha256:")[:32])
}
