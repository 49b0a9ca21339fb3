package layers

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/raybuild/raybuild/llb"
)

func TestAmountsOfMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"64k": 64 << 10, "512m": 512 << 20, "8G": 8 << 30, "8GB": 8 << 30,
		"8GiB": 8 << 30, "1.5g": 3 << 29, "2t": 2 << 40, "": 0, "8": 0, "8x": 0, "-8g": 0, "9999999t": 0, "1e3g": 0} {
		if got, ok := parseMemory(text); got != want && ok || ok != (want > 0) {
			t.Errorf("%q is %d (%v), want %d", text, got, ok, want)
		}
	}
}

// Limits change no lock, no graph, and nothing that travels with the image.
func TestLimitsChangeNoImage(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	before, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	digest, records := s.recipe.Digest(), recordsOf(t, before)
	s.recipe.Limits = llb.Limits{Memory: 1 << 30, PIDs: 500, Time: time.Hour}
	for i := range s.recipe.Steps {
		s.recipe.Steps[i].Limits = llb.Limits{Memory: 2 << 30, Time: time.Minute}
	}
	after, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	if after.Digest != before.Digest || s.recipe.Digest() != digest || !bytes.Equal(recordsOf(t, after), records) {
		t.Error("limits change what is built")
	}
	if got := s.recipe.Limited(); got != (llb.Limits{Memory: 2 << 30, PIDs: 500, Time: time.Hour}) {
		t.Errorf("the recipe's limits are %+v", got)
	}
}

// recordsOf is what travels with the image of a graph.
func recordsOf(t *testing.T, g *Graph) []byte {
	t.Helper()
	recipe, err := g.RecipeRecord()
	if err != nil {
		t.Fatal(err)
	}
	return recipe
}
