//go:build unix

package convert

import (
	"fmt"
	"math/rand/v2"
	"os"
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
// all in one layer. CPU time is measured, one number of wheels right after the other, and the best round counts: other
// programs take their share of the clock, of caches and of the core. Short bursts run faster than long ones, up to 1.7
// times here; what grows with the number of wheels would take 16 times.
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
			ratio := map[int]float64{}
			for range 5 {
				few := convertAll(t, s, c.layers(wheels[:50])) / 50
				for _, n := range []int{200, 800} {
					each := convertAll(t, s, c.layers(wheels[:n])) / time.Duration(n)
					r := float64(each) / float64(few)
					t.Logf("CPU time for each of 50 wheels %v, of %d wheels %v: %.2f times", few, n, each, r)
					if ratio[n] == 0 || r < ratio[n] {
						ratio[n] = r
					}
				}
			}
			for n, r := range ratio {
				if r > 3 {
					t.Errorf("one of %d wheels takes %.2f times the CPU time of one of 50, at the best of 5", n, r)
				}
			}
		})
	}
}

// convertAll makes layers, and gives the CPU time that it took. Each wheel is opened once.
func convertAll(t *testing.T, s *shelf, all []layers.WheelLayer) time.Duration {
	t.Helper()
	dir := inMemory(t)
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

// inMemory is a new directory on a file system in memory, where the machine has one. ext4 looks at every inode that was
// deleted in the last seconds before it gives one to a new file: after tests that delete much, most of the CPU time
// would be the kernel's.
func inMemory(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "raybuild-growth-") //nolint:usetesting // on this file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
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
