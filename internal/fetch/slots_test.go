package fetch

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// Whoever waits gets a place by rank, and by when it came; who gives up takes nobody's place.
func TestSlotsGoByRank(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// Items of rank 0 that nobody asks for hold others up for a moment only, counted from the first
// question; one that is on its way does until it is there, and one that could not be had does not.
func TestUrgentItemsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Options{Store: t.TempDir(), Candidates: func(*url.URL) []Candidate { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		add := func(name string, rank int) digest.Digest {
			d := digest.FromString(name)
			f.Add(Item{Digest: d, URL: "https://conda.example/" + name, Rank: rank})
			return d
		}
		check := func(when string, want int64) {
			t.Helper()
			if synctest.Wait(); f.hosts.urgent.Load() != want {
				t.Errorf("%s %d artifacts hold others up, want %d", when, f.hosts.urgent.Load(), want)
			}
		}
		asked, wheel := add("asked", 0), add("wheel", 1)
		add("unwanted", 0)
		time.Sleep(2 * urgentGrace)
		check("before anybody asks", 2)
		if _, _, err := f.Open(t.Context(), wheel); err == nil {
			t.Error("a wheel that nobody serves was opened")
		}
		check("when the first was asked for", 2)
		if _, _, err := f.Open(t.Context(), asked); err == nil {
			t.Error("a package that nobody serves was opened")
		}
		check("when one of them cannot be had", 1)
		time.Sleep(2 * urgentGrace)
		check("some seconds later", 0)
	})
}
