package cluster

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNodeOfAHostThatIsOffIsNoStranger has a Ray that still counts a node whose host does not answer any more.
func TestNodeOfAHostThatIsOffIsNoStranger(t *testing.T) {
	f := newFleet(t, 3)
	spec := f.spec(t, fleetImage, 3)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	f.servers[2].Close()
	s, err := Inspect(t.Context(), spec, f.options())
	if err != nil {
		t.Fatal(err)
	}
	text := s.String()
	if len(s.Foreign) > 0 || strings.Contains(text, "not in cluster.yaml") {
		t.Errorf("the node of the host that is off is taken for a stranger: %v", s.Foreign)
	}
	if s.Alive != 2 || s.Healthy || strings.Count(text, "host unreachable: ") != 1 || strings.Count(text, "Ray counts it alive until its time-out") != 1 {
		t.Errorf("the status does not say once that the host is unreachable and Ray still counts it:\n%s", text)
	}
	if n := s.Nodes[2]; n.Container != "unknown" || n.Ray != "unknown" {
		t.Errorf("got %+v", n)
	}

	spec.MinWorkers, spec.SkipUnreachable = 1, true
	o := f.options()
	var story strings.Builder
	o.Log = &story
	s, err = Up(t.Context(), spec, o)
	if err != nil || !s.Enough || s.Healthy || s.Alive != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if want := "cluster fleet is up without 1 node: 2 nodes alive, nothing changed\n"; !strings.HasSuffix(story.String(), want) {
		t.Errorf("the story does not end with %q:\n%s", want, story.String())
	}
	if want := "cluster fleet: up without 1 node, as min_workers allows, 2 of 3 nodes alive"; !strings.HasPrefix(s.String(), want) {
		t.Errorf("want %q, got\n%s", want, s)
	}
	if data, err := json.Marshal(s); err != nil || !strings.Contains(string(data), `"enough":true`) {
		t.Errorf("%s, %v", data, err)
	}
}

// TestStoppedContainerThatRayStillCounts has a Ray that does not notice yet that a node's container was stopped.
func TestStoppedContainerThatRayStillCounts(t *testing.T) {
	f := newFleet(t, 2)
	f.stale.Store(true)
	spec := f.spec(t, fleetImage, 2)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	f.engines[1].Put("exited")
	s, err := Inspect(t.Context(), spec, f.options())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Nodes[1]; s.Alive != 1 || n.Ray != "unknown" || !strings.Contains(n.Why, "its container is exited, exit code 0") || !strings.HasSuffix(n.Why, untilTimeOut) {
		t.Errorf("the status does not say that the container has ended and Ray still counts it:\n%s", s)
	}
}

// TestLostJob has a Ray that takes a job and does not know it afterwards, as after the head's start anew.
func TestLostJob(t *testing.T) {
	f := newFleet(t, 1)
	spec := f.spec(t, fleetImage, 1)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	res, err := Submit(t.Context(), spec, Job{Argv: []string{"sleep", "60"}}, &out, &out, f.options())
	if err == nil || !strings.Contains(err.Error(), "the job was lost with the head") || strings.Contains(err.Error(), "goes on") {
		t.Errorf("the error does not say that the job was lost: %v", err)
	}
	if res == nil || res.Status != "LOST" || res.ExitCode != 1 {
		t.Errorf("got %+v", res)
	}
}
