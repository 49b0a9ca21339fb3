package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker/enginetest"
)

// TestNodeOfAHostThatIsOffIsNoStranger has a Ray that still counts a node whose host does not answer any more.
func TestNodeOfAHostThatIsOffIsNoStranger(t *testing.T) {
	t.Parallel()
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
	if s.Alive != 2 || s.Healthy || strings.Count(text, "host unreachable: ") != 1 ||
		strings.Count(text, "Ray counts it alive until its time-out") != 1 {
		t.Errorf("the status does not say once that the host is unreachable and Ray still counts it:\n%s", text)
	}
	if n := s.Nodes[2]; n.Container != "unknown" || n.Ray != "unknown" {
		t.Errorf("got %+v", n)
	}

	spec.MinWorkers, spec.SkipUnreachable = 1, true
	o := f.options()
	var log strings.Builder
	o.Log = &log
	s, err = Up(t.Context(), spec, o)
	if err != nil || !s.Enough || s.Healthy || s.Alive != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if want := "cluster fleet is up without 1 node: 2 nodes alive, " +
		"nothing changed\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the log does not end with %q:\n%s", want, log.String())
	}
	if want := "cluster fleet: up without 1 node, as is allowed, 2 of " +
		"3 nodes alive"; !strings.HasPrefix(s.String(), want) {
		t.Errorf("want %q, got\n%s", want, s)
	}
	if data, err := json.Marshal(s); err != nil || !strings.Contains(string(data), `"enough":true`) {
		t.Errorf("%s, %v", data, err)
	}
}

// TestStatusTellsWhyAContainerEnded has a worker that ended, and a Ray that no longer counts it.
func TestStatusTellsWhyAContainerEnded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	start := "\x1b[37mLocal node IP\x1b[39m: \x1b[1m10.7.0.2\x1b[22m\n"
	for _, tt := range []struct {
		end  enginetest.End
		want string
	}{
		{enginetest.End{Code: 1, Log: start + "\x1b[31mSome Ray subprocesses exited unexpectedly:\x1b[39m\n" +
			"  \x1b[1mraylet\x1b[22m [exit code=1]\n\nRemaining processes will be killed.\n"},
			"its container is exited, exit code 1; it says: raylet ended with exit code 1"},
		{enginetest.End{Code: 1, Log: start + "Traceback (most recent call last):\n  File \"x\"\n" +
			"\x1b[91mConnectionError: 10.7.0.1:6379\x1b[0m\n\n"},
			"its container is exited, exit code 1; it says: ConnectionError: 10.7.0.1:6379"},
		{enginetest.End{Code: 137, Log: start}, "its container is exited, exit code 137, which is SIGKILL: " +
			killedBy + "; it says: Local node IP: 10.7.0.2"},
		{enginetest.End{Code: 137, OOM: true, Log: start},
			"the kernel ended it because memory ran out (OOM kill, exit code 137)"},
		{enginetest.End{Code: 127}, "its container is exited, exit code 127, its command cannot be run"},
	} {
		f.engines[1].EndAll(tt.end)
		s, err := Inspect(t.Context(), spec, f.options())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Nodes[1].Why; got != tt.want {
			t.Errorf("the status says %q, want %q", got, tt.want)
		}
		if strings.ContainsRune(s.String(), 0x1b) {
			t.Errorf("there are escape codes in it: %q", s)
		}
	}
}

// TestStoppedContainerThatRayStillCounts has a Ray that does not notice yet that a node's container was stopped.
func TestStoppedContainerThatRayStillCounts(t *testing.T) {
	t.Parallel()
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
	if n := s.Nodes[1]; s.Alive != 1 || n.Ray != "unknown" ||
		!strings.Contains(n.Why, "its container is exited, exit code 0") || !strings.HasSuffix(n.Why, untilTimeOut) {
		t.Errorf("the status does not say that the container has ended and Ray still counts it:\n%s", s)
	}
}

// TestNodeOfTheRunBefore has a container that has just started anew, and a Ray that counts the node
// of its run before: it is not alive until Ray counts the new one.
func TestNodeOfTheRunBefore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for _, tt := range []struct {
		name    string
		node    time.Time // zero: Ray does not say
		restart bool
		alive   int
	}{
		{"a container that runs for long", at.Add(-time.Hour), false, 2},
		{"the node of the run before", at.Add(-time.Hour), true, 1},
		{"the node of this run", at.Add(time.Second), true, 2},
		{"the node of this run, which the engine noted late", at.Add(-time.Millisecond), true, 2},
		{"a Ray that does not say", time.Time{}, true, 2},
	} {
		f.started.Store(0)
		if !tt.node.IsZero() {
			f.started.Store(tt.node.UnixMilli())
		}
		if tt.restart {
			f.engines[1].Restart(at)
		}
		s, err := Inspect(t.Context(), spec, f.options())
		if err != nil {
			t.Fatal(err)
		}
		if s.Alive != tt.alive || s.Healthy != (tt.alive == 2) {
			t.Errorf("%s: %d alive, healthy %v, want %d alive\n%s", tt.name, s.Alive, s.Healthy, tt.alive, s)
		}
		if n := s.Nodes[1]; tt.alive == 1 && (n.Ray != "unknown" ||
			!strings.Contains(s.String(), "Ray still counts the old node")) {
			t.Errorf("%s: the status does not say it:\n%s", tt.name, s)
		}
	}
}

// TestLostJob has a Ray that takes a job and does not know it afterwards, as after the head's start anew.
func TestLostJob(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	spec := f.spec(t, fleetImage, 1)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	res, err := Submit(t.Context(), spec, Job{Argv: []string{"sleep", "60"}}, &out, &out, f.options())
	if err == nil || !strings.Contains(err.Error(), "the job was lost, because the head") ||
		strings.Contains(err.Error(), "goes on") {
		t.Errorf("the error does not say that the job was lost: %v", err)
	}
	if res == nil || res.Status != "LOST" || res.ExitCode != 1 {
		t.Errorf("got %+v", res)
	}
}

// TestStatusWithoutItsImage has a file that names an image which nobody has: nodes are told as they run.
func TestStatusWithoutItsImage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	if _, err := Up(t.Context(), f.spec(t, fleetImage, 3), f.options()); err != nil {
		t.Fatal(err)
	}
	s, err := Inspect(t.Context(), f.spec(t, "registry.example/misspelt:1", 3), f.options())
	if err != nil {
		t.Fatal(err)
	}
	if s.Alive != 3 || s.Healthy || s.Ray != "2.52.0" || !strings.Contains(s.Problem, "misspelt") {
		t.Errorf("%d alive, healthy %v, Ray %q, problem %q; want 3 alive, not healthy, 2.52.0, and the image's name",
			s.Alive, s.Healthy, s.Ray, s.Problem)
	}
	if strings.Contains(s.String(), "missing") || len(s.Foreign) > 0 {
		t.Errorf("a node that runs is missing, or a stranger:\n%s", s)
	}
}

// TestInterruptedSubmitNamesTheJob ends a submit while its job runs: the job goes on, and is not to be submitted again.
func TestInterruptedSubmitNamesTheJob(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	spec := f.spec(t, fleetImage, 1)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	f.running.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	_, err := Submit(ctx, spec, Job{Argv: []string{"sleep", "600"}}, writerFunc(func() { stop() }),
		io.Discard, f.options())
	var job *UnfollowedJobError
	if !errors.As(err, &job) || job.ID != "raysubmit_1" || !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "raybuild cluster job stop raysubmit_1") {
		t.Errorf("the error is %v", err)
	}
}

// writerFunc is called when something is written.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }
