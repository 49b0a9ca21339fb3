package raybuild

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/registry"
)

// Where the builder goes on with a push, layers that raybuild sent before are not told as reused,
// and no byte is counted twice.
func TestReportOfAPushThatTheBuilderEnds(t *testing.T) {
	t.Parallel()
	host := fakesite.ServeRegistry(t)
	manifest, err := pushRandom(t, host+"/ray:1").Manifest()
	if err != nil {
		t.Fatal(err)
	}
	there, sent, mounted := digest.Digest(manifest.Layers[0].Digest.String()),
		digest.Digest(manifest.Layers[1].Digest.String()), digest.Digest(manifest.Layers[2].Digest.String())
	missing := digest.FromString("in no registry")
	made := func(host string) *tally {
		r := &tally{p: &Project{registry: registry.New(registry.Options{Timeout: time.Second})},
			o: &BuildOptions{Names: []string{host + "/ray:1"}}, res: &Result{}}
		for _, d := range []digest.Digest{there, sent, mounted, missing} {
			r.res.Layers = append(r.res.Layers, LayerResult{Digest: d, Size: 100})
		}
		r.pushed(registry.Pushed{Bytes: 100, Reused: map[digest.Digest]bool{sent: false, mounted: true}})
		r.builderPushes(t.Context(), errors.New("nobody has blob 4"))
		return r
	}
	reused := func(r *tally) (out []bool) {
		for _, l := range r.res.Layers {
			out = append(out, l.Reused)
		}
		return out
	}
	r := made(host)
	if got, want := reused(r), []bool{true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("told as reused: %v, want %v: there before, sent by raybuild, mounted by it, sent by the builder", got,
			want)
	}
	if r.res.BytesPushed != 200 || !strings.Contains(fmt.Sprint(r.notes), "nobody has blob 4") {
		t.Errorf("%d bytes, notes %q; want 200, and why the builder pushed", r.res.BytesPushed, r.notes)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	r = made(down)
	if text := fmt.Sprint(r.notes); !strings.Contains(text, "counted as pushed") ||
		!strings.Contains(text, "connection refused") {
		t.Errorf("a registry that does not say what it has is not told: %q", text)
	}
	if got, want := reused(r), []bool{false, false, true, false}; !slices.Equal(got, want) || r.res.BytesPushed != 300 {
		t.Errorf("told as reused: %v with %d bytes, want %v with 300", got, r.res.BytesPushed, want)
	}
}
