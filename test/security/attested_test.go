package security

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// private reads a private key of the project.
func (v *victim) private(name string) *ecdsa.PrivateKey {
	v.t.Helper()
	data, err := os.ReadFile(v.key(name))
	if err != nil {
		v.t.Fatal(err)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(data, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

// attTag is the tag of an image's signed claims.
func (v *victim) attTag(d string) string {
	return v.Ref("ray:" + strings.Replace(d, ":", "-", 1) + ".att")
}

// putClaim makes an envelope the only signed claim of an image. Its list says that it is a bill.
func (v *victim) putClaim(d string, envelope []byte) {
	v.t.Helper()
	layer := v.blob(v.Ref("ray:1"), "application/vnd.dsse.envelope.v1+json", envelope)
	layer.Annotations = map[string]string{signatureKey: "", "predicateType": signing.SPDXClaim}
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest,
		Config: v.blob(v.Ref("ray:1"), ocispecs.MediaTypeImageConfig, []byte("{}")),
		Layers: []ocispecs.Descriptor{layer}}
	m.SchemaVersion = 2
	data, err := json.Marshal(m)
	if err != nil {
		v.t.Fatal(err)
	}
	v.tag(stored{data, m.MediaType}, v.attTag(d))
}

// spdx is the bill that is attached to an image.
func (v *victim) spdx(d string) []byte { return v.attached(v.Ref("ray@"+d), sbom.SPDXType) }

// forgedBill is an image's bill with another version of a package of its base.
func (v *victim) forgedBill(d string) []byte {
	v.t.Helper()
	bill := v.spdx(d)
	forged := bytes.ReplaceAll(bill, []byte("2.36-9"), []byte("2.36-666"))
	if bytes.Equal(bill, forged) {
		v.t.Fatalf("the bill has no libc6: %s", bill)
	}
	return bytes.TrimSpace(forged)
}

// versionOfLibc is the version of libc6 in the bill of an image that is built on an empty machine, after an edit that
// changes no layer.
func (v *victim) versionOfLibc() (signed, plain string) {
	v.t.Helper()
	v.Edit("raybuild.yaml", "team: a", "team: b")
	edited, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
	version := func(bill []byte) string {
		_, after, _ := strings.Cut(string(bill), "pkg:deb/debian/libc6@")
		out, _, _ := strings.Cut(after, "?")
		return out
	}
	ours, err := signing.NewTrust([]signing.Identity{{Name: "us", Key: v.ourKey()}},
		signing.TrustOptions{})
	if err != nil {
		v.t.Fatal(err)
	}
	for claim, err := range ours.Claims(v.t.Context(), v.client, v.Ref("ray@"+edited.Digest), signing.SPDXClaim) {
		if err != nil {
			v.t.Fatal(err)
		}
		signed = version(claim.Predicate)
	}
	return signed, version(v.spdx(edited.Digest))
}

// billForgeries attach a forged bill to an image that is signed, and whose own signed bill is gone.
func billForgeries() map[string]func(v *victim, s *signingtest.Sigstore, d string, forged []byte) {
	return map[string]func(v *victim, s *signingtest.Sigstore, d string, forged []byte){
		"swapped, without a signature": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, []byte("{}"))
			v.attach(v.Ref("ray@"+d), sbom.SPDXType, forged)
		},
		"signed by another key": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, signingtest.Envelope(v.t, v.private("theirs"),
				signingtest.StatementOf(signing.SPDXClaim, digest.Digest(d), forged)))
		},
		"signed for another digest": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, signingtest.Envelope(v.t, v.private("ours"),
				signingtest.StatementOf(signing.SPDXClaim, digest.FromString("another image"), forged)))
		},
		"signed as something else": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, signingtest.Envelope(v.t, v.private("ours"),
				signingtest.StatementOf("https://example.com/notes", digest.Digest(d), forged)))
		},
		"changed after it was signed": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			honest := signingtest.Envelope(v.t, v.private("ours"), signingtest.StatementOf(signing.SPDXClaim,
				digest.Digest(d), v.spdx(d)))
			other := signingtest.Envelope(v.t, v.private("theirs"), signingtest.StatementOf(signing.SPDXClaim,
				digest.Digest(d), forged))
			var a, b map[string]any
			for data, into := range map[string]*map[string]any{string(honest): &a, string(other): &b} {
				if err := json.Unmarshal([]byte(data), into); err != nil {
					v.t.Fatal(err)
				}
			}
			a["payload"] = b["payload"]
			mixed, err := json.Marshal(a)
			if err != nil {
				v.t.Fatal(err)
			}
			v.putClaim(d, mixed)
		},
		"keyless, by somebody else": func(v *victim, s *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, []byte("{}"))
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{Subject: "eve@example.com",
				Predicate: signing.SPDXClaim, Says: forged}))
		},
		"keyless, of a Sigstore of somebody else": func(v *victim, _ *signingtest.Sigstore, d string, forged []byte) {
			v.putClaim(d, []byte("{}"))
			v.bundle(d, signingtest.New(v.t).Bundle(digest.Digest(d), signingtest.Signed{
				Predicate: signing.SPDXClaim, Says: forged}))
		},
	}
}

// A forged bill tells neither a later build nor sbom anything, if the recipe names identities.
func TestM9ForgedBills(t *testing.T) {
	t.Parallel()
	for what, forge := range billForgeries() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			first, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
			forge(v, s, first.Digest, v.forgedBill(first.Digest))
			o := v.options()
			o.Home = t.TempDir()
			bill, err := raybuild.ReadSBOM(t.Context(), v.Ref("ray@"+first.Digest), o, raybuild.SBOMOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if bill.Attached != raybuild.AttachedUnsigned || bill.SignedBy != "" {
				t.Errorf("sbom takes the forged bill for one that is %q, signed by %q", bill.Attached, bill.SignedBy)
			}
			if signed, plain := v.versionOfLibc(); signed != "2.36-9" || plain != "2.36-9" {
				t.Errorf("the forged bill told the next build that libc6 is %q (signed %q)", plain, signed)
			}
			if !v.told("is not believed") {
				t.Errorf("nobody says that a bill is not believed: %v", v.events)
			}
		})
	}
}

// A bill that an identity has signed is believed: by key, and keyless. With --trust tag any is. So the forgeries above
// are refused for what they are.
func TestM9SignedBillsAreBelieved(t *testing.T) {
	t.Parallel()
	for what, attach := range map[string]func(v *victim, s *signingtest.Sigstore, d string, bill []byte){
		"key": func(v *victim, _ *signingtest.Sigstore, d string, bill []byte) {
			v.putClaim(d, signingtest.Envelope(v.t, v.private("ours"),
				signingtest.StatementOf(signing.SPDXClaim, digest.Digest(d), bill)))
		},
		"keyless": func(v *victim, s *signingtest.Sigstore, d string, bill []byte) {
			v.putClaim(d, []byte("{}"))
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{Predicate: signing.SPDXClaim, Says: bill}))
		},
		"trust tag": func(v *victim, _ *signingtest.Sigstore, d string, bill []byte) {
			v.trust = raybuild.TrustTag
			v.replaceBill(d, bill)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			first, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
			attach(v, s, first.Digest, v.forgedBill(first.Digest))
			if signed, plain := v.versionOfLibc(); signed != "2.36-666" || plain != "2.36-666" {
				t.Errorf("libc6 is %q (signed %q), so this test's bill was not read", plain, signed)
			}
		})
	}
}

// replaceBill makes a bill the only one that is attached to an image.
func (v *victim) replaceBill(d string, bill []byte) {
	v.t.Helper()
	found, err := v.client.Referrers(v.t.Context(), v.Ref("ray@"+d), sbom.SPDXType)
	for _, one := range found {
		if err == nil {
			err = remote.Delete(parse(v.t, v.Ref("ray@"+one.Digest.String())), remote.WithContext(v.t.Context()))
		}
	}
	if err != nil || len(found) == 0 {
		v.t.Fatalf("the image has %d bills: %v", len(found), err)
	}
	v.attach(v.Ref("ray@"+d), sbom.SPDXType, bill)
}

// What --sign pushes has the attached documents as signed claims too, in each repository, once.
func TestM9SignSignsBills(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	sign := raybuild.SignOptions{Key: v.key("ours")}
	names := []string{v.Ref("ray:1"), v.Ref("team/ray:1")}
	first, _ := v.build(raybuild.BuildOptions{Names: names, Sign: sign})
	ours, err := signing.NewTrust([]signing.Identity{{Name: "us", Key: v.ourKey()}},
		signing.TrustOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(repo string) {
		t.Helper()
		ref := v.Ref(repo + "@" + first.Digest)
		for kind, attached := range map[string]string{signing.SPDXClaim: sbom.SPDXType,
			signing.CycloneDXClaim: sbom.CycloneDXType, signing.ProvenanceClaim: "application/vnd.in-toto+json"} {
			found := 0
			for claim, err := range ours.Claims(t.Context(), v.client, ref, kind) {
				if found++; err != nil {
					t.Errorf("%s: the %s is not signed: %v", repo, kind, err)
				} else if !bytes.Contains(v.attached(ref, attached), claim.Predicate) {
					t.Errorf("%s: the signed %s is not the attached one: %s", repo, kind, claim.Predicate)
				}
			}
			if found != 1 {
				t.Errorf("%s has %d signed claims of type %s, want 1", repo, found, kind)
			}
		}
	}
	check("ray")
	check("team/ray")
	again, _ := v.build(raybuild.BuildOptions{Names: names, Sign: sign, NoCache: true})
	if again.Digest != first.Digest {
		t.Fatalf("another image: %s", again.Digest)
	}
	check("ray") // still one of each
	bill, err := raybuild.ReadSBOM(t.Context(), v.Ref("ray:1"), v.options(), raybuild.SBOMOptions{})
	if err != nil || bill.Attached != raybuild.AttachedSame || bill.SignedBy != "keys/ours.pub" {
		t.Errorf("sbom says %q, signed by %q, %v", bill.Attached, bill.SignedBy, err)
	}
}

// An image that is there, and whose bill nobody has signed, gets one that raybuild makes again: not what is attached.
func TestM9FoundImageIsAttested(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	v.trust = raybuild.TrustTag
	first, _ := v.build(raybuild.BuildOptions{})
	honest := bytes.TrimSpace(v.spdx(first.Digest))
	v.replaceBill(first.Digest, v.forgedBill(first.Digest))
	res, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
	if !res.UpToDate {
		t.Errorf("it was not up to date: %+v", res)
	}
	v.trust = raybuild.TrustByRecipe
	o := v.options()
	o.Home = t.TempDir()
	bill, err := raybuild.ReadSBOM(t.Context(), v.Ref("ray@"+first.Digest), o, raybuild.SBOMOptions{})
	if err != nil || bill.Attached != raybuild.AttachedSame {
		t.Fatalf("sbom says %q (%s), %v", bill.Attached, bill.Refused, err)
	}
	if data, err := bill.SPDX(); err != nil || !bytes.Equal(bytes.TrimSpace(data), honest) {
		t.Errorf("the signed bill is another one: %v %s", err, data)
	}
}

// A copy of an image has its signed claims, whoever made them.
func TestM9CopyHasSignedBills(t *testing.T) {
	t.Parallel()
	v, s := newSigner(t)
	first, _ := v.build(raybuild.BuildOptions{Sign: raybuild.SignOptions{Key: v.key("ours")}})
	by := s.Bundle(digest.Digest(first.Digest), signingtest.Signed{Predicate: signing.ProvenanceClaim,
		Says: []byte(`{"by":"keyless"}`)})
	if _, err := v.client.Attach(t.Context(), v.Ref("ray@"+first.Digest), registry.Document{ArtifactType: bundleType,
		Data:        by,
		Annotations: map[string]string{"dev.sigstore.bundle.predicateType": signing.ProvenanceClaim}}); err != nil {
		t.Fatal(err)
	}
	o := raybuild.BuildOptions{Names: []string{v.Ref("team/ray:1")}, CacheFrom: cache(v.Ref("ray:1"))}
	if res, _ := v.build(o); res.Found == nil || res.Found.How != "copied" {
		t.Fatalf("it was not copied: %+v", res)
	}
	bill, err := raybuild.ReadSBOM(t.Context(), v.Ref("team/ray:1"), v.options(), raybuild.SBOMOptions{})
	if err != nil || bill.Attached != raybuild.AttachedSame || bill.SignedBy == "" {
		t.Errorf("the bill of the copy is %q (%s), %v", bill.Attached, bill.Refused, err)
	}
	found, err := v.client.Attached(t.Context(), v.Ref("team/ray:1"), bundleType)
	if err != nil || len(found) != 1 || !bytes.Equal(found[0].Data, by) {
		t.Errorf("the copy has %d bundles, want the keyless provenance: %v", len(found), err)
	}
}
