package llb_test

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// cacheServer is where a cache is, behind a proxy that counts what is read of it, and whose answers a test may replace.
type cacheServer struct {
	host string
	next http.Handler
	bad  atomic.Pointer[http.Handler] // answers in its place
	read atomic.Int64                 // bytes
}

func newCacheServer(t *testing.T, next http.Handler) *cacheServer {
	t.Helper()
	s := &cacheServer{next: next}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &countedWriter{ResponseWriter: w, add: func(n int) { s.read.Add(int64(n)) }}
		if bad := s.bad.Load(); bad != nil {
			(*bad).ServeHTTP(counted, r)
			return
		}
		next.ServeHTTP(counted, r)
	}))
	s.host = strings.TrimPrefix(srv.URL, "http://")
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return s
}

// embeddedRegistry is raybuild's own registry.
func embeddedRegistry(t *testing.T) http.Handler {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() { done <- registry.Serve(ctx, ln, dir) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ln.Addr().String()})
}

// spoil puts a fault before the server from now on.
func (s *cacheServer) spoil(fault faultyregistry.Middleware) {
	bad := fault(s.next)
	s.bad.Store(&bad)
}

// taken is how many bytes were read since the last call.
func (s *cacheServer) taken() int64 { return s.read.Swap(0) }

type countedWriter struct {
	http.ResponseWriter
	add func(int)
}

// Write implements io.Writer.
func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.add(n)
	return n, err
}

// Unwrap lets http.ResponseController flush.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// noise is text that does not become smaller by compression, and is the same in every call.
func noise(seed string, size int) string {
	r := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(seed))))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

const heavy = 600_000 // bytes of each heavy layer of chainImage

// chain says what the layers of chainImage are made of.
type chain struct{ env, data, ray string }

// chainImage has a heavy layer, env, that the step of another one, ray, mounts, and a heavy one,
// data, that nothing needs.
func chainImage(w *world, c chain) llb.Image {
	tool := llb.From(w.base)
	img := llb.Image{Platform: amd64, Base: tool, BaseLayers: []string{"base 1", "base 2"}}
	made := func(layer, artifact string, more ...llb.Mount) llb.Stage {
		frame := llb.Scratch().Files("["+layer+"] make frame", llb.File{Path: "/opt/" + layer, Dir: true})
		e := sh(layer, "install", `touch -d @315532801 /tmp/marker; cp /in/* $OUT/; cat $OUT/* > /dev/null`+clamp)
		e.Env, e.Tmpfs = map[string]string{"OUT": "/opt/" + layer}, []string{"/tmp"}
		e.Mounts = append([]llb.Mount{{Path: "/in", Stage: llb.Artifact(w.add(layer, artifact))}}, more...)
		st := llb.Diff("["+layer+"] layer", frame,
			tool.Make(e, llb.Output{Path: "/opt/" + layer, On: frame, From: "/opt/" + layer}))
		img.Layers = append(img.Layers, llb.Layer{Name: layer, Stage: st})
		return st
	}
	env := made("env", noise("env"+c.env, heavy))
	if c.data != "" {
		made("data", noise("data"+c.data, heavy))
	}
	made("ray", "wheel "+c.ray, llb.Mount{Path: "/env", Stage: env})
	return img
}
