package launcher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// mostToNotice is how long the launcher, with its limits as users have them, may take to name a
// host that does not answer.
const mostToNotice = 15 * time.Second

// TestHostsThatHangAreNamedWithTheirPhase makes real hosts hang at every phase on the way to their
// Engine. Ray is miniray: a stand-in that counts nodes and runs nothing.
func TestHostsThatHangAreNamedWithTheirPhase(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "silent")
	t.Cleanup(func() { b.healAll(t) }) // before the cluster is taken down
	spec := b.Spec(t, "silent", b.image, "", 2, 3)
	named := func(want map[int]string) {
		t.Helper()
		start := time.Now()
		_, err := cluster.Up(t.Context(), spec, b.Options(t))
		took := time.Since(start)
		t.Logf("after %s: %v", took, err)
		if took > mostToNotice {
			t.Errorf("it took %s to name the hosts", took)
		}
		if err == nil {
			t.Fatal("up succeeds on hosts that do not answer")
		}
		for i, what := range want {
			found := false
			for _, l := range strings.Split(err.Error(), "\n") {
				found = found || strings.Contains(l, "host root@"+b.Addr(i)) && strings.Contains(l, what)
			}
			if !found {
				t.Errorf("no line names host %d with %q", i, what)
			}
		}
	}
	b.hangLogin(t, 1)
	b.Must(t, "exec", "2", "sh", "-c", "kill -STOP $(cat /run/sshd.pid)")
	b.Must(t, "hole", "3", "500")
	named(map[int]string{1: "SSH authentication", 2: "SSH banner", 3: "SSH key exchange"})
	b.healAll(t)

	b.Must(t, "dockerd", "1", "STOP")
	b.Must(t, "off", "2")
	b.Must(t, "cut", "3")
	named(map[int]string{1: "the Engine is frozen", 2: "connect to", 3: "connect to"})
	b.healAll(t)
	for i := 1; i <= 3; i++ {
		if out := b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
			t.Errorf("host %d: something was started: %s", i, out)
		}
	}
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy || s.Changed != 3 {
		t.Fatalf("when the hosts are back: %v\n%s", err, s)
	}
	b.oneEach(t, "silent")

	b.silentInMidStream(t, spec)
	b.healAll(t)
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("when the hosts are back: %v\n%s", err, s)
	}
	b.oneEach(t, "silent")
}

// silentInMidStream follows the logs of three hosts. Of one the Engine stops, of one all of sshd,
// and one loses its cable.
func (b *bed) silentInMidStream(t *testing.T, spec *cluster.Spec) {
	type end struct {
		host int
		took time.Duration
		err  error
	}
	ends := make(chan end, 3)
	faults := map[int][]string{1: {"dockerd", "1", "STOP"},
		2: {"exec", "2", "sh", "-c", "kill -STOP $(pgrep -x 'sshd|sshd-session')"}, 3: {"cut", "3"}}
	said := map[int]string{1: "the Engine is frozen", 2: "no sign of life", 3: "no sign of life"}
	nodes := append([]cluster.Node{spec.Head}, spec.Workers...)
	for i, fault := range faults {
		open, done := make(chan struct{}, 1), make(chan error, 1)
		go func() {
			w := &onWrite{c: open}
			done <- cluster.Logs(t.Context(), spec, cluster.LogOptions{Nodes: []string{nodes[i-1].ID}, Follow: true}, w,
				w, b.Options(t))
		}()
		select {
		case <-open:
		case err := <-done:
			t.Fatalf("logs of host %d: %v", i, err)
		}
		b.Must(t, fault...)
		start := time.Now()
		go func() {
			err := <-done
			ends <- end{i, time.Since(start), err}
		}()
	}
	for range faults {
		select {
		case e := <-ends:
			t.Logf("host %d after %s: %v", e.host, e.took, e.err)
			if e.err == nil || !strings.Contains(e.err.Error(), said[e.host]) ||
				!strings.Contains(e.err.Error(), b.Addr(e.host)) {
				t.Errorf("host %d went silent in mid-stream: %v", e.host, e.err)
			}
			if e.took > mostToNotice {
				t.Errorf("host %d: it took %s to notice", e.host, e.took)
			}
		case <-time.After(2 * mostToNotice):
			t.Fatal("a stream of a silent host still hangs")
		}
	}
}

// hangLogin makes the sshd of a host answer, and never say whether a key may log in.
func (b *bed) hangLogin(t *testing.T, i int) {
	b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", `cp /etc/ssh/sshd_config /etc/ssh/sshd_config.old
printf 'AuthorizedKeysFile none\nAuthorizedKeysCommandUser root\nAuthorizedKeysCommand /usr/bin/sleep 600\n' >>/etc/ssh/sshd_config`)
	b.restartSSHD(t, i)
}

// healAll ends every fault of these tests.
func (b *bed) healAll(t *testing.T) {
	b.Must(t, "hole", "3", "0")
	b.Must(t, "heal", "3")
	b.Must(t, "boot", "2")
	b.Must(t, "exec", "2", "sh", "-c", "kill -CONT $(pgrep -x 'sshd|sshd-session')")
	b.Must(t, "dockerd", "1", "CONT")
	b.Must(t, "exec", "1", "sh", "-c", "[ ! -e /etc/ssh/sshd_config.old ] || mv /etc/ssh/sshd_config.old "+
		"/etc/ssh/sshd_config")
	b.restartSSHD(t, 1)
}

// oneEach checks that each host has one container, and it is a node of the cluster.
func (b *bed) oneEach(t *testing.T, name string) {
	t.Helper()
	for i := 1; i <= 3; i++ {
		out := strings.Fields(b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-a", "--format", "{{.Names}}"))
		if len(out) != 1 || !strings.HasPrefix(out[0], name+"-") {
			t.Errorf("host %d has containers %v, want one node of %s", i, out, name)
		}
	}
}
