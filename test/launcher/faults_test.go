package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
)

// Ray is miniray in every test of this file: a stand-in that counts nodes and runs nothing.

func TestSixtyFourCallsToOneHostAtOnce(t *testing.T) {
	b := needBed(t)
	h, err := docker.Dial(t.Context(), docker.Target{User: "root", Address: b.addr(1)}, b.options(t).SSH)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, n := range []int{64, 256} {
		var failed atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range n {
			wg.Go(func() {
				if _, err := h.Containers(t.Context(), "raybuild.cluster"); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			})
		}
		wg.Wait()
		t.Logf("%d calls in %s, %d failed", n, time.Since(start), failed.Load())
		if failed.Load() > 0 {
			t.Errorf("%d of %d calls failed", failed.Load(), n)
		}
	}
}

func TestFilterClosesRayToOutsiders(t *testing.T) {
	b := needBed(t)
	b.clean(t, "shut")
	spec := b.spec(t, "shut", b.image, "filter: true\n", 2)
	s, err := cluster.Up(t.Context(), spec, b.options(t))
	if err != nil || !s.Healthy {
		t.Fatalf("%+v, %v", s, err)
	}
	for i := 1; i <= 2; i++ {
		for _, port := range []int{6379, 6380, 6381, 8265, 52365} {
			if out, err := b.script("outside", "timeout", "2", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", b.addr(i), port)); err == nil {
				t.Errorf("an outsider reaches %s:%d %s", b.addr(i), port, out)
			}
		}
		if out, err := b.script("outside", "timeout", "2", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/22", b.addr(i))); err != nil {
			t.Errorf("the filter closes what is not Ray's: ssh of host %d: %s", i, out)
		}
	}
	if s, err = cluster.Up(t.Context(), spec, b.options(t)); err != nil || s.Changed != 0 {
		t.Errorf("again: %+v, %v", s, err)
	}
	b.must(t, "exec", "2", "nft", "delete", "table", "inet", "raybuild-shut")
	p, err := cluster.MakePlan(t.Context(), spec, b.options(t))
	if err != nil || p.Changes != 1 || len(p.Filters) != 1 {
		t.Errorf("a filter that was deleted: %+v, %v", p, err)
	}
	if s, err = cluster.Up(t.Context(), spec, b.options(t)); err != nil || s.Changed != 1 || !s.Healthy {
		t.Errorf("mended: %+v, %v", s, err)
	}
}

func TestWithoutAFilterOutsidersNeedTheToken(t *testing.T) {
	b := needBed(t)
	b.clean(t, "open")
	if _, err := cluster.Up(t.Context(), b.spec(t, "open", b.image, ""), b.options(t)); err != nil {
		t.Fatal(err)
	}
	for what, args := range map[string][]string{"no token": nil, "a wrong token": {"-H", "Authorization: Bearer " + strings.Repeat("0", 64)}} {
		argv := append([]string{"outside", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "-X", "POST", "-d", "{}"}, args...)
		out := b.must(t, append(argv, fmt.Sprintf("http://%s:6379/beat?first=1", b.addr(1)))...)
		if out != "401" && out != "403" {
			t.Errorf("%s: the answer is %s", what, out)
		}
	}
	if out, err := b.script("outside", "curl", "-s", "--max-time", "3", fmt.Sprintf("http://%s:8265/", b.addr(1))); err == nil {
		t.Errorf("the dashboard answers outside: %s", out)
	}
}

func TestTwoLaunchersAtOnce(t *testing.T) {
	b := needBed(t)
	b.clean(t, "twice")
	spec := b.spec(t, "twice", b.image, "", 2)
	type outcome struct {
		err  error
		took time.Duration
	}
	results := make(chan outcome, 2)
	for i := range 2 {
		go func() {
			o := b.options(t)
			o.Owner = fmt.Sprintf("launcher%d@test", i)
			start := time.Now()
			_, err := cluster.Up(t.Context(), spec, o)
			results <- outcome{err, time.Since(start)}
		}()
	}
	var won, lost int
	for range 2 {
		r := <-results
		var busy *cluster.LockedError
		switch {
		case r.err == nil:
			won++
		case errors.As(r.err, &busy):
			lost++
			if !strings.HasPrefix(busy.Owner, "launcher") {
				t.Errorf("the loser does not say who: %v", r.err)
			}
			t.Logf("the loser ended after %s: %v", r.took, r.err)
		default:
			t.Error(r.err)
		}
	}
	if won != 1 || lost != 1 {
		t.Errorf("%d won, %d lost; want one each", won, lost)
	}
}

func TestStaleLockOfAnotherMachineIsBrokenWhenItsLeaseEnds(t *testing.T) {
	b := needBed(t)
	b.clean(t, "stale")
	o := b.options(t)
	o.Lease = 5 * time.Second
	spec := b.spec(t, "stale", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, o); err != nil {
		t.Fatal(err)
	}
	moved := b.spec(t, "stale", b.moved, "")
	plant := func(deadline time.Time) {
		b.must(t, "exec", "1", "docker", "create", "--name", "raybuild-lock-stale", "--label", "raybuild.cluster=stale", "--label", "raybuild.role=lock",
			"--label", "raybuild.lock.owner=ghost@elsewhere", "--label", "raybuild.lock.deadline="+deadline.Format(time.RFC3339Nano), b.image, "/raybuild")
	}
	plant(time.Now().Add(time.Hour))
	start := time.Now()
	_, err := cluster.Up(t.Context(), moved, o)
	var busy *cluster.LockedError
	if !errors.As(err, &busy) || busy.Owner != "ghost@elsewhere" {
		t.Errorf("a held lock: %v", err)
	}
	t.Logf("refused after %s", time.Since(start))
	if s, err := cluster.Inspect(t.Context(), spec, o); err != nil || s.Lock == nil || s.Lock.Owner != "ghost@elsewhere" {
		t.Errorf("status does not show the lock: %+v, %v", s, err)
	}
	b.must(t, "exec", "1", "docker", "rm", "raybuild-lock-stale")
	plant(time.Now().Add(-time.Minute))
	if s, err := cluster.Up(t.Context(), moved, o); err != nil || s.Changed != 1 {
		t.Errorf("a stale lock: %+v, %v", s, err)
	}
}

func TestHostThatIsOffIsNamedAndTheOthersGoOn(t *testing.T) {
	b := needBed(t)
	b.clean(t, "partly")
	b.must(t, "off", "3")
	t.Cleanup(func() { b.must(t, "boot", "3") }) // runs before the cluster is taken down
	all := b.spec(t, "partly", b.image, "", 2, 3)
	start := time.Now()
	_, err := cluster.Up(t.Context(), all, b.options(t))
	if err == nil || !strings.Contains(err.Error(), b.addr(3)) || !strings.Contains(err.Error(), "--skip-unreachable") {
		t.Errorf("without leave: %v", err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("it took %s to name the host", d)
	}
	if out := b.must(t, "exec", "1", "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("something was started: %s", out)
	}
	skip := b.spec(t, "partly", b.image, "skip_unreachable: true\n", 2, 3)
	s, err := cluster.Up(t.Context(), skip, b.options(t))
	if err != nil || s.Alive != 2 || s.Healthy {
		t.Fatalf("with leave: %+v, %v", s, err)
	}
	b.must(t, "boot", "3")
	if s, err = cluster.Up(t.Context(), all, b.options(t)); err != nil || !s.Healthy || s.Changed != 1 {
		t.Errorf("when it is back: %+v, %v", s, err)
	}
}

func TestHeadProcessKilledClusterMendsItself(t *testing.T) {
	b := needBed(t)
	b.clean(t, "mend")
	spec := b.spec(t, "mend", b.image, "", 2, 3)
	if _, err := cluster.Up(t.Context(), spec, b.options(t)); err != nil {
		t.Fatal(err)
	}
	b.must(t, "exec", "1", "sh", "-c", "kill -KILL $(docker inspect -f '{{.State.Pid}}' mend-head)")
	start := time.Now()
	for {
		s, err := cluster.Inspect(t.Context(), spec, b.options(t))
		if err != nil {
			t.Fatal(err)
		}
		if s.Healthy {
			t.Logf("whole again after %s", time.Since(start))
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("not whole after a minute:\n%s", s)
		}
	}
}

func TestDownWithAHostThatIsOff(t *testing.T) {
	b := needBed(t)
	b.clean(t, "left")
	spec := b.spec(t, "left", b.image, "", 2)
	if _, err := cluster.Up(t.Context(), spec, b.options(t)); err != nil {
		t.Fatal(err)
	}
	b.must(t, "off", "2")
	res, err := cluster.Down(t.Context(), "left", spec.Hosts(), b.options(t))
	if err == nil || !strings.Contains(err.Error(), b.addr(2)) || res.Containers != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
	b.must(t, "boot", "2")
	if res, err = cluster.Down(t.Context(), "left", spec.Hosts(), b.options(t)); err != nil || res.Containers != 1 {
		t.Errorf("when it is back: %+v, %v", res, err)
	}
}

func TestTakenPortIsNamedWithItsProcess(t *testing.T) {
	b := needBed(t)
	b.clean(t, "port")
	b.must(t, "exec", "2", "sh", "-c", "setsid busybox nc -l -p 6380 >/dev/null 2>&1 </dev/null & sleep 0.3")
	t.Cleanup(func() {
		b.must(t, "exec", "2", "sh", "-c", "kill $(ss -Hltnp 'sport = :6380' | sed 's/.*pid=//; s/,.*//')")
	})
	_, err := cluster.Up(t.Context(), b.spec(t, "port", b.image, "", 2), b.options(t))
	if err == nil || !strings.Contains(err.Error(), "port 6380") || !strings.Contains(err.Error(), "(pid ") {
		t.Errorf("got %v", err)
	}
	if out := b.must(t, "exec", "1", "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("something was started: %s", out)
	}
}

func TestStrictSSHD(t *testing.T) {
	b := needBed(t)
	b.clean(t, "strict")
	b.must(t, "exec", "2", "sh", "-c", `cp /etc/ssh/sshd_config /etc/ssh/sshd_config.old
printf 'MaxStartups 2:100:2\nMaxSessions 4\nMaxAuthTries 1\nAllowStreamLocalForwarding no\n' >>/etc/ssh/sshd_config`)
	b.restartSSHD(t, 2)
	t.Cleanup(func() {
		b.must(t, "exec", "2", "mv", "/etc/ssh/sshd_config.old", "/etc/ssh/sshd_config")
		b.restartSSHD(t, 2)
	})
	s, err := cluster.Up(t.Context(), b.spec(t, "strict", b.image, "", 2), b.options(t))
	if err != nil || !s.Healthy {
		t.Errorf("got %+v, %v", s, err)
	}
}

// restartSSHD makes sshd read its configuration. It returns when the new one listens.
func (b *bed) restartSSHD(t testing.TB, i int) {
	b.must(t, "exec", fmt.Sprint(i), "sh", "-c", `p=$(cat /run/sshd.pid); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.05; done
/usr/sbin/sshd -E /var/log/sshd.log; until ss -Hltn 'sport = :22' | grep -q .; do sleep 0.05; done`)
}

func TestChangedHostKeyIsRefused(t *testing.T) {
	b := needBed(t)
	data, err := os.ReadFile(filepath.Join(b.dir, "known_hosts"))
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
	o := b.options(t)
	o.SSH.KnownHosts = []string{forged}
	_, err = cluster.Up(t.Context(), b.spec(t, "mitm", b.image, "", 2), o)
	if err == nil || !strings.Contains(err.Error(), "CHANGED") {
		t.Errorf("got %v", err)
	}
}
