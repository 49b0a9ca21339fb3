package cluster

import (
	"strings"
	"testing"
)

// A label that says that Ray is newer than it is makes no cluster without a token: the image itself is asked, once.
func TestL12LabelOfRay(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.engines[0].Ray = "2.40.0"
	_, err := Up(t.Context(), f.spec(t, fleetImage, 2), f.options())
	if err == nil || !strings.Contains(err.Error(), "its label says that it has Ray 2.52.0") ||
		!strings.Contains(err.Error(), "prints 2.40.0") {
		t.Fatalf("a wrong label is believed: %v", err)
	}
	for i, e := range f.engines {
		for route := range e.Calls() {
			if i > 0 && strings.HasPrefix(route, "POST /containers") {
				t.Errorf("host %d made a container: %s", i, route)
			}
		}
	}
	f.engines[0].Ray = ""
	if s, err := Up(t.Context(), f.spec(t, fleetImage, 2), f.options()); err != nil || !s.Healthy {
		t.Fatalf("the right label: %+v, %v", s, err)
	}
	f.engines[0].Ray = "0.0.0" // nobody asks again, also if another node is made
	if s, err := Scale(t.Context(), f.spec(t, fleetImage, 2), 0, f.options()); err != nil || s.Alive != 1 {
		t.Fatalf("scale to no worker: %+v, %v", s, err)
	}
	if s, err := Scale(t.Context(), f.spec(t, fleetImage, 2), 1, f.options()); err != nil || s.Alive != 2 {
		t.Errorf("scale asks the image once more: %+v, %v", s, err)
	}
}
