package sign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// kinds are cosign's names of what raybuild signs of an image beside its digest.
func kinds() map[string]string {
	return map[string]string{"slsaprovenance1": signing.ProvenanceClaim, "spdxjson": signing.SPDXClaim,
		"cyclonedx": signing.CycloneDXClaim}
}

// attested verifies an attestation with cosign.
func (p *peer) attested(ref, kind string, args ...string) (string, error) {
	p.t.Helper()
	verify := []string{"verify-attestation", "--type", kind, "--allow-http-registry"}
	return p.run(append(append(verify, args...), ref)...)
}

// byKey are cosign's flags for a key without a log.
func byKey(key string) []string { return []string{"--key", key, "--insecure-ignore-tlog=true"} }

// policy writes the policy of docs/sbom.md to a file, with a text replaced.
func (p *peer) policy(old, by string) string {
	p.t.Helper()
	page, err := os.ReadFile("../../docs/sbom.md")
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(page), "```cue\n")
	text, _, closed := strings.Cut(after, "```")
	if !ok || !closed || !strings.Contains(text, old) {
		p.t.Fatalf("docs/sbom.md has no policy with %q", old)
	}
	file := filepath.Join(p.dir, "policy.cue")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, old, by)), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// Bills and provenance that raybuild signs by a key are attestations for cosign, and those of another key, of another
// type or against a policy are none. cosign still verifies the image's own signature.
func TestCosignVerifiesAttestationsByKey(t *testing.T) {
	t.Parallel()
	for _, major := range []string{"v2", "v3"} {
		t.Run(major, func(t *testing.T) {
			t.Parallel()
			p, other := cosign(t, major), cosign(t, major)
			s := newSite(t)
			ref := s.build(raybuild.SignOptions{Key: filepath.Join(p.dir, "cosign.key")}, "ray:1")
			p.accepts(ref)
			for kind, uri := range kinds() {
				if out, err := p.attested(ref, kind, byKey("cosign.pub")...); err != nil {
					t.Errorf("cosign does not verify the %s: %v: %s", kind, err, out)
				} else if !strings.Contains(out, "payload") {
					t.Errorf("cosign shows no %s of type %s: %s", kind, uri, out)
				}
				if out, err := p.attested(ref, kind, byKey(filepath.Join(other.dir, "cosign.pub"))...); err == nil {
					t.Errorf("cosign verifies the %s by a key that has signed nothing: %s", kind, out)
				}
			}
			if out, err := p.attested(ref, "openvex", byKey("cosign.pub")...); err == nil {
				t.Errorf("cosign verifies what nobody said: %s", out)
			}
			for builder, wanted := range map[string]bool{"raybuild.dev/provenance/builder/v1": true,
				"elsewhere.example/builder": false} {
				args := append(byKey("cosign.pub"), "--policy",
					p.policy("raybuild.dev/provenance/builder/v1", builder))
				if out, err := p.attested(ref, "slsaprovenance1", args...); (err == nil) != wanted {
					t.Errorf("with a policy for the builder %s: %v: %s", builder, err, out)
				}
			}
			args := append(byKey("cosign.pub"), "--policy", p.policy("files.pythonhosted.org", "elsewhere.example"))
			if out, err := p.attested(ref, "slsaprovenance1", args...); err == nil {
				t.Errorf("cosign accepts packages of a place that the policy does not name: %s", out)
			}
		})
	}
}

// The same for keyless signatures, by the tests' own Sigstore.
func TestCosignVerifiesAttestationsKeyless(t *testing.T) {
	t.Parallel()
	for _, major := range []string{"v2", "v3"} {
		t.Run(major, func(t *testing.T) {
			t.Parallel()
			p, st := cosign(t, major), signingtest.New(t)
			s := newSite(t)
			s.Edit("raybuild.yaml", "image: {", "trust: {root: "+s.rootOf(st)+", signed_by: [{issuer: \""+
				signingtest.Issuer+"\", subject: "+signingtest.Subject+"}]}\nimage: {")
			config, _ := st.Serve()
			s.getenv = token
			ref := s.build(raybuild.SignOptions{Key: signing.Keyless, Config: config}, "ray:1")
			for kind := range kinds() {
				for subject, wanted := range map[string]bool{signingtest.Subject: true, "eve@example.com": false} {
					out, err := p.attested(ref, kind, "--trusted-root", st.Root, "--certificate-identity", subject,
						"--certificate-oidc-issuer", signingtest.Issuer, "--insecure-ignore-sct")
					if (err == nil) != wanted {
						t.Errorf("the %s of %s: %v: %s", kind, subject, err, out)
					}
				}
			}
		})
	}
}

// rootOf copies the root of a Sigstore into the project.
func (s *site) rootOf(st *signingtest.Sigstore) string {
	s.t.Helper()
	data, err := os.ReadFile(st.Root)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Write("trusted_root.json", string(data))
	return "trusted_root.json"
}

// What cosign attests in any of its forms, raybuild reads as a claim of its key.
func TestCosignAttests(t *testing.T) {
	t.Parallel()
	for what, args := range signs() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := cosign(t, what[:2])
			s := newSite(t)
			ref := s.build(raybuild.SignOptions{}, "ray:1")
			for file, text := range map[string]string{
				"servers.json": `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`,
				"bill.json":    `{"spdxVersion":"SPDX-2.3","name":"by cosign"}`} {
				if err := os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			all := append([]string{"attest", "--key", "cosign.key", "--yes", "--allow-http-registry",
				"--type", "spdxjson",
				"--predicate", "bill.json"}, args...)
			if out, err := p.run(append(all, ref)...); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			found := 0
			for claim, err := range p.trust().Claims(t.Context(), registry.New(registry.Options{}), ref,
				signing.SPDXClaim) {
				if found++; err != nil || !strings.Contains(string(claim.Predicate), "by cosign") {
					t.Errorf("raybuild does not read what cosign attested: %v: %s", err, claim.Predicate)
				}
			}
			if found != 1 {
				t.Errorf("raybuild finds %d claims, want 1", found)
			}
		})
	}
}
