package llb_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"context"

	"github.com/raybuild/raybuild/llb"
)

func TestLayersOfTheBaseAreNotFetchedToPush(t *testing.T) {
	var mu sync.Mutex
	var fetched []string
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			mu.Lock()
			fetched = append(fetched, r.URL.Path)
			mu.Unlock()
		}
		reg.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w := newWorld(t)
	w.host = strings.TrimPrefix(srv.URL, "http://")
	base := w.push(t, "base:1", "")
	img := filesImage(amd64, "x")
	img.Base, img.BaseLayers = llb.From(base), []string{"1", "2"}
	res := build(t, connect(t), w, img, llb.BuildOptions{Names: []string{w.host + "/ray:1"}, Push: true})
	if len(res.Images[0].Layers) != 4 {
		t.Errorf("layers %+v", res.Images[0].Layers)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(fetched) > 1 { // its config
		t.Errorf("fetched %q", fetched)
	}
}

func TestBuildsLeaveNothingRunning(t *testing.T) {
	w, b := newWorld(t), connect(t)
	build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{})
	settled := runtime.NumGoroutine()
	for i := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		st := llb.From(w.base).Run(sh("x", "sleep", `sleep 60; : `+strings.Repeat("x", i)))
		time.AfterFunc(500*time.Millisecond, cancel)
		if _, err := b.ReadFiles(ctx, st, amd64, nil, llb.Session{}); err == nil {
			t.Error("no error")
		}
	}
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > settled+3 {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), settled, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestConnectDialer(t *testing.T) {
	addr := builderAddr(t)
	path, ok := strings.CutPrefix(addr, "unix://")
	if !ok {
		t.Skipf("builder %s is not on a socket", addr)
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	other, err := llb.ConnectDialer(t.Context(), "mine", llb.Dialer{Control: dial})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	build(t, other, paper(), filesImage(amd64, "x"), llb.BuildOptions{})
}
