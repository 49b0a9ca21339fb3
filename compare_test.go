package raybuild

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

func TestImageDiff(t *testing.T) {
	t.Parallel()
	layer := func(name string, size int64) registry.Layer {
		return registry.Layer{Digest: digest.FromString(name), Size: size, History: name}
	}
	image := func(config ocispecs.ImageConfig, ls ...registry.Layer) registry.PlatformImage {
		p := registry.PlatformImage{Platform: llb.Platform{OS: "linux", Architecture: "amd64"}, Config: config,
			Layers: ls, Size: 10}
		for _, l := range ls {
			p.Size += l.Size
			p.Digest = digest.FromString(p.Digest.String() + l.Digest.String() + config.User)
		}
		return p
	}
	a := image(ocispecs.ImageConfig{User: "0", Env: []string{"A=1"}}, layer("base", 1000), layer("ray 1", 100))
	b := image(ocispecs.ImageConfig{User: "1000:100", Env: []string{"A=1", "B="},
		Labels: map[string]string{"team": "x"}}, layer("base", 1000), layer("ray 2", 200), layer("ray 2", 200))
	r := &ImageDiff{A: "a", B: "b", Locks: true}
	r.packages([]layers.Change{
		{Platform: "linux/amd64", Layer: "ray", Kind: layers.KindWheel, Name: "ray", From: "1", To: "2"},
		{Platform: "linux/amd64", Layer: "apt", Kind: layers.KindDeb, Name: "vim", To: "9"},
		{Platform: "linux/amd64", Layer: "base", Kind: "image", Name: "ubuntu:22.04", From: "x", To: "y"},
		{Platform: "linux/amd64", Layer: "env", Kind: layers.KindConda, Name: "pip", From: "25"},
	})
	r.platform("linux/amd64", &a, b)
	if r.Pull != 210 {
		t.Errorf("%d bytes to pull, want 210: one new blob, once, and the config", r.Pull)
	}
	other := &ImageDiff{A: "a", B: "b"}
	other.platform("linux/amd64", nil, b)
	if other.Pull != 1210 {
		t.Errorf("%d bytes to pull where A lacks the platform, want 1210", other.Pull)
	}
	same := &ImageDiff{A: "a", B: "a", Same: true}
	same.platform("linux/amd64", &a, a)
	if same.Pull != 0 {
		t.Errorf("%d bytes for the same image", same.Pull)
	}
}

func TestPlanCountsAndTimes(t *testing.T) {
	t.Parallel()
	g := &comparison{inputs: &layers.BuildRecord{Platforms: []layers.PlatformRecord{{Platform: "linux/amd64"}}}}
	r := &Plan{
		Layers: []PlanLayer{
			{Platform: "linux/amd64", Name: "base", Status: layers.Reused, Expect: expectReused, Size: 1000},
			{Platform: "linux/amd64", Name: "ray", Status: layers.Built, Expect: expectNew, runs: true, known: true,
				Size: 70, push: 50, Estimate: true, Reason: "wheel ray: 1 → 2"},
			{Platform: "linux/amd64", Name: "warm", Status: layers.MayRebuild, Expect: expectReused, Size: 30,
				Estimate: true},
			{Platform: "linux/amd64", Name: "old", Status: layers.Removed, Size: 5},
		},
		steps: map[string]stepCount{"linux/amd64 ray": {run: 1, written: 1, fixed: 1},
			"linux/amd64 warm": {run: 1, written: 1}, "linux/amd64 base": {run: 7}},
		history: buildHistory{Seconds: map[string]float64{"ray": 1.5, "warm": 2}},
	}
	r.sum(g)
	if r.Push != 50 || r.PushMost != 50 || r.Pull != 70 || r.PullMost != 100 ||
		r.Steps != 2 || r.StepsMost != 3 || r.Seconds == nil || *r.Seconds != 3.5 {
		t.Errorf("report is %+v, seconds %v", r, r.Seconds)
	}
	delete(r.history.Seconds, "warm")
	r.Seconds = nil
	if r.sum(g); r.Seconds != nil {
		t.Errorf("%.1f seconds, though one layer was never measured", *r.Seconds)
	}
}

// What follows is expected to come out as it was, unless it is known to write down what it stands on.
func TestExpectationOfLayersThatFollow(t *testing.T) {
	t.Parallel()
	status := func(name string, f layers.LayerStatus, because ...string) layers.LayerComparison {
		return layers.LayerComparison{Platform: "linux/amd64", Name: name, Status: f, Because: because}
	}
	python := func(to string) layers.LayerComparison {
		f := status("env", layers.Built)
		f.Changes = []layers.InputChange{{Input: "conda python", From: "3.11.2 sha256:a a", To: to + " sha256:b b"}}
		return f
	}
	for what, c := range map[string]struct {
		compared []layers.LayerComparison
		line     bool
		want     string // of the last one
		runs     bool
	}{
		"apt on another base": {[]layers.LayerComparison{status("base", layers.Built),
			status("apt", layers.MayRebuild, "base", "user")}, false, expectNew, true},
		"the user on another base": {[]layers.LayerComparison{status("base", layers.Built),
			status("user", layers.MayRebuild, "base")}, false, expectReused, true},
		"wheels on a patched Python": {[]layers.LayerComparison{python("3.11.3"),
			status("ray", layers.MayRebuild, "env")}, false, expectReused, true},
		"wheels on another Python": {[]layers.LayerComparison{python("3.12.0"),
			status("ray", layers.MayRebuild, "env")}, false, expectNew, true},
		"what follows a layer that does": {[]layers.LayerComparison{status("miniconda", layers.Built),
			status("env", layers.MayRebuild, "miniconda"), status("ray", layers.MayRebuild, "env")}, false,
			expectReused, false},
		"a builder that cannot merge": {[]layers.LayerComparison{status("apt", layers.Built),
			status("ray", layers.MayRebuild, "apt")}, true, expectNew, true},
	} {
		e := newExpectation()
		var got string
		var runs bool
		for _, f := range c.compared {
			got, runs = e.of(f, c.line)
		}
		if got != c.want || runs != c.runs {
			t.Errorf("%s: expected %s, runs %v; want %s, %v", what, got, runs, c.want, c.runs)
		}
	}
	if !mounted("localhost:5000/ray@sha256:"+strings.Repeat("0", 64), "localhost:5000/debian:12") ||
		mounted("localhost:5000/ray:1", "debian:12") {
		t.Error("a base is mounted from the same registry, and from no other")
	}
}
