package registry

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// within gives a call a time of its own, in which it has to end by itself.
func within(t *testing.T, most time.Duration, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(most):
		t.Fatalf("it has not ended after %v", most)
		return nil
	}
}

// A registry that takes a manifest and never answers holds a tag for no longer than one that is
// silent holds a question, whatever a push of the same client may wait for.
func TestTagThroughSilence(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	host, _ := start(t, faultyregistry.Silent(t.Context(),
		func(r *http.Request) bool { return silent.Load() && faultyregistry.Manifest(r) }))
	b := layered(t, 3000)
	c := client(Options{Timeout: 200 * time.Millisecond})
	o := quick(host + "/ray:1")
	o.Stall, o.Answer = 10*time.Second, 10*time.Minute
	if _, err := c.Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	silent.Store(true)
	err := within(t, 30*time.Second, func() error { return c.Tag(t.Context(), host+"/ray:1", host+"/ray:2") })
	if err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("error %v does not say that the registry did not answer", err)
	}
}

// A push waits for an answer as long as it says, also where the client asked something of less patience before.
func TestPushIsAsPatientAsItSays(t *testing.T) {
	t.Parallel()
	host, _ := start(t, faultyregistry.Stalling(t.Context(), faultyregistry.Commit, 1, 3*time.Second))
	b := layered(t, 3000)
	c := client(Options{Timeout: 500 * time.Millisecond})
	if err := c.CanPush(t.Context(), host+"/ray:1"); err != nil {
		t.Fatal(err)
	}
	o := quick(host + "/ray:1")
	o.Stall, o.Answer, o.Retry = 30*time.Second, time.Minute, -1
	if _, err := c.Push(t.Context(), b.root, b.source, o); err != nil {
		t.Errorf("the registry answered after three seconds, the push may wait for a minute: %v", err)
	}
}

// No reference is written where one of them cannot be read.
func TestTagReadsAllNamesFirst(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	push(t, host+"/ray:1", image(t, amd64(), nil))
	asked.reset()
	if err := client(Options{}).Tag(t.Context(), host+"/ray:1", host+"/ray:2", "Bad"); err == nil ||
		asked.count("") != 0 {
		t.Errorf("error %v after requests %v, want one before the first", err, asked.list)
	}
}
