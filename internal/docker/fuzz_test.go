package docker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzKnownHosts: a file of host keys that lies beside a cluster's file never changes what the user's own file says of
// a host, and names no authority.
func FuzzKnownHosts(f *testing.F) {
	const own = "10.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhC7ruVsjYz3Ml4hI1gW7MAX3hIFSg5I1hjMTPZ7zUD\n"
	f.Add(own)
	f.Add("@cert-authority * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhC7ruVsjYz3Ml4hI1gW7MAX3hIFSg5I1hjMTPZ7zUD\n")
	f.Add("# x\n\t@revoked [h]:22,!a ssh-rsa AAAA\n|1|AAAA|AAAA= ssh-ed25519 x y\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		ours, theirs := filepath.Join(dir, "own"), filepath.Join(dir, "project")
		for file, data := range map[string]string{ours: own, theirs: text} {
			if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := Options{KnownHosts: []string{ours}}.hostKeysOf(hop{addr: "10.0.0.1:22"})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{KnownHosts: []string{ours}, ProjectHosts: theirs}
		if db, err := o.hostKeysOf(hop{addr: "10.0.0.1:22"}); err == nil {
			got, keys := db.HostKeys("10.0.0.1:22"), want.HostKeys("10.0.0.1:22")
			if len(keys) != 1 || len(got) != 1 || string(got[0].Marshal()) != string(keys[0].Marshal()) {
				t.Fatalf("the host has %d keys with %q, and %d without", len(got), text, len(keys))
			}
		}
		if db, err := o.hostKeysOf(hop{addr: "10.0.0.2:22"}); err == nil {
			for _, k := range db.HostKeys("10.0.0.2:22") {
				if k.Cert {
					t.Fatalf("%q makes an authority", text)
				}
			}
			db.HostKeyAlgorithms("10.0.0.2:22")
		}
		for line := range strings.Lines(text) {
			_, _ = ParseTarget(line)
		}
	})
}
