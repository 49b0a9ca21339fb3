package security

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

const (
	bundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signatureKey = "dev.cosignproject.cosign/signature"
	unsigned     = "it is not signed by an identity of trust.signed_by"
)

// newSigner is a victim whose recipe trusts the key "ours" and a subject.
func newSigner(t *testing.T) (*victim, *signingtest.Sigstore) {
	t.Helper()
	v, s := newVictim(t), signingtest.New(t)
	signingtest.Keys(t, filepath.Join(v.Dir, "keys"), "ours")
	signingtest.Keys(t, filepath.Join(v.Dir, "keys"), "theirs")
	root, err := os.ReadFile(s.Root)
	if err != nil {
		t.Fatal(err)
	}
	v.Write("keys/trusted_root.json", string(root))
	v.Edit("raybuild.yaml", "image: {", "trust: {root: keys/trusted_root.json, signed_by: [{key: keys/ours.pub}, "+
		"{issuer: \""+signingtest.Issuer+"\", subject: "+signingtest.Subject+"}]}\nimage: {")
	return v, s
}

// key is a private key of the project.
func (v *victim) key(name string) string { return filepath.Join(v.Dir, "keys", name+".key") }

// signBy signs an image by a key, as somebody would who may push.
func (v *victim) signBy(name, ref string) {
	v.t.Helper()
	k, err := signing.OpenKey(v.t.Context(), signing.KeyOptions{Key: v.key(name)})
	if err == nil {
		err = k.Sign(v.t.Context(), v.client, ref, nil)
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

// sigTag is the tag of an image's simple signatures.
func (v *victim) sigTag(repo, d string) string {
	return v.Ref(repo + ":" + strings.Replace(d, ":", "-", 1) + ".sig")
}

// signatures reads the list of an image's simple signatures.
func (v *victim) signatures(repo, d string) (stored, ocispecs.Manifest) {
	v.t.Helper()
	found, ok, err := v.client.Manifest(v.t.Context(), v.sigTag(repo, d))
	var m ocispecs.Manifest
	if err == nil {
		err = json.Unmarshal(found.Data, &m)
	}
	if !ok || err != nil {
		v.t.Fatalf("%s has no signatures (%v): %v", d, ok, err)
	}
	return stored{found.Data, found.MediaType}, m
}

// putSignature makes a payload with annotations an image's only simple signature.
func (v *victim) putSignature(d string, payload []byte, annotations map[string]string) {
	v.t.Helper()
	layer := v.blob(v.Ref("ray:1"), "application/vnd.dev.cosign.simplesigning.v1+json", payload)
	layer.Annotations = annotations
	config := v.blob(v.Ref("ray:1"), ocispecs.MediaTypeImageConfig, []byte("{}"))
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, Config: config,
		Layers: []ocispecs.Descriptor{layer}}
	m.SchemaVersion = 2
	data, err := json.Marshal(m)
	if err != nil {
		v.t.Fatal(err)
	}
	v.tag(stored{data, m.MediaType}, v.sigTag("ray", d))
}

// payloadOf reads the payload of an image's first simple signature.
func (v *victim) payloadOf(d string) []byte {
	v.t.Helper()
	_, m := v.signatures("ray", d)
	data, err := v.client.SmallBlob(v.t.Context(), v.Ref("ray@"+d), m.Layers[0], 1<<20)
	if err != nil {
		v.t.Fatal(err)
	}
	return data
}

// bundle attaches a bundle to an image.
func (v *victim) bundle(d string, data []byte) {
	v.t.Helper()
	if _, err := v.client.Attach(v.t.Context(), v.Ref("ray@"+d), v.document(bundleType, data)); err != nil {
		v.t.Fatal(err)
	}
}

// disbelief are the ways to have no signature of an identity. Each begins with an image that is not signed, and with
// another one of the repository that is signed by our key.
func disbelief() map[string]func(v *victim, s *signingtest.Sigstore, d, signed string) {
	keyless := func(o signingtest.Signed) func(*victim, *signingtest.Sigstore, string, string) {
		return func(v *victim, s *signingtest.Sigstore, d, _ string) { v.bundle(d, s.Bundle(digest.Digest(d), o)) }
	}
	return map[string]func(v *victim, s *signingtest.Sigstore, d, signed string){
		"unsigned": func(*victim, *signingtest.Sigstore, string, string) {},
		"signature removed": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			v.signBy("ours", v.Ref("ray@"+d))
			if err := remote.Delete(parse(v.t, v.sigTag("ray", d))); err != nil {
				v.t.Fatal(err)
			}
		},
		"signed by another key": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			v.signBy("theirs", v.Ref("ray@"+d))
		},
		"signature of another digest": func(v *victim, _ *signingtest.Sigstore, d, signed string) {
			list, _ := v.signatures("ray", signed)
			v.tag(list, v.sigTag("ray", d))
		},
		"payload altered": func(v *victim, _ *signingtest.Sigstore, d, signed string) {
			_, m := v.signatures("ray", signed)
			v.putSignature(d, bytes.ReplaceAll(v.payloadOf(signed), []byte(signed), []byte(d)), m.Layers[0].Annotations)
		},
		"statement of another kind by our key": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			key := signingtest.Keys(v.t, filepath.Join(v.Dir, "keys"), "ours")
			v.bundle(d, signingtest.KeyBundle(v.t, key, "https://slsa.dev/provenance/v1", digest.Digest(d)))
		},
		"bundle of another digest": func(v *victim, s *signingtest.Sigstore, d, signed string) {
			v.bundle(d, s.Bundle(digest.Digest(signed), signingtest.Signed{}))
		},
		"certificate expired":            keyless(signingtest.Signed{Late: 30 * time.Minute}),
		"certificate of another subject": keyless(signingtest.Signed{Subject: "eve@example.com"}),
		"signature in no log":            keyless(signingtest.Signed{Unlogged: true}),
		"certificate of another root": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			v.bundle(d, signingtest.New(v.t).Bundle(digest.Digest(d), signingtest.Signed{}))
		},
		"keyless statement of another kind": keyless(signingtest.Signed{Predicate: "https://example.com/scan/v1"}),
		"no bundle": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			v.bundle(d, []byte("{}"))
		},
		"signatures that are none": func(v *victim, _ *signingtest.Sigstore, d, _ string) {
			v.putSignature(d, []byte("?"), map[string]string{signatureKey: "?"})
		},
	}
}

// An image that no identity of the recipe has signed is no hit, gives no layer, and is neither rebased nor added to.
func TestM9DisbelievedImage(t *testing.T) {
	t.Parallel()
	for what, forge := range disbelief() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			v.Edit("raybuild.yaml", "team: a", "team: b")
			signed, _ := v.build(raybuild.BuildOptions{Names: []string{v.Ref("ray:other")}, NoReuse: true,
				Sign: raybuild.SignOptions{Key: v.key("ours")}})
			v.Edit("raybuild.yaml", "team: b", "team: a")
			forge(v, s, honest.Digest, signed.Digest)
			honestTags := []string{v.Ref("ray:1"), v.Ref("ray:graph-last")}
			if err := v.client.Tag(t.Context(), v.Ref("ray@"+honest.Digest), honestTags...); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"ray:1", "ray:new"} { // the name itself, and the graph's tag
				res, ran := v.build(raybuild.BuildOptions{Names: []string{v.Ref(name)}})
				if res.UpToDate || res.Found != nil || res.LayersFrom != "" || len(ran) == 0 ||
					res.Digest != honest.Digest {
					t.Errorf("%s: up to date %v, found %+v, layers from %q, %q ran, digest %s, want a new %s", name,
						res.UpToDate, res.Found, res.LayersFrom, ran, res.Digest, honest.Digest)
				}
				if !v.told(unsigned) {
					t.Errorf("nobody was told why: %v", v.events)
				}
			}
			v.Edit("raybuild.yaml", "echo hello", "echo bye")
			if res, _ := v.build(raybuild.BuildOptions{}); res.LayersFrom != "" {
				t.Errorf("layers were taken from %s", res.LayersFrom)
			}
			v.PushBase("patched")
			v.refused(v.Ref("ray@"+honest.Digest), unsigned)
			_, err := raybuild.Add(t.Context(), v.Ref("ray@"+honest.Digest), []string{"einops"}, v.options(),
				raybuild.BuildOptions{Names: []string{v.Ref("ray:more")}, Push: true, PushRetry: -1})
			if err == nil || !strings.Contains(err.Error(), unsigned) {
				t.Errorf("packages were to be added, which came to %v", err)
			}
		})
	}
}

// What an identity has signed is taken: by a key or keyless, also if it was signed in another repository.
func TestM9BelievedImage(t *testing.T) {
	t.Parallel()
	for what, sign := range map[string]func(v *victim, s *signingtest.Sigstore, d string){
		"key": func(v *victim, _ *signingtest.Sigstore, d string) { v.signBy("ours", v.Ref("ray@"+d)) },
		"keyless": func(v *victim, s *signingtest.Sigstore, d string) {
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{}))
		},
		"beside other signatures": func(v *victim, s *signingtest.Sigstore, d string) {
			v.signBy("theirs", v.Ref("ray@"+d))
			v.bundle(d, []byte("{}"))
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{Late: 30 * time.Minute}))
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{}))
		},
		"in another repository": func(v *victim, _ *signingtest.Sigstore, d string) {
			v.copyBlobs(v.Ref("ray@"+d), v.Ref("team/else:1"))
			v.signBy("ours", v.Ref("team/else@"+d))
			_, m := v.signatures("team/else", d)
			payload, err := v.client.SmallBlob(v.t.Context(), v.Ref("team/else:copy"), m.Layers[0], 1<<20)
			if err != nil || !strings.Contains(string(payload), "/team/else") {
				v.t.Fatalf("the payload is %s, %v", payload, err)
			}
			v.putSignature(d, payload, m.Layers[0].Annotations)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			sign(v, s, honest.Digest)
			if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 {
				t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
			}
			res, ran := v.build(raybuild.BuildOptions{Names: []string{v.Ref("ray:new")}})
			if res.Found == nil || res.Found.How != "retagged" || len(ran) > 0 {
				t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
			}
			v.Edit("raybuild.yaml", "echo hello", "echo bye")
			if res, _ := v.build(raybuild.BuildOptions{}); res.LayersFrom != v.Ref("ray@"+honest.Digest) {
				t.Errorf("layers were taken from %q: %v", res.LayersFrom, v.events)
			}
			v.PushBase("patched")
			if res, err := v.rebase(v.Ref("ray@" + honest.Digest)); err != nil || !res.Rebased {
				t.Errorf("the rebase came to %+v, %v", res, err)
			}
		})
	}
}

// A signature does not make a lock or record of somebody else the image's.
func TestM9DocumentsOfASignedImage(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	was, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
	v.Edit("raybuild.yaml", "echo hello", "echo bye")
	want, _ := v.build(raybuild.BuildOptions{Names: []string{v.Ref("honest:1")}, NoReuse: true, NoGraphTag: true})
	graph := v.read(v.Ref("ray:1")).manifest.Annotations["dev.raybuild.graph"]
	image := v.Ref("ray@" + was.Digest)
	v.attach(image, inputsType, v.recordFor(v.Ref("honest@"+want.Digest), graph))
	v.attach(image, lockType, v.otherWheel(image))
	res, ran := v.build(raybuild.BuildOptions{})
	if res.Digest != want.Digest || !slices.Contains(ran, "[note] run") || res.LayersFrom != image {
		t.Errorf("the build ran %q, took layers from %q and made %s, want %s", ran, res.LayersFrom, res.Digest,
			want.Digest)
	}
	v.PushBase("patched")
	done, err := v.rebase(image)
	if err != nil || !done.Rebased || hasEvil(done.Build.Lock) {
		t.Errorf("the rebase came to %+v, %v", done, err)
	}
}

// --trust overrides the recipe: nothing is believed, or everything whose text fits.
func TestM9Modes(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	v.trust = raybuild.TrustTag
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 {
		t.Errorf("with tag it ran %q: %+v", ran, res)
	}
	v.signBy("ours", v.Ref("ray@"+honest.Digest))
	v.trust = raybuild.TrustNone
	res, ran := v.build(raybuild.BuildOptions{})
	if res.UpToDate || res.Found != nil || res.LayersFrom != "" || len(ran) == 0 || res.Digest != honest.Digest {
		t.Errorf("with none it ran %q: %+v", ran, res)
	}
	v.PushBase("patched")
	v.refused(v.Ref("ray:1"), "the mode of trust is none")
	v.trust = ""
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 {
		t.Errorf("by the recipe it ran %q: %+v, %v", ran, res, v.events)
	}
	v.trust = "somebody"
	_, err := raybuild.Open(t.Context(), v.options())
	if err == nil || !strings.Contains(err.Error(), "none, tag or signed") {
		t.Errorf("the error is %v", err)
	}
	v.trust = raybuild.TrustSigned
	v.Edit("raybuild.yaml", "{key: keys/ours.pub}, {issuer: \""+signingtest.Issuer+"\", subject: "+
		signingtest.Subject+"}", "")
	_, err = raybuild.Open(t.Context(), v.options())
	if err == nil || !strings.Contains(err.Error(), "needs identities") {
		t.Errorf("the error is %v", err)
	}
}
