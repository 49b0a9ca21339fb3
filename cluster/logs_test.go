package cluster

import (
	"io"
	"testing"
)

// TestLogsOfWhatDoesNotRun has a cluster that is down, and then one without a worker.
func TestLogsOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	worker := spec.Workers[0].ID
	const next = "; start it: raybuild cluster up -f cluster.yaml"
	says := func(when, want string, nodes ...string) {
		t.Helper()
		err := Logs(t.Context(), spec, LogOptions{Nodes: nodes}, io.Discard, io.Discard, f.options())
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %q", when, err, want)
		}
	}
	says("all nodes of a cluster that is down", `cluster "fleet" has no containers: it is not up`+next)
	says("a node of it", "node fleet-head: it has no container"+next, "head")
	if _, err := Up(t.Context(), f.spec(t, fleetImage, 1), f.options()); err != nil {
		t.Fatal(err)
	}
	says("without a worker", "node "+worker+": it has no container"+next)
}
