package convert

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/layers"
)

// growthWheel is how many bytes each of the wheels of TestGrowth has.
const growthWheel = 100_000

// What a layer takes depends on the bytes of its wheels, and not on how many wheels there are: one in a layer each, and
// all in one layer. CPU time is measured, and each number's best of three counts: other programs take their share of
// the clock, and caches.
func TestGrowth(t *testing.T) {
	testneeds.Long(t)
	s := &shelf{files: map[digest.Digest][]byte{}}
	var wheels []layers.Artifact
	rng := rand.NewChaCha8([32]byte{1})
	for i := range 800 {
		text := make([]byte, growthWheel)
		_, _ = rng.Read(text)
		wheels = append(wheels, s.wheel(t, fmt.Sprintf("wheel%d", i), string(text)))
	}
	for _, c := range []struct {
		name   string
		layers func(wheels []layers.Artifact) []layers.WheelLayer
	}{
		{"a layer each", func(wheels []layers.Artifact) (all []layers.WheelLayer) {
			for _, w := range wheels {
				all = append(all, layerOf(w.Name, w))
			}
			return all
		}},
		{"one layer", func(wheels []layers.Artifact) []layers.WheelLayer {
			return []layers.WheelLayer{layerOf("all", wheels...)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			each := map[int]time.Duration{}
			for _, n := range []int{50, 200, 800} {
				for range 3 {
					took := convertAll(t, s, c.layers(wheels[:n])) / time.Duration(n)
					if each[n] == 0 || took < each[n] {
						each[n] = took
					}
				}
				t.Logf("%d wheels: %v of CPU time for each", n, each[n])
			}
			for _, n := range []int{200, 800} {
				if each[n] > 2*each[50] {
					t.Errorf("one of %d wheels takes %v of CPU time: more than twice the %v that one of 50 takes",
						n, each[n], each[50])
				}
			}
		})
	}
}

// convertAll makes layers, and gives the CPU time that it took. Each wheel is opened once.
func convertAll(t *testing.T, s *shelf, all []layers.WheelLayer) time.Duration {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	var keys []digest.Digest
	wheels := 0
	for _, l := range all {
		keys, wheels = append(keys, l.Key), wheels+len(l.Wheels)
	}
	opens, before := s.opens, cpuTime(t)
	c := open(t, dir, s, Options{}, all...)
	c.Start(keys)
	for _, k := range keys {
		if _, err := c.Layer(t.Context(), k, false); err != nil {
			t.Fatal(err)
		}
	}
	took := cpuTime(t) - before
	if n := s.opens - opens; n != wheels {
		t.Errorf("%d wheels were opened %d times", wheels, n)
	}
	c.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return took
}

// cpuTime is what this process has taken of the CPUs.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
