package powercut

import (
	"os"
	"path/filepath"
	"testing"
)

// The instrument itself: what was synced is there after a cut, and what was not is lost.
func TestCut(t *testing.T) {
	d := New(t, 16<<20)
	for _, name := range []string{"synced", "written"} {
		f, err := os.Create(filepath.Join(d.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(name); err != nil {
			t.Fatal(err)
		}
		if name == "synced" {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	after := d.Cut()
	if got, err := os.ReadFile(filepath.Join(after, "synced")); string(got) != "synced" {
		t.Errorf("what was synced is %q (%v)", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(after, "written")); string(got) == "written" {
		t.Errorf("what was not synced is %q (%v): the test of a power cut shows nothing", got, err)
	}
}
