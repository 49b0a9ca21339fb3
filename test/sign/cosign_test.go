// Package sign has tests of signatures with released cosigns: each checks what the other has made. They need no
// network. `make test-sign` builds the cosigns.
package sign

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

const password = "open sesame"

// peer is a cosign with a pair of keys.
type peer struct {
	t       *testing.T
	program string
	dir     string
}

// cosign finds a cosign of a major version, and lets it make keys. The newest one has to be there where tests must
// not be left out. It takes minutes to build, so the other one may be missing.
func cosign(t *testing.T, major string) *peer {
	t.Helper()
	program, err := filepath.Abs("../../build/tools/cosign-" + major + "/cosign")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		if major != "v3" && os.Getenv("RAYBUILD_TEST_COSIGNS") == "" {
			t.Skipf("there is no cosign %s: make test-sign", major)
		}
		testneeds.Skip(t, "this test needs cosign "+major+": make test-sign")
	}
	p := &peer{t: t, program: program, dir: t.TempDir()}
	if out, err := p.run("generate-key-pair"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// run runs cosign in its directory. It has no network but loopback's.
func (p *peer) run(args ...string) (string, error) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.program, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD="+password, "HOME="+p.dir, "TUF_ROOT="+filepath.Join(p.dir, "tuf"),
		"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// accepts fails the test if cosign does not verify an image by its public key without a log.
func (p *peer) accepts(ref string) {
	p.t.Helper()
	out, err := p.run("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", ref)
	if err != nil || !strings.Contains(out, "verified against the specified public key") {
		p.t.Errorf("cosign does not verify %s: %v: %s", ref, err, out)
	}
}

// site is a project without a builder's work.
type site struct {
	*fakesite.Site
	t      *testing.T
	getenv func(string) string // default: the key's password alone
}

func newSite(t *testing.T) *site { return &site{Site: fakesite.New(t), t: t} }

func (s *site) build(sign raybuild.SignOptions, name string) string {
	s.t.Helper()
	getenv := s.getenv
	if getenv == nil {
		getenv = func(name string) string { return map[string]string{"COSIGN_PASSWORD": password}[name] }
	}
	p, err := raybuild.Open(s.t.Context(), raybuild.Options{Dir: s.Dir, Builder: s.Builder.Addr(), Home: s.t.TempDir(),
		Getenv: getenv})
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	res, err := p.Build(s.t.Context(), raybuild.BuildOptions{Names: []string{s.Ref(name)}, Push: true, Frozen: true,
		Sign: sign})
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Reference
}

// trust trusts a cosign's key.
func (p *peer) trust() *signing.Trust {
	p.t.Helper()
	key, err := os.ReadFile(filepath.Join(p.dir, "cosign.pub"))
	if err != nil {
		p.t.Fatal(err)
	}
	known, err := signing.NewTrust([]signing.Identity{{Name: "cosign", Key: string(key)}}, signing.TrustOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return known
}

// signs is how each cosign signs by a key, without a network.
func signs() map[string][]string {
	return map[string][]string{
		"v2 simple": {"--tlog-upload=false"},
		"v3 simple": {"--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"},
		"v3 bundle": {"--signing-config=servers.json", "--new-bundle-format"},
	}
}

// What raybuild signs with a key that cosign made, cosign verifies. What cosign signs in any of its forms, raybuild
// verifies.
func TestCosignByKey(t *testing.T) {
	t.Parallel()
	for what, args := range signs() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := cosign(t, what[:2])
			s := newSite(t)
			ours := s.build(raybuild.SignOptions{Key: filepath.Join(p.dir, "cosign.key")}, "ray:1")
			p.accepts(ours)
			p.accepts(s.Ref("ray:1"))
			s.Edit("raybuild.yaml", "team: a", "team: b")
			theirs := s.build(raybuild.SignOptions{}, "theirs:1")
			if out, err := p.run("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true",
				"--allow-http-registry", theirs); err == nil {
				t.Fatalf("cosign verifies what nobody signed: %s", out)
			}
			if err := os.WriteFile(filepath.Join(p.dir, "servers.json"),
				[]byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			all := append([]string{"sign", "--key", "cosign.key", "--yes", "--allow-http-registry"}, args...)
			if out, err := p.run(append(all, theirs)...); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			who, err := p.trust().Verify(t.Context(), registry.New(registry.Options{}), theirs)
			if who != "cosign" || err != nil {
				t.Errorf("it is signed by %q, %v", who, err)
			}
			if _, err := cosign(t, what[:2]).trust().Verify(t.Context(), registry.New(registry.Options{}),
				theirs); err == nil {
				t.Error("another key has signed it, too")
			}
			p.accepts(theirs)
			// raybuild adds a signature to cosign's, and both stay.
			both := cosign(t, what[:2])
			k, err := signing.OpenKey(t.Context(), signing.KeyOptions{Key: filepath.Join(both.dir, "cosign.key"),
				Getenv:   func(string) string { return "" },
				Password: func() ([]byte, error) { return []byte(password), nil }})
			if err == nil {
				err = k.Sign(t.Context(), registry.New(registry.Options{}), theirs, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.accepts(theirs)
		})
	}
}

// token is the environment of a CI job.
func token(name string) string {
	return map[string]string{"SIGSTORE_ID_TOKEN": signingtest.Token()}[name]
}

// A keyless signature by a private Sigstore is verified by cosign, by the same trusted root.
func TestCosignKeyless(t *testing.T) {
	t.Parallel()
	for _, major := range []string{"v2", "v3"} {
		t.Run(major, func(t *testing.T) {
			t.Parallel()
			p, st := cosign(t, major), signingtest.New(t)
			s := newSite(t)
			ref := s.build(raybuild.SignOptions{}, "ray:1")
			config, _ := st.Serve()
			k, err := signing.OpenKey(t.Context(), signing.KeyOptions{Key: signing.Keyless, Config: config,
				Trust: signing.TrustOptions{Root: st.Root}, Getenv: token})
			if err == nil {
				err = k.Sign(t.Context(), registry.New(registry.Options{}), ref, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			verify := func(subject string) (string, error) {
				return p.run("verify", "--trusted-root", st.Root, "--certificate-identity", subject,
					"--certificate-oidc-issuer", signingtest.Issuer, "--insecure-ignore-sct", "--allow-http-registry",
					ref)
			}
			if out, err := verify(signingtest.Subject); err != nil {
				t.Errorf("cosign does not verify it: %v: %s", err, out)
			}
			if out, err := verify("eve@example.com"); err == nil {
				t.Errorf("cosign verifies it for somebody else: %s", out)
			}
		})
	}
}

// What cosign 3 signs by a CI job's token, raybuild verifies.
func TestCosignSignsKeyless(t *testing.T) {
	t.Parallel()
	p, st := cosign(t, "v3"), signingtest.New(t)
	s := newSite(t)
	ref := s.build(raybuild.SignOptions{}, "ray:1")
	config, _ := st.Serve()
	if out, err := p.run("sign", "--yes", "--allow-http-registry", "--signing-config", config, "--trusted-root",
		st.Root, "--identity-token", signingtest.Token(), ref); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for subject, wanted := range map[string]bool{signingtest.Subject: true, "eve@example.com": false} {
		known, err := signing.NewTrust([]signing.Identity{{Issuer: signingtest.Issuer, Subject: subject}},
			signing.TrustOptions{Root: st.Root})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := known.Verify(t.Context(), registry.New(registry.Options{}), ref); (err == nil) != wanted {
			t.Errorf("%s: %v", subject, err)
		}
	}
}
