package cli

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

func TestPlanText(t *testing.T) {
	t.Parallel()
	seconds := 3.5
	text := planText(&raybuild.Plan{
		Layers: []raybuild.PlanLayer{
			{Platform: "linux/amd64", Name: "base", Status: layers.Reused, Size: 1000},
			{Platform: "linux/amd64", Name: "ray", Status: layers.Built, Size: 70, Estimate: true,
				Reason: "wheel ray: 1 → 2"},
		},
		Steps: 2, StepsMost: 3, Pull: 70, PullMost: 100, Push: 50, PushMost: 50, Seconds: &seconds,
	})
	for _, want := range []string{"~70 B", "wheel ray: 1 → 2", "about 3.5 s", "70 B (at most 100 B", "1.0 kB"} {
		if !strings.Contains(text, want) {
			t.Errorf("text does not say %q:\n%s", want, text)
		}
	}
}

func TestDiffText(t *testing.T) {
	t.Parallel()
	layer := func(state string) raybuild.LayerChange {
		return raybuild.LayerChange{Platform: "linux/amd64", State: state, Digest: digest.FromString(state), Size: 200}
	}
	d := &raybuild.ImageDiff{
		A: "a", B: "b", Locks: true,
		Packages: []raybuild.PackageChange{
			{Platform: "linux/amd64", Kind: "pip", Change: "changed", Name: "ray", From: "1", To: "2"},
			{Platform: "linux/amd64", Kind: "apt", Change: "added", Name: "vim", To: "9"},
			{Platform: "linux/amd64", Kind: "base", Change: "changed", Name: "ubuntu:22.04", From: "x", To: "y"},
			{Platform: "linux/amd64", Kind: "conda", Change: "removed", Name: "pip", From: "25"},
		},
		Config: []raybuild.ConfigChange{{Platform: "linux/amd64", Key: "user", From: "0", To: "1000:100"},
			{Platform: "linux/amd64", Key: "label team", To: "x"}},
		Layers: []raybuild.LayerChange{layer("shared"), layer("new"), layer("gone")}, Pull: 210,
		Platforms: []raybuild.PlatformPull{{Platform: "linux/amd64", Bytes: 210}},
	}
	text := diffText(d)
	for _, want := range []string{
		"~  pip    ray           1 → 2", "+  apt    vim", "~  base   ubuntu:22.04", "-  conda  pip",
		"user        0 → 1000:100", "label team  x",
		"shared", "gone", "a node that holds A pulls 210 B for B",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("text does not say %q:\n%s", want, text)
		}
	}
	if text := diffText(&raybuild.ImageDiff{A: "a", B: "b"}); !strings.Contains(text, "carries no lock") {
		t.Errorf("without locks the text is\n%s", text)
	}
	if text := diffText(&raybuild.ImageDiff{A: "a", B: "a", Same: true}); text != "the same image: a" {
		t.Errorf("of one image the text is %q", text)
	}
}
