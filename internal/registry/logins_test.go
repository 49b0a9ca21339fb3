package registry

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"
)

// The client does not try a token that may have ended. It asks for another one first.
func TestALoginEnds(t *testing.T) {
	t.Parallel()
	host, asked := start(t, bearer(t, "", ""))
	c := client(Options{})
	c.Login(t.Context(), host+"/ray:1")
	if n := asked.count("GET /token"); n != 1 {
		t.Errorf("a login took %d tokens, want one", n)
	}
	for range 2 {
		if err := c.CanPush(t.Context(), host+"/ray:1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.count("GET /token"); n != 1 {
		t.Errorf("two questions after a login took %d tokens, want the same one", n)
	}
	c.logins.lifetime = 0
	if err := c.CanPush(t.Context(), host+"/ray:1"); err != nil {
		t.Fatal(err)
	}
	if n := asked.count("GET /token"); n < 2 {
		t.Errorf("a token was used after its time: %v", asked.list)
	}
	if n := asked.count("GET /v2/"); n != 1 {
		t.Errorf("the registry was asked %d times how it wants a login, want once", n)
	}
}

// A call that waits for the login of another call waits only as long as its own context lasts.
func TestALoginThatHangs(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	host, _ := start(t, func(next http.Handler) http.Handler {
		next = bearer(t, "", "")(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				began <- struct{}{}
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c := client(Options{Timeout: time.Minute})
	first, stop := context.WithCancel(t.Context())
	var login sync.WaitGroup
	login.Go(func() { c.Login(first, host+"/ray:1") })
	defer login.Wait()
	defer stop()
	<-began
	second, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := within(t, 20*time.Second, func() error { return c.CanPush(second, host+"/ray:1") }); err == nil {
		t.Error("a push is allowed without a login")
	}
}
