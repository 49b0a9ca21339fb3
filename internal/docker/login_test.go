package docker

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

func TestLoginOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	_, open := sshtest.NewKey(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	plain, locked := put("plain", open), put("locked", pem.EncodeToMemory(block))
	config := put("config", []byte("Host lab\n  User lab\n  IdentityFile "+
		plain+"\nHost shut\n  IdentityFile "+locked+"\n"))
	absent := filepath.Join(dir, "absent")
	tests := []struct {
		name       string
		target     Target
		identities []string
		user, key  string
		missing    string
	}{
		{"the client configuration's", Target{Address: "lab"}, []string{absent}, "lab", plain, ""},
		{"the target's goes first", Target{Address: "lab", User: "me", Key: plain}, []string{absent}, "me", plain, ""},
		{"a default one", Target{Address: "10.0.0.1", User: "me"}, []string{absent, plain}, "me", plain, ""},
		{"one with a passphrase is passed over", Target{Address: "shut", User: "me"}, []string{plain}, "me", plain, ""},
		{"only one with a passphrase", Target{Address: "shut", User: "me"}, []string{absent}, "me", "",
			locked + " needs a passphrase"},
		{"none", Target{Address: "10.0.0.1", User: "me"}, []string{absent}, "me", "", "no private key at " + absent},
		{"the named one is missing", Target{Address: "lab", User: "me", Key: absent}, []string{plain}, "me", "",
			"no private key at " + absent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := LoginOf(t.Context(), tt.target, Options{SSHConfig: config, Identities: tt.identities})
			if err != nil || l.User != tt.user || l.Key != tt.key || !strings.Contains(l.Missing, tt.missing) ||
				tt.missing == "" && l.Missing != "" {
				t.Errorf("got %+v, %v", l, err)
			}
		})
	}
}
