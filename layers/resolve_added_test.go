package layers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// What pip 23 says, and what is made of it.
func TestWhatCannotBeAddedIsNamed(t *testing.T) {
	t.Parallel()
	there := []Artifact{{Kind: KindWheel, Name: "requests", Version: "2.32.3"}}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a new package wants another version": {`ERROR: Cannot install conflicting-pkg because these package versions have conflicting dependencies.

The conflict is caused by:
    conflicting-pkg 1.0 depends on requests<2
    other 2.0 depends on six
    The user requested (constraint) requests==2.32.3
ERROR: ResolutionImpossible: for help`, []string{"conflicting-pkg 1.0 depends on requests<2, and the image has requests 2.32.3, which stays", "in the recipe"}},
		"the requirement itself does": {`The conflict is caused by:
    The user requested requests==2.0
    The user requested (constraint) requests==2.32.3
ERROR: ResolutionImpossible`, []string{"you ask for requests==2.0, and the image has requests 2.32.3,"}},
		"conda's package is in the way": {`    x 1 depends on numpy>=2
    The user requested (constraint) numpy==1.26
ERROR: ResolutionImpossible`, []string{"x 1 depends on numpy>=2, and the image has numpy 1.26 from conda, which stays"}},
		"another version only": {`ERROR: Could not find a version that satisfies the requirement torch==1 (from versions: 2.4.0, 2.5.1)
ERROR: No matching distribution found for torch==1`, []string{"no wheel of torch==1", "2.4.0, 2.5.1", "linux/amd64", "pip.wheels"}},
		"another Python only": {`ERROR: Ignored the following versions that require a different python version: 1.0 Requires-Python >=3.99
ERROR: Could not find a version that satisfies the requirement new (from versions: none)
ERROR: No matching distribution found for new`, []string{"no wheel of new", "Requires-Python >=3.99"}},
		"something else": {"ERROR: disk full", []string{"as pip has it"}},
	} {
		r := &Resolver{name: "linux/amd64"}
		err := r.cannotAdd(context.Background(), added{}, there, pipAnswer{failed: true, text: c.text},
			errors.New("as pip has it"))
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error is %q, which does not say %q", name, err, want)
			}
		}
	}
}

// A stub has no extras: pip is to read those of what is there from the index, in the very version.
func TestExtrasOfWhatIsThereAreReadFromTheIndex(t *testing.T) {
	t.Parallel()
	q := pipQuestion{installed: []Artifact{
		{Kind: KindWheel, Name: "uvicorn", Version: "0.32.0"}, {Kind: KindSdist, Name: "old", Version: "1"},
		{Kind: KindWheel, Name: "mine", Version: "1", Origin: originLocal},
		{Kind: KindWheel, Name: "six", Version: "1.16"},
	}}
	lacking := withoutExtra("WARNING: uvicorn 0.32.0 does not provide the extra 'standard'\n" +
		"WARNING: Old 1 does not provide the extra 'x'\n")
	if !q.unstub(lacking...) || len(q.installed) != 2 {
		t.Errorf("%d packages are still told as installed, want 2: six and the recipe's own", len(q.installed))
	}
	if !slices.Equal(q.constraints, []string{"uvicorn==0.32.0", "old==1"}) ||
		!slices.Equal(q.options, []string{"--no-binary=old"}) {
		t.Errorf("pip is asked with constraints %q and options %q: it may take another version",
			q.constraints, q.options)
	}
	if q.unstub("mine", "uvicorn") {
		t.Error("the same question would be asked for ever")
	}
}

func TestOnlyWhatIsNewIsAdded(t *testing.T) {
	t.Parallel()
	there := []Artifact{{Kind: KindWheel, Name: "uvicorn", Version: "0.32.0"}}
	fresh := Artifact{Kind: KindWheel, Name: "uvloop", Version: "0.21.0"}
	got, err := onlyNew([]Artifact{there[0], fresh}, there)
	if err != nil || len(got) != 1 || got[0].Name != "uvloop" {
		t.Errorf("added is %v (%v), want uvloop alone", got, err)
	}
	if _, err := onlyNew([]Artifact{{Kind: KindWheel, Name: "uvicorn", Version: "0.33"}}, there); err == nil ||
		!strings.Contains(err.Error(), "stay: name a version") {
		t.Errorf("another version of what is there: %v", err)
	}
	if _, err := onlyNew([]Artifact{{Kind: KindSdist, Name: "x", Version: "1"}}, there); err == nil ||
		!strings.Contains(err.Error(), "no wheel of x 1") {
		t.Errorf("a source distribution: %v", err)
	}
}
