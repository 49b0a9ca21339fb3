package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// bench is a registry with an image, and a directory with keys.
type bench struct {
	t    *testing.T
	c    *registry.Client
	host string
	dir  string
	ref  string // the image, by digest
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, c: registry.New(registry.Options{}), host: fakesite.ServeRegistry(t), dir: t.TempDir()}
	b.ref = b.push("ray:1")
	signingtest.Keys(t, b.dir, "ours")
	signingtest.Keys(t, b.dir, "theirs")
	return b
}

// push pushes a new image, and gives its reference by digest.
func (b *bench) push(as string) string {
	b.t.Helper()
	image, err := random.Image(100, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	ref, err := name.ParseReference(b.host + "/" + as)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return b.pin(as, image)
}

func (b *bench) pin(as string, image interface{ Digest() (v1.Hash, error) }) string {
	b.t.Helper()
	h, err := image.Digest()
	if err != nil {
		b.t.Fatal(err)
	}
	ref, err := registry.Pin(b.host+"/"+as, h.String())
	if err != nil {
		b.t.Fatal(err)
	}
	return ref
}

func (b *bench) digest() digest.Digest {
	b.t.Helper()
	d, err := registry.DigestOf(b.ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// sign signs the image with a key of the directory.
func (b *bench) sign(o signing.KeyOptions) error {
	b.t.Helper()
	k, err := signing.OpenKey(b.t.Context(), o)
	if err != nil {
		return err
	}
	return k.Sign(b.t.Context(), b.c, b.ref, nil)
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(b.file(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// trust trusts identities.
func (b *bench) trust(o signing.TrustOptions, all ...signing.Identity) *signing.Trust {
	b.t.Helper()
	t, err := signing.NewTrust(all, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return t
}

// ours trusts the key "ours".
func (b *bench) ours() *signing.Trust {
	b.t.Helper()
	return b.trust(signing.TrustOptions{}, signing.Identity{Name: "us", Key: b.read("ours.pub")})
}

func (b *bench) refused(t *signing.Trust, text string) {
	b.t.Helper()
	who, err := t.Verify(b.t.Context(), b.c, b.ref)
	if err == nil || !strings.Contains(err.Error(), text) {
		b.t.Errorf("it is signed by %q, %v, want an error with %q", who, err, text)
	}
}

// What a key of any usual kind signs is known by its public key and by no other one.
func TestKeysOfEveryKind(t *testing.T) {
	t.Parallel()
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, private := range map[string]any{"rsa": large, "ed25519": edwards, "p384": p384} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			der, err := x509.MarshalPKCS8PrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			k, err := signing.OpenKey(t.Context(), signing.KeyOptions{Key: "env://KEY",
				Getenv: func(name string) string { return map[string]string{"KEY": text}[name] }})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Sign(t.Context(), b.c, b.ref, nil); err != nil {
				t.Fatal(err)
			}
			public := private.(crypto.Signer).Public()
			shown, err := cryptoutils.MarshalPublicKeyToPEM(public)
			if err != nil {
				t.Fatal(err)
			}
			who, err := b.trust(signing.TrustOptions{}, signing.Identity{Name: what,
				Key: string(shown)}).Verify(t.Context(), b.c, b.ref)
			if who != what || err != nil {
				t.Errorf("it is signed by %q, %v", who, err)
			}
			b.refused(b.ours(), "its signature is by another key, or was altered")
		})
	}
}

// An encrypted key opens with its password: of the variable, else of whoever is asked.
func TestEncryptedKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(),
		cryptoutils.StaticPasswordFunc([]byte("open sesame")))
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{"cosign.key": private, "ours.pub": public} {
		if err := os.WriteFile(b.file(file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	variable := func(value string) signing.Getenv {
		return func(name string) string { return map[string]string{"COSIGN_PASSWORD": value}[name] }
	}
	asked := func() ([]byte, error) { return []byte("open sesame"), nil }
	for what, c := range map[string]struct {
		o    signing.KeyOptions
		says string
	}{
		"variable": {signing.KeyOptions{Getenv: variable("open sesame")}, ""},
		"asked":    {signing.KeyOptions{Getenv: variable(""), Password: asked}, ""},
		"wrong variable": {signing.KeyOptions{Getenv: variable("open"), Password: asked},
			"COSIGN_PASSWORD is its password"},
		"none": {signing.KeyOptions{Getenv: variable("")}, "COSIGN_PASSWORD is its password"},
	} {
		c.o.Key = b.file("cosign.key")
		k, err := signing.OpenKey(t.Context(), c.o)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if err == nil {
			err = k.Sign(t.Context(), b.c, b.ref, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if who, err := b.ours().Verify(t.Context(), b.c, b.ref); err != nil {
		t.Errorf("it is signed by %q, %v", who, err)
	}
}

// What is no key says so, and its text is in no message.
func TestKeysThatDoNotOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	none := func(string) string { return "" }
	for key, says := range map[string]string{
		b.file("ours.pub"): "it is a private key in PEM",
		b.file("nothing"):  "no such file",
		"env://KEY":        "the variable is not set",
		b.read("ours.key"): "it is the key itself",
		"nobodyskms://k/1": "there is no program sigstore-kms-nobodyskms",
		signing.Keyless:    "there is no OIDC token here",
	} {
		_, err := signing.OpenKey(t.Context(), signing.KeyOptions{Key: key, Getenv: none})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("key %q: %v, want an error with %q", key, err, says)
		}
	}
}

// The same key signs once. Signatures of others stay.
func TestSignsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 {
		for _, who := range []string{"ours", "theirs"} {
			if err := b.sign(signing.KeyOptions{Key: b.file(who + ".key")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(b.simple().Layers); n != 2 {
		t.Errorf("there are %d signatures, want 2", n)
	}
	for _, who := range []string{"ours", "theirs"} {
		got, err := b.trust(signing.TrustOptions{}, signing.Identity{Name: who, Key: b.read(who + ".pub")}).Verify(
			t.Context(), b.c, b.ref)
		if got != who || err != nil {
			t.Errorf("it is signed by %q, %v, want %s", got, err, who)
		}
	}
}

// tag is the reference of the simple signatures.
func (b *bench) tag() string {
	b.t.Helper()
	tag, err := registry.Tagged(b.ref, strings.Replace(b.digest().String(), ":", "-", 1)+".sig")
	if err != nil {
		b.t.Fatal(err)
	}
	return tag
}

// simple reads the manifest of the simple signatures.
func (b *bench) simple() *ocispecs.Manifest {
	b.t.Helper()
	stored, ok, err := b.c.Manifest(b.t.Context(), b.tag())
	m := &ocispecs.Manifest{}
	if err == nil {
		err = json.Unmarshal(stored.Data, m)
	}
	if !ok || err != nil {
		b.t.Fatalf("there are no signatures (%v): %v", ok, err)
	}
	return m
}

// An index and its images are signed, each by its digest.
func TestSignsIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var index v1.ImageIndex = empty.Index
	var children []string
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := random.Image(100, 1)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		children = append(children, b.pin("ray:2", image))
	}
	ref, err := name.ParseReference(b.host + "/ray:2")
	if err == nil {
		err = remote.WriteIndex(ref, index)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.ref = b.pin("ray:2", index)
	if err := b.sign(signing.KeyOptions{Key: b.file("ours.key")}); err != nil {
		t.Fatal(err)
	}
	for _, one := range append(children, b.ref) {
		if who, err := b.ours().Verify(t.Context(), b.c, one); who != "us" || err != nil {
			t.Errorf("%s is signed by %q, %v", one, who, err)
		}
	}
}

// An image without signatures says so, and an image that is named by a tag is not looked at.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := b.ours().Verify(t.Context(), b.c, b.ref); !errors.Is(err, signing.ErrUnsigned) {
		t.Errorf("the error is %v", err)
	}
	if _, err := b.ours().Verify(t.Context(), b.c, b.host+"/ray:1"); err == nil || !strings.Contains(err.Error(),
		"it has none") {
		t.Errorf("the error is %v", err)
	}
}
