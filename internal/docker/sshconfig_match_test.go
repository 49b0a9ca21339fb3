package docker

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// Case 28: a file with Match lines of all kinds is read as ssh(1) reads it, and lines of other hosts do no harm.
func TestCase28Match(t *testing.T) {
	t.Parallel()
	testneeds.Programs(t, "ssh")
	dir := t.TempDir()
	const host = "\nHost gpu1\n HostName 10.1.1.1\n User ubuntu\n IdentityFile /keys/%h\n"
	for _, c := range []struct {
		name, text string
		target     Target
		want       string // user@address, jump host, command, keys
	}{
		{"a condition for another host", "Host other\n Port 9\nMatch exec \"true\" host other\n Port 7\n" + host,
			Target{Address: "gpu1"}, "ubuntu@10.1.1.1:22   /keys/10.1.1.1"},
		{"a command that says yes", "Match host gpu1 exec \"test %n = gpu1\"\n Port 2200\n ProxyJump gate" + host,
			Target{Address: "gpu1"}, "ubuntu@10.1.1.1:2200 gate  /keys/10.1.1.1"},
		{"a command that says no", "Match host gpu1 exec \"false\"\n Port 2200\n" + host, Target{Address: "gpu1"},
			"ubuntu@10.1.1.1:22   /keys/10.1.1.1"},
		{"the user", "Match user root\n IdentityFile /keys/root\n" + host, Target{Address: "gpu1", User: "root"},
			"root@10.1.1.1:22   /keys/root,/keys/10.1.1.1"},
		{"the name before HostName", host + "Match originalhost gpu1\n ProxyCommand nc %h %p\n",
			Target{Address: "gpu1"}, "ubuntu@10.1.1.1:22  nc %h %p /keys/10.1.1.1"},
		{"a file that is included", "Include " + filepath.Join(dir, "more") + host, Target{Address: "gpu1", Port: 2022},
			"ubuntu@10.1.1.1:2022 gate  /keys/10.1.1.1"},
		{"the target's own words go first", "Match exec \"true\"\n Port 7\n User nobody\n ProxyJump gate" + host,
			Target{Address: "gpu1", User: "me", Port: 22, Jump: "none"}, "me@10.1.1.1:22   /keys/10.1.1.1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "more"), []byte("Match exec \"true\"\n ProxyJump gate\n"),
			0o600); err != nil {
			t.Fatal(err)
		}
		h, err := config(t, c.text).resolve(t.Context(), c.target)
		got := fmt.Sprintf("%s@%s %s %s %s", h.user, h.addr, h.jump, h.proxy, strings.Join(h.keys, ","))
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, want %q, %v", c.name, got, c.want, err)
		}
	}
	_, err := config(t, "Match exec \"true\"\nNoSuchKeyword yes\n"+host).resolve(t.Context(), Target{Address: "gpu1"})
	if err == nil || !strings.Contains(err.Error(), "nosuchkeyword") || !strings.Contains(err.Error(), "--ssh-config") {
		t.Errorf("a bad file: the error names neither the line nor the way out: %v", err)
	}
}

// Without OpenSSH's client the error says what is lacking, and what to do.
func TestCase28MatchWithoutSSH(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("Match exec \"true\"\n Port 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err := readClientConfig(file)
	if err == nil || !strings.Contains(err.Error(), "install OpenSSH's client, or name another file") {
		t.Errorf("got %v", err)
	}
}

// Case 28: certificates and files of host keys that the configuration names count, as with ssh(1).
func TestCase28CertificatesAndHostKeyFiles(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	authority, _ := sshtest.NewKey(t)
	signer, pem := sshtest.NewKey(t)
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"me"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix())} //nolint:gosec // after 1970
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, sshtest.Options{Unix: e.unix, Allow: []ssh.PublicKey{cert}})
	dir := t.TempDir()
	at := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	known, err := os.ReadFile(b.opts.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(b.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	b.opts.KnownHosts, b.opts.ConfigHosts = []string{filepath.Join(dir, "none")}, true
	key, certFile := at("key", pem), at("issued.pub", ssh.MarshalAuthorizedKey(cert))
	text := fmt.Sprintf("Host box\n HostName %s\n Port %s\n User me\n IdentityFile %s\n", host, port, key)
	for _, c := range []struct{ name, more, err string }{
		{"all are named", " CertificateFile " + certFile + "\n UserKnownHostsFile " + at("hosts", known) + "\n", ""},
		{"no certificate", " UserKnownHostsFile " + at("hosts", known) + "\n", "the host accepted none of"},
		{"no host keys", " CertificateFile " + certFile + "\n", "is not known"},
		{"host keys are thrown away", " CertificateFile " + certFile + "\n UserKnownHostsFile /dev/null\n" +
			" StrictHostKeyChecking no\n", "is not known; check it and record it: raybuild cluster trust"},
	} {
		b.config(t, text+c.more)
		b.target.Key = ""
		h, err := Dial(t.Context(), b.target, b.opts)
		if err == nil {
			h.Close()
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.err)
		}
	}
	b.opts.ConfigHosts = false // --known-hosts names the only files that count
	b.config(t, text+" CertificateFile "+certFile+"\n UserKnownHostsFile "+at("hosts", known)+"\n")
	if _, err := Dial(t.Context(), b.target, b.opts); err == nil || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("files that --known-hosts does not name count: %v", err)
	}
}

// FuzzReadOpenSSH: whatever ssh says, keys are in lower case and values are whole.
func FuzzReadOpenSSH(f *testing.F) {
	f.Add("user me\nhostname 10.0.0.1\nport 22\nidentityfile ~/.ssh/id_rsa\nidentityfile /k\nsetenv A=B C=D\n")
	f.Add("host\r\n\n  user   x \nproxycommand sh -c 'a b'\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for key, all := range readOpenSSH(text) {
			n += len(all)
			if key == "" || strings.ContainsAny(key, " \n") {
				t.Fatalf("key %q of %q", key, text)
			}
		}
		if n > strings.Count(text, "\n")+1 {
			t.Fatalf("%d values of %q", n, text)
		}
	})
}
