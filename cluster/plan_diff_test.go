package cluster

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// running is what a host shows when the plan has been carried out.
func running(desired []container) []containerState {
	var out []containerState
	for _, c := range desired {
		out = append(out, containerState{Host: c.Host, ID: "id-" + c.Name, Name: c.Name, State: "running",
			Labels: maps.Clone(c.Labels)})
	}
	return out
}

func summary(actions []action) string {
	var out []string
	for _, a := range actions {
		out = append(out, fmt.Sprintf("%s %s (%s)", a.Kind, strings.TrimPrefix(a.Node, "demo-"), a.Why))
	}
	return strings.Join(out, "; ")
}

func TestDiff(t *testing.T) {
	t.Parallel()
	base := load(t, threeHosts)
	have := desired(t, base, "2.52.0")
	tests := []struct {
		name   string
		yaml   string
		change func(o []containerState, image *ImageFacts) []containerState
		want   string
	}{
		{"nothing there", threeHosts, func([]containerState, *ImageFacts) []containerState { return nil },
			"create head (not there); create w-10-0-0-2 (not there); create w-10-0-0-3 (not there)"},
		{"all as wanted", threeHosts, nil, "keep head (as wanted); keep w-10-0-0-2 (as wanted); keep " +
			"w-10-0-0-3 (as wanted)"},
		{"a lock is no node", threeHosts, func(o []containerState, _ *ImageFacts) []containerState {
			return append(o, containerState{Host: have[0].Host, ID: "l", Name: "demo-lock",
				Labels: map[string]string{labelRole: "lock"}})
		}, "keep head (as wanted); keep w-10-0-0-2 (as wanted); keep w-10-0-0-3 (as wanted)"},
		{"a worker is gone", threeHosts, func(o []containerState, _ *ImageFacts) []containerState { return o[:2] },
			"keep head (as wanted); keep w-10-0-0-2 (as wanted); create w-10-0-0-3 (not there)"},
		{"a worker was stopped", threeHosts, func(o []containerState, _ *ImageFacts) []containerState {
			o[1].State = "exited"
			return o
		},
			"keep head (as wanted); start w-10-0-0-2 (is exited); keep w-10-0-0-3 (as wanted)"},
		{"a worker is dead", threeHosts,
			func(o []containerState, _ *ImageFacts) []containerState { o[1].State = "dead"; return o },
			"keep head (as wanted); recreate w-10-0-0-2 (is dead); keep w-10-0-0-3 (as wanted)"},
		{"the head is gone", threeHosts, func(o []containerState, _ *ImageFacts) []containerState { return o[1:] },
			"create head (not there); recreate w-10-0-0-2 (the head starts again); recreate w-10-0-0-3 (the head " +
				"starts again)"},
		{"another image", threeHosts, func(o []containerState, i *ImageFacts) []containerState {
			i.Digest = "sha256:2222222222222222"
			return o
		},
			"recreate head (image changed sha256:111111111111 → sha256:222222222222); recreate w-10-0-0-2 (image " +
				"changed sha256:111111111111 → sha256:222222222222); recreate w-10-0-0-3 (image changed " +
				"sha256:111111111111 → sha256:222222222222)"},
		{"env of the workers", strings.Replace(threeHosts, "[2-3]\"]", "[2-3]\"], env: {A: b}", 1), nil,
			"keep head (as wanted); recreate w-10-0-0-2 (env changed); recreate w-10-0-0-3 (env changed)"},
		{"memory of all", threeHosts + "shm_size: 2g\n", nil,
			"recreate head (args, limits changed); recreate w-10-0-0-2 (args, limits changed); recreate w-10-0-0-3 " +
				"(args, limits changed)"},
		{"one worker fewer", strings.Replace(threeHosts, "[2-3]", "2", 1), nil,
			"remove w-10-0-0-3 (no longer in cluster.yaml); keep head (as wanted); keep w-10-0-0-2 (as wanted)"},
		{"a second container", threeHosts, func(o []containerState, _ *ImageFacts) []containerState {
			twin := o[1]
			twin.ID, twin.Name = "twin", "other"
			return append(o, twin)
		}, "remove w-10-0-0-2 (a second container of the node); keep head (as wanted); keep w-10-0-0-2 (as wanted); " +
			"keep w-10-0-0-3 (as wanted)"},
		{"a worker of an earlier head", threeHosts,
			func(o []containerState, _ *ImageFacts) []containerState { o[0].Labels[labelGeneration] = "2"; return o },
			"keep head (as wanted); recreate w-10-0-0-2 (it joined an earlier head); recreate w-10-0-0-3 (it joined " +
				"an earlier head)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := testImage("2.52.0")
			observed := running(have)
			if tt.change != nil {
				observed = tt.change(observed, &image)
			}
			s := load(t, tt.yaml)
			want, err := planContainers(s, factsOf(s), image)
			if err != nil {
				t.Fatal(err)
			}
			actions := planActions(want, observed)
			if got := summary(actions); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			// Carrying the plan out leaves nothing to do.
			var after []containerState
			for _, a := range actions {
				if a.Kind == Remove {
					continue
				}
				o := containerState{Host: a.Host, ID: a.ID, Name: a.Want.Name, State: "running", Labels: a.Want.Labels}
				if a.Kind == Keep || a.Kind == Start {
					for _, x := range observed {
						if x.ID == a.ID {
							o.Labels = x.Labels
						}
					}
				}
				after = append(after, o)
			}
			for _, a := range planActions(want, after) {
				if a.Kind != Keep {
					t.Errorf("after the plan: %s", summary([]action{a}))
				}
			}
		})
	}
}

func TestDiffMovesTheHead(t *testing.T) {
	t.Parallel()
	have := desired(t, load(t, threeHosts), "2.52.0")
	s := load(t, strings.NewReplacer("u@10.0.0.1", "u@10.0.0.9").Replace(threeHosts))
	got := summary(planActions(desired(t, s, "2.52.0"), running(have)))
	if want := "remove head (moves to host u@10.0.0.9); create head (moves from host u@10.0.0.1); recreate " +
		"w-10-0-0-2 (args, env changed); recreate w-10-0-0-3 (args, env changed)"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGenerationRisesWithEachHead(t *testing.T) {
	t.Parallel()
	s := load(t, threeHosts)
	want := desired(t, s, "2.52.0")
	observed := running(want)
	for i := range observed {
		observed[i].Labels[labelGeneration] = "4"
	}
	for _, a := range planActions(want, observed[1:]) {
		if a.Want.Labels[labelGeneration] != "5" {
			t.Errorf("%s has generation %s", a.Node, a.Want.Labels[labelGeneration])
		}
	}
	if want[0].Labels[labelGeneration] != "1" {
		t.Error("planActions changed its input")
	}
}
