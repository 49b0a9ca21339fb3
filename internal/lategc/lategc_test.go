package lategc

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// After the first collection memory is collected as it was before.
func TestTheFirstCollectionEndsIt(t *testing.T) {
	runtime.GC() // ends what the package's own initialization began
	before := settled(t)
	putOff()
	if percent, limit := collector(); percent < 1<<31 || limit != early {
		t.Fatalf("garbage is collected at %d %% or %d bytes, want at %d bytes alone", percent, limit, uint64(early))
	}
	runtime.GC()
	if after := settled(t); after != before {
		t.Errorf("after a collection garbage is collected at %d %%, want %d %% as before", after, before)
	}
}

// Who chooses how garbage is collected gets that.
func TestAChoiceIsKept(t *testing.T) {
	runtime.GC()
	before := settled(t)
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "100MiB")
			if unlessChosen() {
				t.Errorf("with %s in the environment collection is put off", name)
			}
			if percent, limit := collector(); percent != before || limit == early {
				t.Errorf("with %s in the environment garbage is collected at %d %% or %d bytes, want as before", name, percent, limit)
			}
		})
	}
}

// settled waits until the limit is gone, which a collection causes, and gives the percentage.
func settled(t *testing.T) uint64 {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, limit := collector(); limit != early { // which is set back last
			percent, _ := collector()
			return percent
		}
	}
	t.Fatal("nothing sets the garbage collector back")
	return 0
}

// collector is what the garbage collector is set to: GOGC, which is huge where it is off, and GOMEMLIMIT in bytes.
func collector() (percent, limit uint64) {
	both := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(both)
	return both[0].Value.Uint64(), both[1].Value.Uint64()
}
