package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
)

// Ray is miniray in every test of this file: a stand-in that counts nodes and runs nothing.

// TestStrictSSHD needs a connection, one session at a time, and nothing else of sshd. The Engine is
// then reached by `docker system dial-stdio`, over as many connections as calls are made at once.
func TestStrictSSHD(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "strict")
	b.configureSSHD(t, 2, "MaxStartups 10:30:100\nMaxSessions 1\nMaxAuthTries 1\nAllowStreamLocalForwarding no\n")
	var log strings.Builder
	o := b.Options(t)
	o.Log = &log
	s, err := cluster.Up(t.Context(), b.Spec(t, "strict", b.image, "filter: true\n", 2), o)
	if err != nil || !s.Healthy {
		t.Errorf("up: %v\n%s", err, s)
	}
	if !strings.Contains(log.String(), "dial-stdio") {
		t.Errorf("it does not say that it fell back:\n%s", log.String())
	}
	h, err := docker.Dial(t.Context(), docker.Target{User: "root", Address: b.Addr(2)}, b.SSH())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	failed := make(chan error, 64)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			_, err := h.Containers(t.Context(), "raybuild.cluster")
			failed <- err
		})
	}
	wg.Wait()
	for range 64 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// configureSSHD adds lines to a host's sshd_config until the test ends.
func (b *bed) configureSSHD(t *testing.T, i int, lines string) {
	b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", "cp /etc/ssh/sshd_config /etc/ssh/sshd_config.old && printf '"+
		lines+"' >>/etc/ssh/sshd_config")
	b.restartSSHD(t, i)
	t.Cleanup(func() {
		b.Must(t, "exec", fmt.Sprint(i), "mv", "/etc/ssh/sshd_config.old", "/etc/ssh/sshd_config")
		b.restartSSHD(t, i)
	})
}

// restartSSHD makes sshd read its configuration. It returns when the new one listens.
func (b *bed) restartSSHD(t testing.TB, i int) {
	b.Must(t, "exec", fmt.Sprint(i), "sh", "-c",
		`p=$(cat /run/sshd.pid); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.05; done
/usr/sbin/sshd -E /var/log/sshd.log; until ss -Hltn 'sport = :22' | grep -q .; do sleep 0.05; done`)
}

func TestHostCertificates(t *testing.T) {
	b := needBed(t)
	dir := t.TempDir()
	keygen := func(args ...string) {
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen",
			append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	for _, ca := range []string{ours, theirs} {
		keygen("-t", "ed25519", "-N", "", "-f", ca)
	}
	public := b.Must(t, "exec", "2", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
	known := filepath.Join(dir, "known_hosts")
	authority := func(hosts string) {
		key := string(must(os.ReadFile(ours + ".pub")))
		if err := os.WriteFile(known, []byte("@cert-authority "+hosts+" "+key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.configureSSHD(t, 2, "HostCertificate /etc/ssh/host-cert.pub\n")
	t.Cleanup(func() { b.Must(t, "exec", "2", "rm", "-f", "/etc/ssh/host-cert.pub") })
	for _, tt := range []struct {
		what, signer, principal, hosts, want string
		more                                 []string
	}{
		{"signed by the authority", ours, b.Addr(2), b.Net + ".*", "", nil},
		{"signed by another authority", theirs, b.Addr(2), b.Net + ".*", "is not accepted: ssh: no authorities", nil},
		{"for another host", ours, "10.1.2.3", b.Net + ".*", "is not accepted: ssh: principal", nil},
		{"expired", ours, b.Addr(2), b.Net + ".*", "is not accepted: ssh: cert has expired",
			[]string{"-V", "20200101:20200102"}},
		{"of an authority for other hosts", ours, b.Addr(2), "192.168.1.*", "raybuild cluster trust", nil},
	} {
		t.Run(tt.what, func(t *testing.T) {
			pub := filepath.Join(dir, "host.pub")
			if err := os.WriteFile(pub, []byte(public), 0o600); err != nil {
				t.Fatal(err)
			}
			keygen(append(append([]string{"-s", tt.signer, "-I", "h2", "-h", "-n", tt.principal}, tt.more...), pub)...)
			cert := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(dir, "host-cert.pub")))))
			b.Must(t, "exec", "2", "sh", "-c", "echo '"+cert+"' >/etc/ssh/host-cert.pub")
			b.restartSSHD(t, 2)
			authority(tt.hosts)
			o := b.SSH()
			o.KnownHosts = []string{known}
			h, err := docker.Dial(t.Context(), docker.Target{User: "root", Address: b.Addr(2)}, o)
			if err == nil {
				h.Close()
			}
			t.Log("it says:", err)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("the host's own key is recorded instead", func(t *testing.T) {
		o := b.SSH()
		o.KnownHosts = []string{filepath.Join(dir, "recorded")}
		at := docker.Target{User: "root", Address: b.Addr(2)}
		keys, err := docker.ScanHostKeys(t.Context(), at, o)
		if err != nil || len(keys) != 1 || !strings.Contains(public, strings.Fields(keys[0].Line)[2]) {
			t.Fatalf("scanned %+v, %v", keys, err)
		}
		if _, err := docker.RecordHostKeys(t.Context(), o.KnownHosts[0], keys); err != nil {
			t.Fatal(err)
		}
		h, err := docker.Dial(t.Context(), at, o)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	})
}

func TestChangedHostKeyIsRefused(t *testing.T) {
	b := needBed(t)
	data, err := os.ReadFile(filepath.Join(b.Dir, "known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	_, key, _ := strings.Cut(lines[0], " ")
	addr, _, _ := strings.Cut(lines[1], " ")
	forged := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(forged, []byte(lines[0]+"\n"+addr+" "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := b.Options(t)
	o.SSH.KnownHosts = []string{forged}
	_, err = cluster.Up(t.Context(), b.Spec(t, "mitm", b.image, "", 2), o)
	if err == nil || !strings.Contains(err.Error(), "CHANGED") {
		t.Errorf("got %v", err)
	}
}
