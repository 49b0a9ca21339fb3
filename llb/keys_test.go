package llb_test

import (
	"slices"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

func keysOf(t *testing.T, stages ...llb.Stage) []digest.Digest {
	t.Helper()
	keys, err := llb.Keys(t.Context(), amd64, stages...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A stage's key is that of its operations, whatever it is asked for with, and whatever they are called.
func TestKeysAreThoseOfTheOperations(t *testing.T) {
	t.Parallel()
	base := llb.From("docker.io/library/base@" + digest.FromString("base").String())
	made := func(title, text string) llb.Stage {
		return base.Make(sh("a", title, text), llb.Output{Path: "/out", On: llb.Scratch()})
	}
	wheel := llb.Artifact(llb.Blob{Digest: digest.FromString("wheel"), Name: "a.whl"})
	one, other := made("make", "echo 1 >/out/x"), made("make", "echo 2 >/out/x")
	keys := keysOf(t, one, other, wheel, base, llb.Merge("merge", one, wheel), llb.Merge("merge", wheel, one))
	if len(slices.Compact(slices.Sorted(slices.Values(keys)))) != len(keys) {
		t.Errorf("stages that differ have one key: %v", keys)
	}
	if again := keysOf(t, llb.Merge("another title", made("another title", "echo 1 >/out/x"),
		wheel)); again[0] != keys[4] {
		t.Errorf("a stage alone, with other titles, has the key %s, want %s", again[0], keys[4])
	}
	if _, err := llb.Keys(t.Context(), amd64, llb.From("no digest")); err == nil {
		t.Error("a stage that is none has a key")
	}
	if _, err := llb.Keys(t.Context(), amd64, llb.Scratch()); err == nil {
		t.Error("nothing has a key")
	}
}

// The outputs of one step are of the same operations and not the same files.
func TestOutputsOfAStepHaveKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	base := llb.From("docker.io/library/base@" + digest.FromString("base").String())
	step := sh("a", "make", "echo 1 >/out/x")
	if keys := keysOf(t, base.Run(step), base.Make(step,
		llb.Output{Path: "/out", On: llb.Scratch()})); keys[0] == keys[1] {
		t.Errorf("a step's root and its output have the key %s", keys[0])
	}
}
