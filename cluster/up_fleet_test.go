package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/testneeds"
)

func TestFleetUpAgainTakesOneLook(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5)
	s, err := Up(t.Context(), f.spec(t, fleetImage, 5), f.options())
	if err != nil || !s.Healthy || s.Changed != 5 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, root := range []bool{false, true} {
		f.root.Store(root)
		for _, e := range f.engines {
			e.Calls()
		}
		if s, err = Up(t.Context(), f.spec(t, fleetImage, 5), f.options()); err != nil || s.Changed != 0 {
			t.Fatalf("again: %+v, %v", s, err)
		}
		for i, e := range f.engines {
			for route, n := range e.Calls() {
				if n > 1 || !strings.HasPrefix(route, "GET ") || route == "GET /info" ||
					root && strings.HasSuffix(route, "/archive") {
					t.Errorf("host %d: %s was called %d times by an up that changes nothing, as root: %v", i,
						route, n, root)
				}
			}
		}
	}
	if s, err = Up(t.Context(), f.spec(t, fleetImage2, 5), f.options()); err != nil || s.Changed != 5 || !s.Healthy {
		t.Fatalf("another image: %+v, %v", s, err)
	}
	if s, err = Scale(t.Context(), f.spec(t, fleetImage2, 5), 2, f.options()); err != nil ||
		s.Alive != 3 || s.Changed != 2 {
		t.Fatalf("scale: %+v, %v", s, err)
	}
	res, err := Down(t.Context(), "fleet", f.spec(t, fleetImage, 5).Hosts(), f.options())
	if err != nil || res.Containers != 3 {
		t.Errorf("down: %+v, %v", res, err)
	}
	for i, e := range f.engines {
		if e.Left() > 0 {
			t.Errorf("host %d: %d things left", i, e.Left())
		}
	}
}

func TestClockSkewStealsNoLock(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	for _, skew := range []time.Duration{-24 * time.Hour, -5 * time.Minute, 5 * time.Minute, 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1)
			f.engines[0].Skew = skew
			f.engines[0].Images[toolImage] = nil
			h, err := docker.Dial(t.Context(), target(f.spec(t, fleetImage, 1).Head.Host), f.options().SSH.options())
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			// shorter, and a busy machine misses a renewal
			_, k, err := acquire(t.Context(), h, mark{cluster: "fleet", owner: "first"}, 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 { // several renewals
				var busy *LockedError
				_, _, err := acquire(t.Context(), h, mark{cluster: "fleet", owner: "second"}, time.Minute)
				if !errors.As(err, &busy) || busy.Owner != "first" {
					t.Fatalf("a lock that is held was given away: %v", err)
				}
				time.Sleep(500 * time.Millisecond)
			}
			if err := k.release(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, k, err = acquire(t.Context(), h, mark{cluster: "fleet", owner: "third"}, time.Minute)
			if err != nil {
				t.Fatalf("after its release: %v", err)
			}
			k.stop()
		})
	}
}

func TestLauncherLosesTheLockWhenItIsTakenAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	h, err := docker.Dial(t.Context(), target(f.spec(t, fleetImage, 1).Head.Host), f.options().SSH.options())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, k, err := acquire(t.Context(), h, mark{cluster: "fleet", owner: "first"}, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), k.id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
		if err := context.Cause(ctx); !strings.Contains(err.Error(), "lost the lock") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the work goes on without the lock")
	}
}

func TestUpClearsWhatAKilledLauncherLeft(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	for i, role := range map[int]string{0: roleLock, 1: roleToken} {
		h, err := docker.Dial(t.Context(), target(spec.Nodes()[i].Host), f.options().SSH.options())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.Create(t.Context(),
			docker.Create{Name: map[string]string{roleLock: lockName("fleet"), roleToken: "raybuild-token-fleet"}[role],
				Image: fleetImage, Labels: map[string]string{labelCluster: "fleet", labelRole: role,
					labelDeadline: time.Now().Add(-time.Minute).Format(time.RFC3339Nano)}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Up(t.Context(), spec, f.options())
	if err != nil || s.Changed != 0 || !s.Healthy {
		t.Fatalf("%+v, %v", s, err)
	}
	for i, e := range f.engines {
		if c := e.Containers(); len(c) != 1 {
			t.Errorf("host %d has %d containers", i, len(c))
		}
	}
}

func TestFleetFailuresAreByHost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	spec := f.spec(t, fleetImage, 3)
	f.engines[2].Registry = nil // this host cannot pull
	_, err := Up(t.Context(), spec, f.options())
	if err == nil || !strings.Contains(err.Error(), spec.Workers[1].Host.ID()) ||
		strings.Contains(err.Error(), spec.Workers[0].Host.ID()) ||
		!strings.Contains(err.Error(), "manifest for") || !strings.Contains(err.Error(), "next:") {
		t.Errorf("got %v", err)
	}
	for i, e := range f.engines {
		if e.Left() > 0 {
			t.Errorf("host %d: something was started", i)
		}
	}
	spec.MinWorkers = 1
	s, err := Up(t.Context(), spec, f.options())
	if err != nil || s.Alive != 2 || s.Healthy {
		t.Errorf("with leave: %+v, %v", s, err)
	}
}

const fleetEnv = "RAYBUILD_TEST_FLEET"

type fleetRequest struct{ Yaml, Known, Key string }

// TestFleetLauncher is a launcher in a process of its own, for TestSixtyFourHosts.
func TestFleetLauncher(t *testing.T) {
	data := os.Getenv(fleetEnv)
	if data == "" {
		t.Skip("it is started by TestSixtyFourHosts")
	}
	var r fleetRequest
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		t.Fatal(err)
	}
	spec, err := Load("cluster.yaml", []byte(r.Yaml))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{SSH: SSH{Config: "none", Agent: "none", KnownHosts: []string{r.Known},
		Identities: []string{r.Key}}}
	s, err := Up(t.Context(), spec, o)
	if err != nil || !s.Healthy || s.Changed != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	fmt.Printf("SECONDS %.3f\n", s.Seconds)
}

func TestSixtyFourHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("64 hosts take some seconds of both CPUs")
	}
	const most = 64
	f := newFleet(t, most)
	measure := func(n int) (seconds float64, rss int64) {
		data, err := json.Marshal(fleetRequest{f.text(fleetImage, n), f.known, f.key})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestFleetLauncher$")
		cmd.Env = append(os.Environ(), fleetEnv+"="+string(data))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, text, _ := strings.Cut(string(out), "SECONDS ")
		if _, err := fmt.Sscanf(text, "%f", &seconds); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return seconds, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	}
	if _, err := Up(t.Context(), f.spec(t, fleetImage, 1), f.options()); err != nil {
		t.Fatal(err)
	}
	one, rssOne := measure(1)
	if _, err := Up(t.Context(), f.spec(t, fleetImage, most), f.options()); err != nil {
		t.Fatal(err)
	}
	all, rssAll := measure(most)
	t.Logf("no-op up: 1 host %.2f s, %d MiB; %d hosts %.2f s, %d MiB", one, rssOne, most, all, rssAll)
	if all > 5 {
		t.Errorf("%d hosts take %.2f s, more than 5 s", most, all)
	}
	if rssAll-rssOne > 64 {
		t.Errorf("%d hosts take %d MiB more than one, more than 64 MiB", most, rssAll-rssOne)
	}
	var left sync.WaitGroup
	for _, e := range f.engines {
		left.Go(func() {
			if n := len(e.Containers()); n != 1 {
				t.Errorf("%s has %d containers", e.Name, n)
			}
		})
	}
	left.Wait()
}
