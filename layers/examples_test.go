package layers

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What is shown is what is tested: every example loads, and what it asks for can work.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*/raybuild.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, err := LoadRecipe(data, file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.LoadFiles(); err != nil {
				t.Fatal(err)
			}
			notes, err := Check(r)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("pins %q, notes %v", r.Pins, notes)
		})
	}
}

// The example of the defaults is the defaults.
func TestDefaultExample(t *testing.T) {
	data, err := os.ReadFile("../examples/default/raybuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRecipe(data, "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := DefaultRecipe(); !reflect.DeepEqual(r, want) {
		t.Errorf("the example is\n%+v\nthe defaults are\n%+v", r, want)
	}
}
