package signers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key is the text of a PEM, or lies beside the file that names it.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const text = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
	for name, data := range map[string]string{"a.pub": text, "large.pub": strings.Repeat("x", maxKey+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for key, says := range map[string]string{"a.pub": "", text: "", "none.pub": "no such file",
		"large.pub": "at most"} {
		got, err := Signer{Key: key}.PublicKey(dir)
		if says == "" && (err != nil || got != text) ||
			says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	for want, s := range map[string]Signer{"a.pub": {Key: "a.pub"}, "a key of trust.signed_by": {Key: text},
		"ci@example.com": {Issuer: "https://a", Subject: "ci@example.com"}, "v.*": {SubjectRegexp: "v.*"}} {
		if got := s.Name(); got != want {
			t.Errorf("the name is %q, want %q", got, want)
		}
	}
}
