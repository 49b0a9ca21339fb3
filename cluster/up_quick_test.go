package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker/enginetest"
)

// TestQuickLookNoticesWhatChanged changes one thing on a host of a cluster that is up. What up
// recorded when it made the containers must not hide it.
func TestQuickLookNoticesWhatChanged(t *testing.T) {
	t.Parallel()
	of := func(e *enginetest.Engine, change func()) func() { return func() { e.Become(change) } }
	for name, tt := range map[string]struct {
		change  func(f *fakeFleet, e *enginetest.Engine) func()
		changed int
		asks    bool   // the Engine has to be asked about its host
		fails   string // with this in the error
		warns   string
	}{
		"nothing": {func(*fakeFleet, *enginetest.Engine) func() { return func() {} }, 0, false, "", ""},
		"less memory": {func(_ *fakeFleet, e *enginetest.Engine) func() {
			return of(e, func() { e.Memory = 8 << 30 })
		}, 1, true, "", ""},
		"more CPUs": {func(_ *fakeFleet, e *enginetest.Engine) func() { return of(e, func() { e.CPUs = 16 }) },
			1, true, "", ""},
		"another Engine": {func(_ *fakeFleet, e *enginetest.Engine) func() {
			return of(e, func() { e.Version = "29.1.0" })
		}, 0, true, "", ""},
		"a wrong clock": {func(_ *fakeFleet, e *enginetest.Engine) func() {
			return of(e, func() { e.Skew = time.Hour })
		}, 0, false, "", "the clock of"},
		"a public address": {func(f *fakeFleet, _ *enginetest.Engine) func() { return func() { f.public.Store(1) } }, 0,
			true, "public address 8.8.8.8", ""},
		"a stopped node": {func(_ *fakeFleet, e *enginetest.Engine) func() { return func() { e.Put("exited") } }, 1,
			true, "", ""},
		"a paused node": {func(_ *fakeFleet, e *enginetest.Engine) func() { return func() { e.Put("paused") } }, 1,
			true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2)
			spec, err := Load("cluster.yaml", []byte(strings.NewReplacer("num_cpus: 2\n", "", "shm_size: 100m\n",
				"").Replace(f.text(fleetImage, 2))))
			if err != nil {
				t.Fatal(err)
			}
			if s, err := Up(t.Context(), spec, f.options()); err != nil || !s.Healthy {
				t.Fatalf("%+v, %v", s, err)
			}
			e := f.engines[1]
			tt.change(f, e)()
			e.Calls()
			s, err := Up(t.Context(), spec, f.options())
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("up says %v, not %q", err, tt.fails)
				}
			case err != nil || s.Changed != tt.changed || !s.Healthy:
				t.Errorf("up makes %d changes necessary, and did: %+v, %v", tt.changed, s, err)
			case tt.warns != "" && !strings.Contains(strings.Join(s.Warnings, "\n"), tt.warns):
				t.Errorf("no warning %q: %v", tt.warns, s.Warnings)
			}
			if n := e.Calls()["GET /info"]; (n > 0) != tt.asks {
				t.Errorf("the Engine was asked about its host %d times; it has to be: %v", n, tt.asks)
			}
		})
	}
}

// TestEngineInAVirtualMachineIsAskedEachTime: the kernel that we reach says nothing of the machine
// that the Engine is in.
func TestEngineInAVirtualMachineIsAskedEachTime(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.larger.Store(1 << 30)
	spec := f.spec(t, fleetImage, 1)
	for i, changed := range []int{1, 0, 0} {
		f.engines[0].Calls()
		if s, err := Up(t.Context(), spec, f.options()); err != nil || s.Changed != changed {
			t.Fatalf("up %d: %+v, %v; want %d changes", i, s, err, changed)
		}
		if f.engines[0].Calls()["GET /info"] == 0 {
			t.Errorf("up %d rests on what was recorded", i)
		}
	}
}
