package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// Whoever waits gets a place by rank, and by when it came; who gives up takes nobody's place.
func TestSlotsGoByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{size: 1, urgent: &atomic.Int64{}}
		if err := s.acquire(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 10)
		wait := func(ctx context.Context, name string, rank int) {
			go func() {
				if err := s.acquire(ctx, rank); err != nil {
					got <- name + " gave up"
					return
				}
				got <- name
			}()
			synctest.Wait()
		}
		ctx, giveUp := context.WithCancelCause(t.Context())
		wait(t.Context(), "late", 2)
		wait(ctx, "gone", 0)
		wait(t.Context(), "big 1", 1)
		wait(t.Context(), "first", 0)
		wait(t.Context(), "big 2", 1)
		giveUp(errors.New("no longer wanted"))
		synctest.Wait()
		order := <-got
		for _, rank := range []int{0, 0, 1, 1} {
			s.release(rank)
			synctest.Wait()
			order += ", " + <-got
		}
		if want := "gone gave up, first, big 1, big 2, late"; order != want {
			t.Errorf("places were given to %s; want %s", order, want)
		}
	})
}

// While artifacts of rank 0 are missing the others have a third of the places, and all of them afterwards.
func TestSlotsAreKeptForWhatIsUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hs := newHosts(6, 16)
		hs.missing(2)
		h := &host{slots: &slots{size: hs.perHost, urgent: &hs.urgent}}
		hs.m["mirror:80"] = h
		var have atomic.Int64
		for range 8 {
			go func() {
				if hs.acquire(t.Context(), h, 1) == nil {
					have.Add(1)
				}
			}()
		}
		check := func(when string, want int64) {
			t.Helper()
			if synctest.Wait(); have.Load() != want {
				t.Errorf("%s %d others have a place, want %d", when, have.Load(), want)
			}
		}
		check("while two artifacts of rank 0 are missing", 2)
		for range 4 {
			if err := hs.acquire(t.Context(), h, 0); err != nil {
				t.Fatal(err)
			}
		}
		hs.release(h, 0)
		check("while there is room but for them alone", 2)
		hs.missing(0)
		check("when they are there", 3)
	})
}

// Items of rank 0 that nobody asks for hold others up for a moment only, and one that is fetched no longer does.
func TestUrgentItemsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Options{Store: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			name := fmt.Sprintf("conda-%d", i)
			f.Add(Item{Digest: digest.FromString(name), URL: "https://conda.example/" + name})
		}
		if n := f.hosts.urgent.Load(); n != 3 {
			t.Errorf("%d artifacts of rank 0 are missing, want 3", n)
		}
		time.Sleep(2 * urgentGrace)
		synctest.Wait()
		if n := f.hosts.urgent.Load(); n != 0 {
			t.Errorf("%d artifacts that nobody asked for hold others up after %v", n, 2*urgentGrace)
		}
	})
}
