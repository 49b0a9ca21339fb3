package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// smallImage is an image of two layers in a layout.
func smallImage(t *testing.T) *image {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	var layers []v1.Layer
	for _, size := range []int64{2 << 20, 64 << 10} {
		l, err := random.Layer(size, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	m, err := readImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// impatient makes crane wait as often as it does by default, and not as long.
func impatient(o *crane.Options) {
	o.Remote = append(o.Remote, remote.WithRetryBackoff(remote.Backoff{Duration: 10 * time.Millisecond, Factor: 3,
		Jitter: 0.1, Steps: 3}))
}

// What should become of a push becomes of raybuild's with each fault of the matrix, and so nothing
// that crane gets done is beyond it. With buildctl the rows run in make bench-faults.
func TestFaultsOfARegistry(t *testing.T) {
	testneeds.Long(t)
	m := smallImage(t)
	ours := ourselves{
		client:  registry.Options{Timeout: 10 * time.Second},
		options: registry.PushOptions{Retry: 30 * time.Second, Answer: 2 * time.Second, Pause: time.Millisecond},
	}
	for _, r := range rows(scale{slow: 800 * time.Millisecond, after: time.Second}) {
		t.Run(r.id+" "+r.fault, func(t *testing.T) {
			t.Parallel()
			dir, ours := t.TempDir(), ours
			if r.id == "R3" { // elsewhere a busy machine is not to be taken for a registry that says nothing
				ours.options.Stall = 500 * time.Millisecond
			} else {
				ours.options.Answer = 0
			}
			mine, err := measure(t.Context(), filepath.Join(dir, "raybuild"), m, r, ours, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			crane, err := measure(t.Context(), filepath.Join(dir, "crane"), m, r,
				craning{options: []crane.Option{impatient}}, 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("raybuild: %s (%s); crane: %s (%s)", mine.text(), mine.Error, crane.text(), crane.Error)
			if crane.Right && !mine.Right {
				t.Errorf("crane does what it should, and raybuild does not: %s: %s", mine.text(), mine.Error)
			}
			if !mine.Right {
				t.Errorf("raybuild's push should end well, or fail at once where it must: %s: %s",
					mine.text(), mine.Error)
			}
			if most := m.bytes / 20; r.id != "R3" && mine.Again > most {
				t.Errorf("raybuild sent %d bytes again, of %d; 5 %% are allowed", mine.Again, m.bytes)
			}
		})
	}
}
