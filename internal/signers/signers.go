// Package signers describes the key trust of a recipe and of a cluster file: whose signatures are believed.
package signers

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Trust says whose signatures of images are believed. The zero value names nobody.
type Trust struct {
	// SignedBy are identities. A signature by one of them is enough. Default: none.
	SignedBy []Signer
	// Root is the path, relative to the file, of the trusted root of keyless signatures. Default: that of the
	// public Sigstore.
	Root string
}

// Signer is an identity: a public key, or an issuer with a subject.
type Signer struct {
	// Key is a public key in PEM, or the path of one, relative to the file.
	Key string
	// Issuer is the OIDC issuer that has told who the subject is, as a URL.
	Issuer string
	// Subject is the subject of the certificate.
	Subject string
	// SubjectRegexp is a regular expression (RE2) that the whole subject must match, in place of Subject.
	SubjectRegexp string
}

// maxKey is the longest public key, in bytes.
const maxKey = 16 << 10

// Keys describes the keys below trust, and reads them into t. path is the grammar of paths in the file.
func Keys(t *Trust, path strictyaml.Grammar) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "signed_by", Doc: "Who signs images. A signature by one of them is enough.",
			Default: "nobody: signatures are not asked for",
			Example: "[{key: keys/cosign.pub}]",
			Value: strictyaml.ListOf(&t.SignedBy, "a list of identities", func(s *Signer) strictyaml.Value {
				return strictyaml.Map(signerKeys(s, path)...)
			})},
		{Name: "root", Doc: "The root of keyless signatures (a `trusted_root.json`) of a private Sigstore, or for a " +
			"site without network.", Default: "that of the public Sigstore", Example: "keys/trusted_root.json",
			Value: strictyaml.String(&t.Root, path)},
	}
}

func signerKeys(s *Signer, path strictyaml.Grammar) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "key", Doc: "The public key, as cosign writes it: a path, or the text of the PEM.", Default: "none",
			Example: "keys/cosign.pub", Value: strictyaml.String(&s.Key, grammarKey(path))},
		{Name: "issuer", Doc: "For keyless signatures: the OIDC issuer that has told who signs.", Default: "none",
			Example: "https://token.actions.githubusercontent.com",
			Value:   strictyaml.String(&s.Issuer, grammarIssuer())},
		{Name: "subject", Doc: "The subject that the issuer has told: a workflow, a job's reference or an e-mail " +
			"address.", Default: "none",
			Example: "https://github.com/team/ray/.github/workflows/image.yml@refs/heads/main",
			Value: strictyaml.String(&s.Subject, strictyaml.Grammar{What: "text in one line",
				Check: strictyaml.OneLine})},
		{Name: "subject_regexp", Doc: "A regular expression (RE2) that the whole subject must match, in place of " +
			"`subject`.", Default: "none",
			Example: `https://github\.com/team/ray/\.github/workflows/image\.yml@refs/tags/v.*`,
			Value: strictyaml.String(&s.SubjectRegexp, strictyaml.Grammar{What: "a regular expression (RE2)",
				Check: checkRegexp, Limit: 1024})},
	}
}

// pemStart begins a PEM of a key.
const pemStart = "-----BEGIN "

// grammarKey is a public key or the path of one.
func grammarKey(path strictyaml.Grammar) strictyaml.Grammar {
	return strictyaml.Grammar{What: "a public key in PEM, or the path of one relative to this file", Limit: maxKey,
		Pattern: "(?:" + path.Pattern + `)|-----BEGIN ([A-Z0-9]+ )*PUBLIC KEY-----[\s\S]*`,
		Check: func(s string) (string, string) {
			switch {
			case strings.Contains(s, "PRIVATE KEY"):
				return "is a private key", "write the public key that belongs to it, and keep the private one secret"
			case publicPEM().MatchString(s):
				return strictyaml.Lines(s)
			case strings.HasPrefix(s, pemStart):
				return "is not a public key", "write the PEM of type PUBLIC KEY, as cosign.pub has it"
			}
			return path.Check(s)
		},
		Normal: func(s string) string {
			if strings.HasPrefix(s, pemStart) || path.Normal == nil {
				return s
			}
			return path.Normal(s)
		},
	}
}

// publicPEM matches the PEM of a public key.
func publicPEM() *regexp.Regexp {
	return regexp.MustCompile(`^-----BEGIN ([A-Z0-9]+ )*PUBLIC KEY-----`)
}

// grammarIssuer is the URL of an issuer. It is compared as it is, with or without a slash at its end.
func grammarIssuer() strictyaml.Grammar {
	return strictyaml.Grammar{What: "the URL of an OIDC issuer", Limit: 1024, Pattern: `https?://[^/ @?#][^ @?#]*`,
		Check: func(s string) (string, string) {
			at, err := url.Parse(s)
			if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" || at.User != nil ||
				strings.ContainsAny(s, " ?#") {
				return strictyaml.Quote(s) + " is not the URL of an OIDC issuer",
					"write it as the issuer does, such as https://token.actions.githubusercontent.com"
			}
			return strictyaml.OneLine(s)
		}}
}

func checkRegexp(s string) (string, string) {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Sprintf("%s is not a regular expression (%v)", strictyaml.Quote(s), err), "write one of RE2's"
	}
	return strictyaml.OneLine(s)
}

// Check tells r what contradicts itself below the dotted key at. r has read the file.
func (t *Trust) Check(r *strictyaml.Reader, at string) {
	const fix = "give it a key, or an issuer with a subject or a subject_regexp"
	for i := range t.SignedBy {
		at := fmt.Sprintf("%s.signed_by[%d]", at, i)
		has := func(key string) bool { return r.Place(at+"."+key) != nil } // also if its value was refused
		key, issuer, exact, like := has("key"), has("issuer"), has("subject"), has("subject_regexp")
		switch {
		case !key && !issuer && !exact && !like:
			r.Add(at, "names nobody", fix)
		case key && (issuer || exact || like):
			r.Add(at, "is a key and a subject", fix)
		case key:
		case !issuer:
			r.Add(at, "is a subject of no issuer: any issuer could give it to anybody", "add issuer")
		case !exact && !like:
			r.Add(at, "is everybody whom the issuer knows", "add subject or subject_regexp")
		case exact && like:
			r.Add(at, "has a subject and a subject_regexp", "keep one of the two")
		}
	}
}

// PublicKey returns the PEM of a signer's key. A path is relative to dir.
func (s Signer) PublicKey(dir string) (string, error) {
	if strings.HasPrefix(s.Key, pemStart) {
		return s.Key, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.Key)))
	if err == nil && len(data) > maxKey {
		err = fmt.Errorf("it has %d bytes, and a key has %d at most", len(data), maxKey)
	}
	if err != nil {
		return "", fmt.Errorf("read key of trust.signed_by %q: %w: it is a public key in PEM, as cosign.pub", s.Key,
			err)
	}
	return string(data), nil
}

// Name is how messages name a signer.
func (s Signer) Name() string {
	switch {
	case strings.HasPrefix(s.Key, pemStart):
		return "a key of trust.signed_by"
	case s.Key != "":
		return s.Key
	}
	return s.Subject + s.SubjectRegexp
}
