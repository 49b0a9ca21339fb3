package cluster

import (
	"errors"
	"maps"
	"testing"
)

func TestHostThatIsOffChangesNoFilter(t *testing.T) {
	t.Parallel()
	spec := load(t, threeHosts+"filter: true\n")
	facts := factsOf(spec)
	image := testImage("2.60.0")
	digests := func(l *launch) map[string]string {
		t.Helper()
		desired, err := planContainers(spec, facts, image)
		if err != nil {
			t.Fatal(err)
		}
		_, out := wantedFilters(l.mark(), spec.Allow, desired, l.absent(), nil)
		return out
	}
	l := &launch{spec: spec}
	all := digests(l)
	off := spec.Workers[1].Host.ID()
	l.fleet.down = map[string]error{off: errors.New("no answer")}
	delete(facts, off)
	delete(all, off)
	if got := digests(l); len(got) != 2 || !maps.Equal(got, all) {
		t.Errorf("the filters of the other hosts are %v while one is off, want %v", got, all)
	}
}
