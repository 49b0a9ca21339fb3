package real

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
)

// TestVerifyFromAnotherHome makes an image of real Ray again in an empty directory, with an engine of its own, as
// somebody does who trusts nobody: all layers have the digests of the registry's.
func TestVerifyFromAnotherHome(t *testing.T) {
	p := needPlace(t)
	image := realImage(t)
	x := p.project(t, p.realRecipe())
	var err error
	if x.other, err = os.MkdirTemp("", "rbv"); err != nil { //nolint:usetesting // a socket's path has to be short
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Stop(context.Background(), engine.Options{Home: x.other, Exe: x.program,
			Env: []string{}}); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(x.other); err != nil {
			t.Error(err)
		}
	})
	start := time.Now()
	out, errs, err := x.raybuild("verify", "--json", image)
	if err != nil {
		t.Fatalf("verify: %v\n%s\n%s", err, lastLines(errs, 30), out)
	}
	var saw struct {
		Same   bool
		Layers []struct {
			Name, Digest, Made string
			Same               bool
		}
	}
	if err := json.Unmarshal([]byte(out), &saw); err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, l := range saw.Layers {
		if l.Same && l.Made == l.Digest {
			made++
		} else {
			t.Errorf("layer %s of the image is %s, and here %s", l.Name, l.Digest, l.Made)
		}
	}
	t.Logf("%d layers made again in %.0f s", made, time.Since(start).Seconds())
	if !saw.Same || made < 15 {
		t.Errorf("%d layers are the same, want at least 15 of an image of Ray and its packages:\n%s", made, out)
	}
}
