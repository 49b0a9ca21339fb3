package cluster

import (
	"strings"
	"testing"
)

func TestOldEnginesCannotStartThreads(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]bool{
		"20.10.9": true, "20.10.5+dfsg1": true, "19.03.12": true, "18.09.1-ce": true, "20.10.10": false,
		"20.10.24+dfsg1": false, "29.0.1": false,
		"": false, "dev": false, "podman-4.3.1": false, "podman-3.0": false,
	} {
		if got := oldSeccomp(engine); (got != "") != want || want && !strings.Contains(got, engine) {
			t.Errorf("Engine %q: warning %q, want one: %v", engine, got, want)
		}
	}
}
