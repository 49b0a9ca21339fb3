package cluster

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// optionsOf are those of somebody who has the cluster of an id; "": an earlier raybuild.
func (f *fakeFleet) optionsOf(id, owner string) Options {
	o := f.options()
	o.ID, o.Owner = id, owner
	return o
}

// held lists what the hosts have: containers with their IDs, and how many things in all.
func (f *fakeFleet) held() string {
	var b strings.Builder
	for i, e := range f.engines {
		for _, c := range e.Containers() {
			fmt.Fprintln(&b, i, c.Name, c.ID, c.State)
		}
		fmt.Fprintln(&b, i, e.Left())
	}
	return b.String()
}

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func TestH7AnotherClusterOfTheNameIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	mine, theirs := f.spec(t, fleetImage, 2), f.spec(t, fleetImage2, 2)
	a, b := f.optionsOf(idA, "alice@box"), f.optionsOf(idB, "bob@lap")
	if s, err := Up(t.Context(), mine, a); err != nil || s.Changed != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	before := f.held()
	hosts := theirs.Hosts()
	for what, try := range map[string]func() error{
		"up":    func() error { _, err := Up(t.Context(), theirs, b); return err },
		"plan":  func() error { _, err := MakePlan(t.Context(), theirs, b); return err },
		"scale": func() error { _, err := Scale(t.Context(), theirs, 0, b); return err },
		"down":  func() error { _, err := Down(t.Context(), "fleet", hosts, b); return err },
		"exec":  func() error { _, err := Exec(t.Context(), theirs, []string{"id"}, ExecOptions{}, b); return err },
		"bench": func() error { _, err := Bench(t.Context(), theirs, 1, 0.1, b); return err },
		"submit": func() error {
			_, err := Submit(t.Context(), theirs, Job{Argv: []string{"id"}}, io.Discard, io.Discard, b)
			return err
		},
		"dashboard": func() error { return Dashboard(t.Context(), theirs, 0, func(_, _ string) {}, b) },
	} {
		err := try()
		var other *ForeignError
		if !errors.As(err, &other) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, want := range []string{idA, "alice@box", hosts[0].ID(), "fleet-head", "--take-over"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s does not say %q: %v", what, want, err)
			}
		}
		if other.Claims[0].Since.IsZero() && slices.Contains([]string{"up", "scale", "down"}, what) {
			t.Errorf("%s does not say since when: %v", what, err)
		}
	}
	if now := f.held(); now != before {
		t.Errorf("something was changed:\n%s\nwas\n%s", now, before)
	}
	s, err := Inspect(t.Context(), theirs, b)
	if err != nil || len(s.Others) != 2 || s.Healthy || !strings.Contains(s.String(), "alice@box") {
		t.Errorf("status: %v\n%s", err, s)
	}
	if s, err = Up(t.Context(), mine, a); err != nil || s.Changed != 0 {
		t.Errorf("the owner's up: %v\n%s", err, s)
	}
	if res, err := Down(t.Context(), "fleet", hosts, a); err != nil || res.Containers != 2 {
		t.Errorf("the owner's down: %+v, %v", res, err)
	}
}

func TestH7TakeOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	a, b := f.optionsOf(idA, "alice@box"), f.optionsOf(idB, "bob@lap")
	if _, err := Up(t.Context(), spec, a); err != nil {
		t.Fatal(err)
	}
	secret := func() string {
		data, _ := f.engines[0].Kept("/var/lib/docker/volumes/raybuild-fleet-auth/_data/token")
		return string(data)
	}
	old := secret()
	b.TakeOver = true
	if s, err := Up(t.Context(), spec, b); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	if now := secret(); now == old || now == "" {
		t.Errorf("the token of the cluster that was taken over stays: %q", now)
	}
	b.TakeOver = false
	if s, err := Up(t.Context(), spec, b); err != nil || s.Changed != 0 {
		t.Errorf("again: %v\n%s", err, s)
	}
	var other *ForeignError
	if _, err := Up(t.Context(), spec, a); !errors.As(err, &other) {
		t.Errorf("the owner before: %v", err)
	}
	a.TakeOver = true
	if _, err := Down(t.Context(), "fleet", spec.Hosts(), a); err != nil {
		t.Error(err)
	}
	for i, e := range f.engines {
		if e.Left() > 0 {
			t.Errorf("host %d: %d things left", i, e.Left())
		}
	}
}

// TestH7ClusterWithoutAnID has a cluster of an earlier raybuild: it is its file's as long as it fits.
func TestH7ClusterWithoutAnID(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	spec, other := f.spec(t, fleetImage, 2), f.spec(t, fleetImage2, 2)
	now := f.optionsOf(idA, "alice@box")
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	before := f.held()
	if s, err := Up(t.Context(), spec, now); err != nil || s.Changed != 0 || !s.Healthy {
		t.Errorf("what fits is not taken as it is: %v\n%s", err, s)
	}
	refused := func(what string, err error) {
		t.Helper()
		var foreign *ForeignError
		if !errors.As(err, &foreign) || !strings.Contains(err.Error(), "knew no ids") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := Up(t.Context(), other, now)
	refused("up with another image", err)
	_, err = Down(t.Context(), "fleet", spec.Hosts(), now)
	refused("down without a file", err)
	misfit := now
	misfit.Fits = other
	_, err = Down(t.Context(), "fleet", spec.Hosts(), misfit)
	refused("down with a file that it does not fit", err)
	if held := f.held(); held != before {
		t.Errorf("something was changed:\n%s\nwas\n%s", held, before)
	}
	fits := now
	fits.Fits = spec
	if res, err := Down(t.Context(), "fleet", spec.Hosts(), fits); err != nil || res.Containers != 2 {
		t.Errorf("down with its file: %+v, %v", res, err)
	}
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	now.TakeOver = true
	if s, err := Up(t.Context(), other, now); err != nil || s.Changed != 2 {
		t.Errorf("up with another image that takes over: %v\n%s", err, s)
	}
}

// TestH7LabelsOfImagesProveNothing has containers of others with raybuild's labels, which an Engine takes from images.
func TestH7LabelsOfImagesProveNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	spec := f.spec(t, fleetImage, 1)
	o := f.optionsOf(idA, "alice@box")
	node := map[string]string{labelCluster: "fleet", labelRole: string(Worker), labelNode: "fleet-w-1"}
	e := f.engines[0]
	e.Run("theirs", "theirs:1", node, nil)
	committed := map[string]string{labelCluster: "fleet", labelRole: string(Head), labelNode: "fleet-head",
		labelID: idA}
	e.Run("committed", "committed:1", committed, nil)
	e.Run("by-hand", "plain:1", nil, map[string]string{labelCluster: "fleet", labelRole: roleLock,
		labelDeadline: "2999-01-01T00:00:00Z"})
	if s, err := Up(t.Context(), spec, o); err != nil || !s.Healthy || s.Changed != 1 {
		t.Fatalf("up: %v\n%s", err, s)
	}
	if s, err := Up(t.Context(), spec, o); err != nil || s.Changed != 0 {
		t.Errorf("again: %v\n%s", err, s)
	}
	if _, err := Down(t.Context(), "fleet", spec.Hosts(), o); err != nil {
		t.Errorf("down: %v", err)
	}
	var names []string
	for _, c := range e.Containers() {
		names = append(names, c.Name)
	}
	if want := []string{"by-hand", "committed", "theirs"}; !slices.Equal(names, want) {
		t.Errorf("the host has %v, want %v", names, want)
	}
}

func TestL5LockOfSomebodyElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.engines[0].Run(lockName("fleet"), "plain:1", nil, nil)
	_, err := Up(t.Context(), f.spec(t, fleetImage, 1), f.options())
	if err == nil || !strings.Contains(err.Error(), lockName("fleet")) || !strings.Contains(err.Error(), "rename") {
		t.Errorf("up: %v", err)
	}
}
