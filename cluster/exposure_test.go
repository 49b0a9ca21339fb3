package cluster

import (
	"strings"
	"testing"
)

// TestM3HostThatShowsNoAddresses has accounts that may not run cat, as with nologin.
func TestM3HostThatShowsNoAddresses(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.mute.Store(true)
	text := strings.Replace(f.text(fleetImage, 1), "}\n", ", private_address: 10.7.0.1}\n", 1)
	up := func(more string) (*Status, error) {
		spec, err := Load("cluster.yaml", []byte(text+more))
		if err != nil {
			t.Fatal(err)
		}
		return Up(t.Context(), spec, f.options())
	}
	if _, err := up(""); err == nil || !strings.Contains(err.Error(), "does not show its addresses") ||
		!strings.Contains(err.Error(), "allow_public: [unknown]") {
		t.Errorf("up of a host of which nothing is known: %v", err)
	}
	if n := len(f.engines[0].Containers()); n > 0 {
		t.Errorf("%d containers were made", n)
	}
	if s, err := up("allow_public: [unknown]\n"); err != nil || !s.Healthy {
		t.Errorf("up of a host that is accepted: %v\n%s", err, s)
	}
	if _, err := Load("cluster.yaml", []byte(text+"allow_public: [unknwn]\n")); err == nil {
		t.Error("a word that is none is accepted")
	}
}
