package strictyaml

import (
	"strings"
	"testing"
)

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	known := []string{"base", "env", "image", "ray", "shm_size"}
	for word, want := range map[string]string{
		"bse":     `did you mean "base"?`,
		"Base":    `did you mean "base"?`,
		"rya":     `did you mean "ray"?`, // two neighbours that changed places
		"shmsize": `did you mean "shm_size"?`,
		"quux":    "known are base, env, image, ray, shm_size",
		// as near to env and ray as to anything
		"xyz":                       "known are base, env, image, ray, shm_size",
		strings.Repeat("base", 100): "known are base, env, image, ray, shm_size",
	} {
		if got := DidYouMean(word, known); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
	if got := DidYouMean("x", nil); got != "there is nothing to choose from" {
		t.Error(got)
	}
}
