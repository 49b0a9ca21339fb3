package raybuild

import (
	"slices"
	"strings"
	"testing"
)

// A BuildKit that does not limit processes builds, and the user is told.
func TestBuilderThatKeepsNoLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	told := func() bool {
		return slices.ContainsFunc(s.events, func(e Event) bool {
			return e.Kind == Warning && strings.Contains(e.Text, "does not keep limits.pids")
		})
	}
	s.build(BuildOptions{})
	if told() {
		t.Error("the user is warned of limits that nobody has set")
	}
	s.Edit("raybuild.yaml", `"echo hello > /opt/note"`, `"echo bye > /opt/note", limits: {memory: 1g, pids: 100}`)
	s.build(BuildOptions{})
	if !told() {
		t.Errorf("nobody was told that the builder does not limit processes: %v", s.events)
	}
}
