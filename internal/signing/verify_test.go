package signing_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// attach attaches a bundle to the image.
func (b *bench) attach(data []byte) {
	b.t.Helper()
	if _, err := b.c.Attach(b.t.Context(), b.ref, registry.Document{ArtifactType: bundleType, Data: data}); err != nil {
		b.t.Fatal(err)
	}
}

// A bundle by a key counts if it is a signature of this digest.
func TestKeyBundles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ours, theirs := signingtest.Keys(t, b.dir, "ours"), signingtest.Keys(t, b.dir, "theirs")
	other := digest.FromString("another image")
	for _, c := range []struct {
		data []byte
		says string
	}{
		{signingtest.KeyBundle(t, ours, "https://slsa.dev/provenance/v1", b.digest()),
			`what is signed is the statement "https://slsa.dev/provenance/v1"`},
		{signingtest.KeyBundle(t, ours, signingtest.SignPredicate, other), "another key, or was altered"},
		{signingtest.KeyBundle(t, theirs, signingtest.SignPredicate, b.digest()), "another key, or was altered"},
		{[]byte("{}"), "read bundle"},
		{signingtest.New(t).Bundle(b.digest(), signingtest.Signed{}), "no subject of certificates is trusted"},
	} {
		b.ref = b.push("ray:" + digest.FromBytes(c.data).Encoded()[:8])
		data := c.data
		if strings.Contains(c.says, "slsa") { // of the new image
			data = signingtest.KeyBundle(t, ours, "https://slsa.dev/provenance/v1", b.digest())
		}
		b.attach(data)
		b.refused(b.ours(), c.says)
	}
	b.attach(signingtest.KeyBundle(t, ours, signingtest.SignPredicate, b.digest()))
	if who, err := b.ours().Verify(t.Context(), b.c, b.ref); who != "us" || err != nil {
		t.Errorf("it is signed by %q, %v", who, err)
	}
}

// A keyless signature counts if its certificate is of the subject and the root, and valid when it came into the log.
func TestKeylessBundles(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), signingtest.New(t)
	us := b.trust(signing.TrustOptions{Root: s.Root}, signing.Identity{Issuer: signingtest.Issuer,
		Subject: signingtest.Subject})
	for what, c := range map[string]struct {
		data func(d digest.Digest) []byte
		says string
	}{
		"expired": {func(d digest.Digest) []byte { return s.Bundle(d, signingtest.Signed{Late: 30 * time.Minute}) },
			"outside certificate validity"},
		"another subject": {func(d digest.Digest) []byte {
			return s.Bundle(d, signingtest.Signed{Subject: "eve@example.com"})
		}, "by somebody else"},
		"in no log": {func(d digest.Digest) []byte { return s.Bundle(d, signingtest.Signed{Unlogged: true}) },
			"log inclusion"},
		"another root": {func(d digest.Digest) []byte { return signingtest.New(t).Bundle(d, signingtest.Signed{}) },
			"by somebody else"},
		"another statement": {func(d digest.Digest) []byte {
			return s.Bundle(d, signingtest.Signed{Predicate: "https://slsa.dev/provenance/v1"})
		}, "what is signed is the statement"},
		"another digest": {func(digest.Digest) []byte { return s.Bundle(digest.FromString("x"), signingtest.Signed{}) },
			"by somebody else, or was altered"},
	} {
		b.ref = b.push("ray:" + strings.ReplaceAll(what, " ", "-"))
		b.attach(c.data(b.digest()))
		b.refused(us, c.says)
	}
	b.attach(s.Bundle(b.digest(), signingtest.Signed{}))
	if who, err := us.Verify(t.Context(), b.c, b.ref); who != signingtest.Subject || err != nil {
		t.Errorf("it is signed by %q, %v", who, err)
	}
	like := b.trust(signing.TrustOptions{Root: s.Root}, signing.Identity{Issuer: signingtest.Issuer,
		SubjectRegexp: `ci@example\.(com|org)`})
	if _, err := like.Verify(t.Context(), b.c, b.ref); err != nil {
		t.Error(err)
	}
	part := b.trust(signing.TrustOptions{Root: s.Root}, signing.Identity{Issuer: signingtest.Issuer,
		SubjectRegexp: `example\.com`})
	b.refused(part, "by somebody else")
}

// A keyless signature of cosign 2 lies at the tag, with certificate and entry of the log beside it.
func TestSimpleKeyless(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), signingtest.New(t)
	us := b.trust(signing.TrustOptions{Root: s.Root}, signing.Identity{Issuer: signingtest.Issuer,
		Subject: signingtest.Subject})
	if err := b.sign(signing.KeyOptions{Key: b.file("ours.key")}); err != nil {
		t.Fatal(err)
	}
	payload := b.payload()
	b.refused(us, "it is signed by a key, and no key is trusted")
	b.put(payload, s.Simple(payload, 30*time.Minute))
	b.refused(us, "outside certificate validity")
	b.put(payload, s.Simple(payload, 0))
	if who, err := us.Verify(t.Context(), b.c, b.ref); who != signingtest.Subject || err != nil {
		t.Errorf("it is signed by %q, %v", who, err)
	}
	other := bytes.ReplaceAll(payload, []byte(b.digest()), []byte(digest.FromString("x")))
	b.put(other, s.Simple(other, 0))
	b.refused(us, "it is a signature of")
}

// payload reads the payload of the first simple signature.
func (b *bench) payload() []byte {
	b.t.Helper()
	data, err := b.c.SmallBlob(b.t.Context(), b.ref, b.simple().Layers[0], 1<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// put makes a payload with annotations the only simple signature.
func (b *bench) put(payload []byte, annotations map[string]string) {
	b.t.Helper()
	m, config := b.simple(), []byte(`{"rootfs":{"type":"layers"}}`)
	m.Config.Digest, m.Config.Size = digest.FromBytes(config), int64(len(config))
	m.Layers = []ocispecs.Descriptor{{MediaType: m.Layers[0].MediaType, Digest: digest.FromBytes(payload),
		Size: int64(len(payload)), Annotations: annotations}}
	data, err := json.Marshal(m)
	if err == nil {
		err = b.c.Store(b.t.Context(), b.tag(), ocispecs.MediaTypeImageManifest, data, payload, config)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// A simple signature whose payload or annotation was changed, or is of another image, counts for nothing.
func TestSimpleForgeries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.sign(signing.KeyOptions{Key: b.file("ours.key")}); err != nil {
		t.Fatal(err)
	}
	payload, annotations := b.payload(), b.simple().Layers[0].Annotations
	const key = "dev.cosignproject.cosign/signature"
	sig, err := base64.StdEncoding.DecodeString(annotations[key])
	if err != nil {
		t.Fatal(err)
	}
	sig[len(sig)-1] ^= 1
	for what, c := range map[string]struct {
		payload []byte
		sig     string
		says    string
	}{
		"payload altered":   {append(bytes.Clone(payload), ' '), annotations[key], "another key, or was altered"},
		"signature altered": {payload, base64.StdEncoding.EncodeToString(sig), "another key, or was altered"},
		"no base64":         {payload, "?", "read signature"},
		"payload is no JSON": {[]byte("?"), annotations[key],
			"read payload"},
		"another type": {bytes.Replace(payload, []byte("cosign container"), []byte("atomic container"), 1),
			annotations[key], "not that of an image's signature"},
	} {
		b.put(c.payload, map[string]string{key: c.sig})
		t.Log(what)
		b.refused(b.ours(), c.says)
	}
	b.put(payload, annotations)
	if _, err := b.ours().Verify(t.Context(), b.c, b.ref); err != nil {
		t.Error(err)
	}
	b.put(payload, nil)
	b.refused(b.ours(), "it has no signature")
}

// Of signatures without end as many are looked at as anybody needs. Whoever signs again is among them.
func TestManySignatures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.sign(signing.KeyOptions{Key: b.file("theirs.key")}); err != nil {
		t.Fatal(err)
	}
	m := b.simple()
	for len(m.Layers) < 500 {
		m.Layers = append(m.Layers, m.Layers[0])
	}
	data, err := json.Marshal(m)
	if err == nil {
		err = b.c.Store(t.Context(), b.tag(), ocispecs.MediaTypeImageManifest, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.refused(b.ours(), "another key")
	if err := b.sign(signing.KeyOptions{Key: b.file("ours.key")}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ours().Verify(t.Context(), b.c, b.ref); err != nil || len(b.simple().Layers) != 64 {
		t.Errorf("there are %d signatures, and ours: %v", len(b.simple().Layers), err)
	}
}

// A CI job signs by its token: that of a variable, or one that GitHub gives.
func TestKeylessSigning(t *testing.T) {
	t.Parallel()
	for what, env := range map[string]func(base string) map[string]string{
		"variable": func(string) map[string]string {
			return map[string]string{"SIGSTORE_ID_TOKEN": signingtest.Token()}
		},
		"GitHub": func(base string) map[string]string {
			return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": base + "/token?a=b",
				"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, s := newBench(t), signingtest.New(t)
			config, base := s.Serve()
			vars := env(base)
			root := signing.TrustOptions{Root: s.Root}
			err := b.sign(signing.KeyOptions{Key: signing.Keyless, Config: config, Trust: root,
				Getenv: func(name string) string { return vars[name] }})
			if err != nil {
				t.Fatal(err)
			}
			who, err := b.trust(root, signing.Identity{Issuer: signingtest.Issuer,
				Subject: signingtest.Subject}).Verify(t.Context(), b.c, b.ref)
			if who != signingtest.Subject || err != nil {
				t.Errorf("it is signed by %q, %v", who, err)
			}
		})
	}
}

// A token that nobody gives is no signature, and no message has what would have bought it.
func TestKeylessWithoutToken(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), signingtest.New(t)
	_, base := s.Serve()
	vars := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": base + "/token?a=b",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "hunter2"}
	err := b.sign(signing.KeyOptions{Key: signing.Keyless, Getenv: func(name string) string { return vars[name] }})
	if err == nil || !strings.Contains(err.Error(), "id-token: write") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error is %v", err)
	}
}

// Identities that name nobody, or too many, are refused.
func TestIdentitiesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, id := range []signing.Identity{
		{}, {Key: "x"}, {Issuer: "https://a"}, {Subject: "a"}, {Issuer: "https://a", Subject: "a", SubjectRegexp: "a"},
		{Key: "x", Issuer: "https://a", Subject: "a"}, {Issuer: "https://a", SubjectRegexp: "("},
	} {
		if _, err := signing.NewTrust([]signing.Identity{id}, signing.TrustOptions{}); err == nil {
			t.Errorf("%+v was taken", id)
		}
	}
	none, err := signing.NewTrust(nil, signing.TrustOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	if err := b.sign(signing.KeyOptions{Key: b.file("ours.key")}); err != nil {
		t.Fatal(err)
	}
	if who, err := none.Verify(context.WithoutCancel(t.Context()), b.c, b.ref); err == nil {
		t.Errorf("nobody is trusted, and %q signed", who)
	}
}
