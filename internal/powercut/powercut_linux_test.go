package powercut

import (
	"os"
	"path/filepath"
	"testing"
)

// The instrument itself: what was synced is there after a cut, and what was not is lost.
func TestCut(t *testing.T) {
	d := New(t, 16<<20)
	d.write(t)
	lost(t, d.Cut())
}

// A disk that goes off and on loses the same.
func TestOffAndOn(t *testing.T) {
	d := New(t, 16<<20)
	for range 2 {
		d.write(t)
		d.Off()
		if err := os.WriteFile(filepath.Join(d.Dir, "late"), nil, 0o600); err == nil {
			t.Error("a disk that is off takes files")
		}
		d.On()
		lost(t, d.Dir)
	}
}

// write writes two files, and syncs one.
func (d *Disk) write(t *testing.T) {
	t.Helper()
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
}

// lost checks what a cut has left of them.
func lost(t *testing.T, after string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(after, "synced")); string(got) != "synced" {
		t.Errorf("what was synced is %q (%v)", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(after, "written")); string(got) == "written" {
		t.Errorf("what was not synced is %q (%v): the test of a power cut shows nothing", got, err)
	}
}
