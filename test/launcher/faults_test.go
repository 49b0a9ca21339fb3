package launcher

import (
	"errors"
	"fmt"
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
	h, err := docker.Dial(t.Context(), docker.Target{User: "root", Address: b.Addr(1)}, b.SSH())
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

// mostToSayWho is how long a launcher may take that finds another one at work.
const mostToSayWho = 2 * time.Second

// TestTwoLaunchersAtOnce starts two at the same moment, and a third one when one of them has the
// lock. The limit counts for the third one from its start, and for the loser of the two from the
// moment that there is a lock: before, there is nobody to be named.
func TestTwoLaunchersAtOnce(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "twice")
	spec := b.Spec(t, "twice", b.image, "", 2)
	type outcome struct {
		err  error
		took time.Duration
		end  time.Time
	}
	up := func(i int) outcome {
		o := b.Options(t)
		o.Owner = fmt.Sprintf("launcher%d@test", i)
		start := time.Now()
		_, err := cluster.Up(t.Context(), spec, o)
		return outcome{err, time.Since(start), time.Now()}
	}
	saysWho := func(r outcome) bool {
		var busy *cluster.LockedError
		return errors.As(r.err, &busy) && strings.HasPrefix(busy.Owner, "launcher") &&
			strings.Contains(r.err.Error(), busy.Owner)
	}
	results := make(chan outcome, 2)
	for i := range 2 {
		go func() { results <- up(i) }()
	}
	b.Must(t, "exec", "1", "sh", "-c",
		"until curl -sf -o /dev/null --unix-socket /run/docker.sock http://d/containers/raybuild-lock-twice/json; do "+
			"sleep 0.02; done")
	locked := time.Now()
	r := up(2)
	if saysWho(r) && r.took > mostToSayWho {
		t.Logf("one more time: it took %s", r.took) // something else may have had the machine
		r = up(2)
	}
	t.Logf("a launcher that finds another one at work says after %s: %v", r.took, r.err)
	if !saysWho(r) || r.took > mostToSayWho {
		t.Errorf("it does not say who the other one is within %s", mostToSayWho)
	}
	var won, lost int
	for range 2 {
		r := <-results
		switch {
		case r.err == nil:
			won++
		case saysWho(r):
			lost++
			after := r.end.Sub(locked) // below zero: it was faster than our look
			t.Logf("of two at the same moment one says after %s, %s after there was a lock: %v", r.took, after, r.err)
			if after > mostToSayWho {
				t.Errorf("the loser says who the other one is %s after there was a lock; want within %s",
					after, mostToSayWho)
			}
		default:
			t.Errorf("the loser does not say who: %v", r.err)
		}
	}
	if won != 1 || lost != 1 {
		t.Errorf("%d won, %d lost; want one each", won, lost)
	}
}

func TestStaleLockOfAnotherMachineIsBrokenWhenItsLeaseEnds(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "stale")
	o := b.Options(t)
	o.Lease = 5 * time.Second
	spec := b.Spec(t, "stale", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, o); err != nil {
		t.Fatal(err)
	}
	moved := b.Spec(t, "stale", b.moved, "")
	plant := func(deadline time.Time) {
		b.Must(t, "exec", "1", "docker", "create", "--name", "raybuild-lock-stale", "--label", "raybuild.cluster=stale",
			"--label", "raybuild.role=lock",
			"--label", "raybuild.lock.owner=ghost@elsewhere", "--label",
			"raybuild.lock.deadline="+deadline.Format(time.RFC3339Nano), b.image, "/raybuild")
	}
	plant(time.Now().Add(time.Hour))
	start := time.Now()
	_, err := cluster.Up(t.Context(), moved, o)
	var busy *cluster.LockedError
	if !errors.As(err, &busy) || busy.Owner != "ghost@elsewhere" {
		t.Errorf("a held lock: %v", err)
	}
	t.Logf("refused after %s", time.Since(start))
	if s, err := cluster.Inspect(t.Context(), spec, o); err != nil ||
		s.Lock == nil || s.Lock.Owner != "ghost@elsewhere" {
		t.Errorf("status does not show the lock: %+v, %v", s, err)
	}
	b.Must(t, "exec", "1", "docker", "rm", "raybuild-lock-stale")
	plant(time.Now().Add(-time.Minute))
	if s, err := cluster.Up(t.Context(), moved, o); err != nil || s.Changed != 1 {
		t.Errorf("a stale lock: %+v, %v", s, err)
	}
}

func TestHostThatIsOffIsNamedAndTheOthersGoOn(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "partly")
	b.Must(t, "off", "3")
	t.Cleanup(func() { b.Must(t, "boot", "3") }) // runs before the cluster is taken down
	all := b.Spec(t, "partly", b.image, "", 2, 3)
	start := time.Now()
	_, err := cluster.Up(t.Context(), all, b.Options(t))
	if err == nil || !strings.Contains(err.Error(), b.Addr(3)) || !strings.Contains(err.Error(), "--skip-unreachable") {
		t.Errorf("without leave: %v", err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("it took %s to name the host", d)
	}
	if out := b.Must(t, "exec", "1", "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("something was started: %s", out)
	}
	skip := b.Spec(t, "partly", b.image, "skip_unreachable: true\n", 2, 3)
	s, err := cluster.Up(t.Context(), skip, b.Options(t))
	if err != nil || s.Alive != 2 || s.Healthy {
		t.Fatalf("with leave: %+v, %v", s, err)
	}
	b.Must(t, "boot", "3")
	if s, err = cluster.Up(t.Context(), all, b.Options(t)); err != nil || !s.Healthy || s.Changed != 1 {
		t.Errorf("when it is back: %+v, %v", s, err)
	}
}

func TestDownWithAHostThatIsOff(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "left")
	spec := b.Spec(t, "left", b.image, "", 2)
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil {
		t.Fatal(err)
	}
	b.Must(t, "off", "2")
	res, err := cluster.Down(t.Context(), "left", spec.Hosts(), b.Options(t))
	if err == nil || !strings.Contains(err.Error(), b.Addr(2)) || res.Containers != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
	b.Must(t, "boot", "2")
	if res, err = cluster.Down(t.Context(), "left", spec.Hosts(), b.Options(t)); err != nil || res.Containers != 1 {
		t.Errorf("when it is back: %+v, %v", res, err)
	}
}

// TestTakenPortIsNamedWithItsProcess has a Ray of somebody else on the head's host, and another
// program on the worker's.
func TestTakenPortIsNamedWithItsProcess(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "port")
	b.Must(t, "exec", "1", "sh", "-c", "docker run -d --name foreign --network host --entrypoint ray "+
		b.image+" "+strings.Join(b.startHere()[1:], " ")+
		"; until ss -Hltn 'sport = :6379' | grep -q .; do sleep 0.05; done")
	t.Cleanup(func() { b.Must(t, "exec", "1", "docker", "rm", "-f", "foreign") })
	b.Must(t, "exec", "2", "sh", "-c", "setsid busybox nc -l -p 6380 >/dev/null 2>&1 </dev/null & sleep 0.3")
	t.Cleanup(func() {
		b.Must(t, "exec", "2", "sh", "-c", "kill $(ss -Hltnp 'sport = :6380' | sed 's/.*pid=//; s/,.*//')")
	})
	_, err := cluster.Up(t.Context(), b.Spec(t, "port", b.image, "", 2), b.Options(t))
	t.Log(err)
	for _, want := range []string{b.Addr(1), "port 6379 is needed by node port-head (gcs), and is used by ray (pid ",
		b.Addr(2), "port 6380", "busybox (pid "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	if out := b.Must(t, "exec", "1", "docker", "ps", "-aq", "--filter",
		"label=raybuild.cluster"); strings.TrimSpace(out) != "" {
		t.Errorf("something was started: %s", out)
	}
}

// TestFirewallBetweenHostsIsNamed shuts the way from a worker to the head, and from the head to
// another worker, for what Ray's nodes say to each other. Both hosts answer the launcher.
func TestFirewallBetweenHostsIsNamed(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "walls")
	shut := func(at, from, ports string) {
		b.Must(t, "exec", at, "sh", "-c",
			"nft 'add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "+
				"add rule inet wall in ip saddr "+from+" tcp dport "+ports+" drop'")
		t.Cleanup(func() { b.Must(t, "exec", at, "nft", "delete", "table", "inet", "wall") })
	}
	shut("1", b.Addr(2), "6379")
	shut("3", b.Addr(1), "{ 6381, 10002-10100 }")
	_, err := cluster.Up(t.Context(), b.Spec(t, "walls", b.image, "", 2, 3), b.Options(t))
	t.Log(err)
	for host, said := range map[int]string{2: "it does not reach the head at " + b.Addr(1) + ", port 6379:",
		3: "the head's host does not reach it at " + b.Addr(3) + ", port 10002, 6381:"} {
		found := false
		if err != nil {
			for _, l := range strings.Split(err.Error(), "\n") {
				found = found || strings.Contains(l, b.Addr(host)) && strings.Contains(l, said)
			}
		}
		if !found {
			t.Errorf("no line of host %d says %q", host, said)
		}
	}
	for i := 1; i <= 3; i++ {
		if out := b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
			t.Errorf("host %d: something was started: %s", i, out)
		}
	}
}
