package docker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

func TestHostKeyIsAlwaysChecked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	good := b.opts.KnownHosts
	t.Run("unknown", func(t *testing.T) {
		b.opts.KnownHosts = []string{filepath.Join(t.TempDir(), "none")}
		_, err := Dial(t.Context(), b.target, b.opts)
		var bad *HostKeyError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "raybuild cluster trust ssh://me@127.0.0.1") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("changed", func(t *testing.T) {
		imposter, _ := sshtest.NewKey(t)
		data, err := os.ReadFile(good[0])
		if err != nil {
			t.Fatal(err)
		}
		addr, _, _ := strings.Cut(string(data), " ")
		file := filepath.Join(t.TempDir(), "known_hosts")
		line := addr + " " + string(ssh.MarshalAuthorizedKey(imposter.PublicKey()))
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		b.opts.KnownHosts = []string{file}
		_, err = Dial(t.Context(), b.target, b.opts)
		if err == nil || !strings.Contains(err.Error(), "CHANGED") || !strings.Contains(err.Error(), file+":1") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another kind of key is recorded", func(t *testing.T) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(k)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(good[0])
		if err != nil {
			t.Fatal(err)
		}
		addr, _, _ := strings.Cut(string(data), " ")
		file := filepath.Join(t.TempDir(), "known_hosts")
		all := addr + " " + string(ssh.MarshalAuthorizedKey(signer.PublicKey())) + string(data)
		if err := os.WriteFile(file, []byte(all), 0o600); err != nil {
			t.Fatal(err)
		}
		b.opts.KnownHosts = []string{file}
		h, err := Dial(t.Context(), b.target, b.opts)
		if err != nil {
			t.Fatalf("a host with several recorded kinds: %v", err)
		}
		h.Close()
	})
}

// TestL1ProjectsHostKeys has a file of host keys that comes with a cluster's file, from a repository that others write.
func TestL1ProjectsHostKeys(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	good, err := os.ReadFile(b.opts.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	addr, _, _ := strings.Cut(string(good), " ")
	other, _ := sshtest.NewKey(t)
	key := string(ssh.MarshalAuthorizedKey(other.PublicKey()))
	for _, tt := range []struct{ name, own, project, want string }{
		{"the project's alone", "", string(good), ""},
		{"both", string(good), string(good), ""},
		{"another key in the project's", string(good), addr + " " + key, "has another ssh-ed25519 key for"},
		{"another key, too", string(good), string(good) + addr + " " + key, "has another ssh-ed25519 key"},
		{"an authority in the project's", string(good), "@cert-authority * " + key, "line 1 names an authority"},
		{"none", "", "", "is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := b.opts
			dir := t.TempDir()
			o.KnownHosts, o.ProjectHosts = []string{filepath.Join(dir, "own")}, filepath.Join(dir, "project")
			for file, text := range map[string]string{o.KnownHosts[0]: tt.own, o.ProjectHosts: tt.project} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := Dial(t.Context(), b.target, o)
			if err == nil {
				h.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	file := filepath.Join(t.TempDir(), "sub", "known_hosts")
	b.opts.KnownHosts = []string{file}
	keys, err := ScanHostKeys(t.Context(), b.target, b.opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 1 || keys[0].Type != "ssh-ed25519" ||
		keys[0].Known || keys[0].Fingerprint != ssh.FingerprintSHA256(b.server.HostKey.PublicKey()) {
		t.Fatalf("got %+v", keys)
	}
	if n, err := RecordHostKeys(t.Context(), file, keys); n != 1 || err != nil {
		t.Fatalf("recorded %d, %v", n, err)
	}
	if n, err := RecordHostKeys(t.Context(), file, keys); n != 0 || err != nil {
		t.Errorf("recorded %d again, %v", n, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b.dial(t)
	if keys, err = ScanHostKeys(t.Context(), b.target, b.opts); err != nil || !keys[0].Known {
		t.Errorf("a second scan: %+v, %v", keys, err)
	}
	other := sshtest.Start(t, sshtest.Options{})
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(data), strings.TrimPrefix(b.server.Addr, "127.0.0.1:"),
		strings.TrimPrefix(other.Addr, "127.0.0.1:"), 1)
	if err := os.WriteFile(file, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ScanHostKeys(t.Context(), targetOf(t, other.Addr, ""), b.opts); err == nil ||
		!strings.Contains(err.Error(), "CHANGED") {
		t.Errorf("trust took a key that differs from the recorded one: %v", err)
	}
}

func TestEncryptedKeyAsksForTheAgent(t *testing.T) {
	t.Parallel()
	b := newBed(t, sshtest.Options{})
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(k, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id_locked")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	b.target.Key = file
	_, err = Dial(t.Context(), b.target, b.opts)
	if err == nil || !strings.Contains(err.Error(), "ssh-add "+file) {
		t.Errorf("got %v", err)
	}
}
