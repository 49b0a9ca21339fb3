package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// A push shows the image under its digest, in every repository, before any name does. An error ends it without names.
func TestPushIsSignedBeforeItIsNamed(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	b := layered(t, 3000, 5000)
	names := []string{host + "/team/ray:1", host + "/other/ray:1", host + "/team/ray:2"}
	o := quick(names...)
	refused := errors.New("nobody signs it")
	var images []string
	o.Sign = func(ctx context.Context, all []string) error {
		images = all
		for _, image := range all {
			if _, ok, err := client(Options{}).Manifest(ctx, image); !ok || err != nil {
				t.Errorf("%s is not there: %v", image, err)
			}
		}
		for _, name := range names {
			if _, ok, err := client(Options{}).Head(ctx, name); ok || err != nil {
				t.Errorf("%s is named: %v", name, err)
			}
		}
		return refused
	}
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); !errors.Is(err, refused) {
		t.Errorf("the push ended with %v, want what it was refused with", err)
	}
	d := "@" + b.root.Digest.String()
	if want := []string{host + "/team/ray" + d, host + "/other/ray" + d}; !slices.Equal(images, want) {
		t.Errorf("to sign were %q, want %q", images, want)
	}
	for _, name := range names {
		absent(t, name)
	}
	o.Sign = func(context.Context, []string) error { return nil }
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		arrived(t, name, b)
	}
}

// A manifest of any kind is stored with its blobs, and read again.
func TestStore(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	c, blob := client(Options{}), []byte("a payload")
	d := ocispecs.Descriptor{MediaType: "text/plain", Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + ocispecs.MediaTypeImageManifest + `","config":{"mediaType":` +
		`"text/plain","digest":"` + d.Digest.String() + `","size":9},"layers":[]}`)
	if _, ok, err := c.Manifest(t.Context(), host+"/ray:note"); ok || err != nil {
		t.Errorf("it is there before: %v", err)
	}
	if err := c.Store(t.Context(), host+"/ray:note", ocispecs.MediaTypeImageManifest, manifest, blob); err != nil {
		t.Fatal(err)
	}
	got, ok, err := c.Manifest(t.Context(), host+"/ray:note")
	if err != nil || !ok || string(got.Data) != string(manifest) || got.Digest != digest.FromBytes(manifest) {
		t.Errorf("stored was %+v, %v", got, err)
	}
	if data, err := c.SmallBlob(t.Context(), got.Ref, d, 100); err != nil || string(data) != string(blob) {
		t.Errorf("the blob is %q, %v", data, err)
	}
	for _, most := range []int64{8, 100} { // its size, and more than it says
		lying := d
		if lying.Size = 9; most == 100 {
			lying.Digest = digest.FromString("another")
		}
		if data, err := c.SmallBlob(t.Context(), got.Ref, lying, most); err == nil {
			t.Errorf("of at most %d bytes came %q", most, data)
		}
	}
	if _, err := c.Attach(t.Context(), got.Ref, Document{ArtifactType: "text/note", Data: []byte("x"),
		Annotations: map[string]string{"a": "b"}},
		Document{ArtifactType: "text/other", Data: []byte("y")}); err != nil {
		t.Fatal(err)
	}
	all, err := c.Referrers(t.Context(), got.Ref, "text/note")
	if err != nil || len(all) != 1 || all[0].Annotations["a"] != "b" {
		t.Errorf("its referrers are %+v, %v", all, err)
	}
}

// References are taken apart as their users write them.
func TestReferences(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x")
	if got, err := Tagged("ray:1", "2"); got != "ray:2" || err != nil {
		t.Errorf("tagged is %q, %v", got, err)
	}
	if got, err := Repository("ray@" + d.String()); got != "docker.io/library/ray" || err != nil {
		t.Errorf("the repository is %q, %v", got, err)
	}
	if got, err := DigestOf("host:5000/ray:1@" + d.String()); got != d || err != nil {
		t.Errorf("the digest is %q, %v", got, err)
	}
	if _, err := DigestOf("ray:1"); err == nil || !strings.Contains(err.Error(), "it has none") {
		t.Errorf("the error is %v", err)
	}
	for _, f := range []func(string) (string, error){Repository,
		func(s string) (string, error) { return Tagged(s, "1") },
		func(s string) (string, error) { d, err := DigestOf(s); return d.String(), err }} {
		if got, err := f("Ray"); err == nil {
			t.Errorf("of Ray came %q", got)
		}
	}
}
