package registry

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// hanging is a reader that gives nothing until it is let go of.
type hanging struct{ until <-chan struct{} }

func (h hanging) Read([]byte) (int, error) { <-h.until; return 0, context.Canceled }
func (h hanging) Close() error             { return nil }

// A source that hands out nothing is what the error names, and no registry; one that goes on again is pushed.
func TestPushFromASourceThatStalls(t *testing.T) {
	t.Parallel()
	stall := func(ctx context.Context, inOpen bool) (io.ReadCloser, error) {
		if inOpen {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return hanging{ctx.Done()}, nil
	}
	for name, inOpen := range map[string]bool{"when it is opened": true, "when it is read": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, _ := start(t, nil)
			b := layered(t, 3000)
			o := quick(host + "/ray:1")
			o.Retry, o.Stall = 100*time.Millisecond, 100*time.Millisecond
			source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
				if d.Size == b.bytes {
					return stall(ctx, inOpen)
				}
				return b.source(ctx, d, offset)
			}
			_, err := client(Options{}).Push(t.Context(), b.root, source, o)
			if err == nil || !strings.Contains(err.Error(), "read what is to be pushed: nothing moved") ||
				strings.Contains(err.Error(), "did not answer") {
				t.Errorf("error %v is not about what is pushed", err)
			}
			absent(t, host+"/ray:1")
			once := &atomic.Bool{}
			o.Retry = 5 * time.Second
			_, err = client(Options{}).Push(t.Context(), b.root,
				func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
					if d.Size == b.bytes && once.CompareAndSwap(false, true) {
						return stall(ctx, inOpen)
					}
					return b.source(ctx, d, offset)
				}, o)
			if err != nil {
				t.Fatalf("the source stalled once, and the push failed: %v", err)
			}
			arrived(t, host+"/ray:1", b)
		})
	}
}

// A registry that was never reached is given up soon, with a word on how long it was tried; a name of no host at once.
func TestPushToARegistryThatIsDown(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	silent, _ := start(t, faultyregistry.Stalling(t.Context(), func(*http.Request) bool { return true },
		1<<60, time.Minute))
	b := layered(t, 3000)
	noName := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp",
			Err: &net.DNSError{Err: "no such host", Name: "registry.invalid", IsNotFound: true}}
	}}
	for name, c := range map[string]struct {
		host  string
		with  Options
		says  []string
		tries bool
	}{
		"refuses the connection": {refused, Options{}, []string{"connection refused", "--push-retry"}, true},
		"says nothing":           {silent, Options{}, []string{"did not answer in time", "--push-retry"}, true},
		"has no address": {"registry.invalid", Options{Transport: noName},
			[]string{`no address for host "registry.invalid"`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := quick(c.host + "/ray:1")
			o.Retry, o.Reach = 10*time.Minute, 300*time.Millisecond
			tries := &atomic.Int64{}
			o.Log = func(string, ...any) { tries.Add(1) }
			began := time.Now()
			_, err := client(c.with).Push(t.Context(), b.root, b.source, o)
			if took := time.Since(began); err == nil || took > time.Minute {
				t.Fatalf("error %v after %v: a registry that never answered is tried for as long as one that broke",
					err, took)
			}
			for _, want := range append(c.says, c.host) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if tried := tries.Load() > 0; tried != c.tries {
				t.Errorf("it was tried again: %v, want %v", tried, c.tries)
			}
		})
	}
}

// A registry that is lost in the middle has the whole patience, not that for one which never was there.
func TestPushToARegistryThatIsLostInTheMiddle(t *testing.T) {
	t.Parallel()
	b := layered(t, 3000)
	handler, unlock, err := openServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	synctest.Test(t, func(t *testing.T) {
		lost := &atomic.Int64{} // when, in Unix nanoseconds
		registry := faultyregistry.Cutting(func(r *http.Request) bool {
			if faultyregistry.Post(r) {
				lost.CompareAndSwap(0, time.Now().UnixNano())
			}
			return true
		}, func() bool {
			at := lost.Load()
			return at != 0 && time.Since(time.Unix(0, at)) < 500*time.Millisecond
		})(handler)
		c := client(Options{Transport: answering(registry)})
		o := quick("localhost/ray:1")
		o.Reach = 50 * time.Millisecond
		if _, err := c.Push(t.Context(), b.root, b.source, o); err != nil {
			t.Fatalf("it was away for half a second, and the push failed: %v", err)
		}
		if err := c.Validate(t.Context(), "localhost/ray:1"); err != nil {
			t.Errorf("what was pushed is not whole: %v", err)
		}
	})
}

// A layer whose upload is answered 401 is sent once, with the token that was fetched then; where
// the registry took it in before it said so, once more, and not as a failure.
func TestPushWhoseUploadIsUnauthorized(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		takesIn bool
		sent    int64 // times the layer
	}{"before its body": {false, 1}, "after its body": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := layered(t, 4<<20)
			refused := &atomic.Bool{}
			host, _ := start(t, faultyregistry.Expiring(func(r *http.Request) bool {
				if !faultyregistry.Body(r) || r.ContentLength <= 1<<20 || !refused.CompareAndSwap(false, true) {
					return false
				}
				if c.takesIn {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				return true
			}))
			o := quick(host + "/ray:1")
			o.Log = func(format string, args ...any) {
				t.Errorf("a token that ran out is told as trouble: "+format, args...)
			}
			done, err := client(Options{}).Push(t.Context(), b.root, b.source, o)
			if err != nil {
				t.Fatal(err)
			}
			if !refused.Load() || done.Bytes != c.sent*b.bytes {
				t.Errorf("%d bytes were sent for a layer of %d, want it %d times", done.Bytes, b.bytes, c.sent)
			}
			arrived(t, host+"/ray:1", b)
		})
	}
}

// A registry, or a proxy before it, that does not know "Expect: 100-continue" gets layers without it.
func TestPushToARegistryWithoutContinue(t *testing.T) {
	t.Parallel()
	refused := &atomic.Int64{}
	host, _ := start(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Expect") != "" {
				refused.Add(1)
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	b := layered(t, 2<<20)
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	if refused.Load() != 1 {
		t.Errorf("it was asked %d times, want once", refused.Load())
	}
	arrived(t, host+"/ray:1", b)
}
