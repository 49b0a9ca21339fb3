package cluster

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/docker/enginetest"
)

const fleetTag = "registry.example/ray:1"

// tagged is a fleet whose registry has a tag, and whose image says what is in it only once it is pulled.
func tagged(t *testing.T, n int) *fakeFleet {
	f := newFleet(t, n)
	_, digest := splitDigest(fleetImage)
	for _, e := range f.engines {
		e.Digests = map[string]string{fleetTag: digest}
	}
	return f
}

// TestLockIsLookedAtBeforeThePull has a launcher at work on a cluster whose image no host has.
func TestLockIsLookedAtBeforeThePull(t *testing.T) {
	t.Parallel()
	f := tagged(t, 2)
	spec := f.spec(t, fleetTag, 2)
	f.engines[0].Images[toolImage] = nil
	h, err := docker.Dial(t.Context(), target(spec.Head.Host), f.options().SSH.options())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Create(t.Context(), docker.Create{Name: lockName("fleet"), Image: toolImage,
		Labels: map[string]string{labelCluster: "fleet", labelRole: roleLock, labelOwner: "root@vm",
			labelDeadline: time.Now().Add(time.Hour).Format(time.RFC3339Nano)}}); err != nil {
		t.Fatal(err)
	}
	_, err = Up(t.Context(), spec, f.options())
	var busy *LockedError
	if !errors.As(err, &busy) || busy.Owner != "root@vm" || busy.Left < 3000 || busy.Left > 3600 {
		t.Errorf("up does not say who works on the cluster: %v", err)
	}
	for i, e := range f.engines {
		if n := e.Calls()["POST /images/create"]; n > 0 {
			t.Errorf("host %d has pulled %d times", i, n)
		}
	}
}

func TestLockedErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	got := (&LockedError{Cluster: "demo", LockInfo: LockInfo{Owner: "root@vm", Left: 27.6}}).Error()
	if want := "root@vm runs `up`, `scale` or `down` on cluster \"demo\" now: wait until that ends, then run again " +
		"(if it was killed, its lock ends in 28 s)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPullIsUnderTheLock: two launchers that begin at once do not both pull.
func TestPullIsUnderTheLock(t *testing.T) {
	t.Parallel()
	f := tagged(t, 2)
	f.engines[0].Pulling = func() {
		if !slices.ContainsFunc(f.engines[0].Containers(), func(c enginetest.Container) bool {
			return c.Name == lockName("fleet")
		}) {
			t.Error("the head's host pulls, and nobody has the lock")
		}
	}
	s, err := Up(t.Context(), f.spec(t, fleetTag, 2), f.options())
	if err != nil || !s.Healthy || s.Changed != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err = Up(t.Context(), f.spec(t, fleetTag, 2), f.options()); err != nil || s.Changed != 0 {
		t.Errorf("again: %+v, %v", s, err)
	}
}

// TestWorkersPullWithTheHead has an image that tells nothing before it is pulled: its digest is enough to pull it.
func TestWorkersPullWithTheHead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		free  int64
		early bool
	}{
		"much room":                   {90 << 30, true},
		"room that may be too little": {20 << 30, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := tagged(t, 3)
			f.free.Store(tt.free)
			var pulling atomic.Int64
			all, done := make(chan struct{}), t.Context().Done()
			worker := func() {
				if pulling.Add(1) == 3 {
					close(all)
				}
			}
			f.engines[1].Pulling, f.engines[2].Pulling = worker, worker
			f.engines[0].Pulling = func() {
				if !tt.early {
					if n := pulling.Add(1); n != 1 {
						t.Errorf("the head is number %d of those that pull", n)
					}
					return
				}
				worker()
				select { // the head's pull ends after the workers' have begun
				case <-all:
				case <-time.After(10 * time.Second):
					t.Error("workers wait for the head")
				case <-done:
				}
			}
			s, err := Up(t.Context(), f.spec(t, fleetTag, 3), f.options())
			if err != nil || !s.Healthy {
				t.Fatalf("%+v, %v", s, err)
			}
			for i, e := range f.engines {
				if n := e.Calls()["POST /images/create"]; n != 1 {
					t.Errorf("host %d pulled %d times", i, n)
				}
			}
		})
	}
}
