package raybuild

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/layers"
)

// Only packages that the layer had no version of are looked into, and where that cannot be, the
// reason names the next step.
func TestDebsThatPlanLooksInto(t *testing.T) {
	t.Parallel()
	deb := func(name string, size int64) layers.Artifact {
		return layers.Artifact{Kind: layers.KindDeb, Name: name, Version: "1",
			SHA256: digest.FromString(name).Encoded(), Size: size}
	}
	value := func(a layers.Artifact) string { return a.Version + " " + a.Digest().String() + " place" }
	bc, less, wheel := deb("bc", 100), deb("less", 200), layers.Artifact{Kind: layers.KindWheel, Name: "bc",
		SHA256: digest.FromString("w").Encoded()}
	p := &layers.LockPlatform{Layers: []layers.LockLayer{{Name: "apt", Artifacts: []layers.Artifact{bc, less}},
		{Name: "ray", Artifacts: []layers.Artifact{wheel}}}}
	changes := []layers.InputChange{
		{Input: "apt", From: "less", To: "bc, less"}, {Input: "deb bc", To: value(bc)},
		{Input: "deb less", From: "0 " + less.Digest().String() + " place", To: value(less)},
		{Input: "deb ed", From: "1 sha256:x place"},
	}
	added := addedDebs(p, changes)
	if len(added) != 1 || added[0].Name != "bc" {
		t.Fatalf("added are %+v, want bc alone", added)
	}
	g := &comparison{p: &Project{lock: &layers.Lock{Platforms: map[string]*layers.LockPlatform{"linux/amd64": p}}}}
	if _, err := g.debSizes(t.Context(), "linux/amd64", added, 100); err == nil ||
		!strings.Contains(err.Error(), "raybuild lock --update base") {
		t.Errorf("with a lock that does not know what dpkg leaves out: %v", err)
	}
	p.Base.DpkgPaths = []string{"path-exclude=/usr/share/doc/*"}
	if _, err := g.debSizes(t.Context(), "linux/amd64", added, debsMost+1); err == nil ||
		!strings.Contains(err.Error(), "they are 67") {
		t.Errorf("with too many bytes to fetch: %v", err)
	}
}
