package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/world"
)

// The floors keep small things from saying much, and every row is held against the worst one's bar.
func TestVerdicts(t *testing.T) {
	row := func(name, kind string, ours, theirs float64, pull, pulled int64) *result {
		return &result{Name: name, Kind: kind, Raybuild: &figures{Seconds: ours, Pulled: pull},
			Dockerfile: &figures{Seconds: theirs, Pulled: pulled}}
	}
	all := (&report{Machine: machine{Scale: "small"}, Rows: []*result{
		row("cold", kindCold, 3, 10, 0, 0), row("same-warm", kindSame, 0.1, 0.95, 0, 0),
		row("label", kindEdit, 0.02, 1.95, 0, 154_000), row("own-file", kindEdit, 1.05, 0.95, 0, 144_000),
		{Name: "lock", Kind: kindLock, Raybuild: &figures{Seconds: 9}},
	}}).verdicts()
	reached := map[string]bool{}
	for _, v := range all {
		reached[strings.SplitN(v.What, ":", 2)[0]] = v.Reached
	}
	for what, is := range map[string]bool{"cold": true, "same-warm": false, "2 edits": true,
		"worst row (own-file)": false} {
		if reached[what] != is {
			t.Errorf("%s: reached %v, want %v in %+v", what, reached[what], is, all)
		}
	}
}

// The page says what was not measured, and of a bar that nobody can reach that it is one.
func TestPageSaysWhatItLacks(t *testing.T) {
	warm := &result{Name: "same-warm", Kind: kindSame, Raybuild: &figures{Seconds: 0.03, Samples: []float64{0.03}},
		Dockerfile: &figures{Seconds: 0.05, Samples: []float64{0.05}}}
	r := &report{Machine: machine{Scale: "full"}, Rows: []*result{warm}}
	r.Verdicts = r.verdicts()
	page := r.page()
	for _, want := range []string{"Not measured in this run: docker, commit. ",
		"| `same-warm` | 0.030 (1) | 0.050 (1) | – | – |", "a program that took no time at all would have 0.50 ×"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
}

func TestStepsRunAreThoseThatWereNotCached(t *testing.T) {
	progress := "#1 [internal] load build definition\n#1 DONE 0.0s\n#5 [system 2/3] RUN useradd ray\n#5 CACHED\n" +
		"#6 [stage-2 1/9] RUN --mount=type=cache pip install\n#6 1.2 log\n#6 DONE 3.1s\n" +
		"#7 [stage-2 2/9] COPY --link app /app\n#7 DONE 0.1s\n#8 exporting to image\n#8 DONE 1s\n"
	if n := stepsRun(progress); n != 2 {
		t.Errorf("%d steps, want 2", n)
	}
}

// What an edit changes is in the recipe, and nothing else is.
func TestEditsChangeOneThing(t *testing.T) {
	base := wanted{base: "b", ray: world.RayOld, torch: world.TorchVariant(0), python: "3.11.2",
		labels: map[string]string{"team": "none"}, app: "print(0)\n"}
	for _, r := range rows() {
		if r.kind != kindEdit || slices.Contains([]string{"base-patched", "fetch-mirror", "miniconda"}, r.name) {
			continue
		}
		seen := map[string]bool{base.recipe() + base.app: true}
		for n := 1; n <= variants; n++ {
			w, err := r.edit(t.Context(), nil, base, n)
			if err != nil {
				t.Fatal(err)
			}
			if text := w.recipe() + w.app; seen[text] {
				t.Errorf("%s: edit %d is like one before it", r.name, n)
			} else {
				seen[text] = true
			}
			changed := 0
			was := strings.Split(base.recipe()+base.app, "\n")
			for i, line := range strings.Split(w.recipe()+w.app, "\n") {
				if line != was[i] {
					changed++
				}
			}
			if changed != 1 {
				t.Errorf("%s: edit %d changes %d lines", r.name, n, changed)
			}
		}
	}
}
