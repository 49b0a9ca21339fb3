package cli

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
)

// Where the builder goes on with a push, layers that raybuild sent before are not told as reused, and no byte is counted twice.
func TestReportOfAPushThatTheBuilderEnds(t *testing.T) {
	host := serve(t, t.TempDir())
	manifest, err := pushed(t, host+"/ray:1").Manifest()
	if err != nil {
		t.Fatal(err)
	}
	there, sent, mounted := digest.Digest(manifest.Layers[0].Digest.String()), digest.Digest(manifest.Layers[1].Digest.String()), digest.Digest(manifest.Layers[2].Digest.String())
	missing := digest.FromString("in no registry")
	made := func(host string) *report {
		r := &report{j: &job{registry: registry.New(registry.Options{Timeout: time.Second})}, o: &buildOptions{names: []string{host + "/ray:1"}}}
		for _, d := range []digest.Digest{there, sent, mounted, missing} {
			r.meta.Raybuild.Layers = append(r.meta.Raybuild.Layers, layerMetadata{Digest: d, Size: 100})
		}
		r.pushed(registry.Pushed{Bytes: 100, Reused: map[digest.Digest]bool{sent: false, mounted: true}})
		if err := r.builderPushes(t.Context(), errors.New("nobody has blob 4")); err != nil {
			t.Fatal(err)
		}
		return r
	}
	reused := func(r *report) (out []bool) {
		for _, l := range r.meta.Raybuild.Layers {
			out = append(out, l.Reused)
		}
		return out
	}
	r := made(host)
	if got, want := reused(r), []bool{true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("told as reused: %v, want %v: there before, sent by raybuild, mounted by it, sent by the builder", got, want)
	}
	if r.meta.Raybuild.BytesPushed != 200 || !strings.Contains(strings.Join(r.notes, "\n"), "nobody has blob 4") {
		t.Errorf("%d bytes, notes %q; want 200, and why the builder pushed", r.meta.Raybuild.BytesPushed, r.notes)
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
	if text := strings.Join(r.notes, "\n"); !strings.Contains(text, "counted as pushed") || !strings.Contains(text, "connection refused") {
		t.Errorf("a registry that does not say what it has is not told: %q", text)
	}
	if got, want := reused(r), []bool{false, false, true, false}; !slices.Equal(got, want) || r.meta.Raybuild.BytesPushed != 300 {
		t.Errorf("told as reused: %v with %d bytes, want %v with 300", got, r.meta.Raybuild.BytesPushed, want)
	}
}
