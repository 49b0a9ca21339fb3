package cluster

import (
	"strings"
	"testing"
)

// TestUpAndDownTellOnlyWhatHappened has a cluster that is made, taken down, and taken down again.
func TestUpAndDownTellOnlyWhatHappened(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	o := f.options()
	var log strings.Builder
	o.Log = &log
	head := spec.Head.Host.ID()
	if _, err := Up(t.Context(), spec, o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), head+": created fleet-head\n") {
		t.Errorf("up does not say that it made the head, or says more:\n%s", log.String())
	}
	for _, want := range [][]string{
		{head + ": removed 1 container, 1 volume\n", "cluster fleet is down: 2 containers and 2 volumes removed\n"},
		{"cluster fleet is down: nothing was there\n"},
	} {
		log.Reset()
		if _, err := Down(t.Context(), "fleet", spec.Hosts(), o); err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(log.String(), line) {
				t.Errorf("down does not say %q:\n%s", line, log.String())
			}
		}
	}
	for _, tt := range []struct {
		res  DownResult
		want string
	}{
		{DownResult{Filters: 1}, "1 packet filter removed"},
		{DownResult{Containers: 3, Volumes: 2, Filters: 2}, "3 containers, 2 volumes and 2 packet filters removed"},
	} {
		if got := tt.res.outcome(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
