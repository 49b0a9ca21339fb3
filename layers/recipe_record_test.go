package layers

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// A recipe that went with an image and back makes the same graph.
func TestARecipeComesBackFromItsRecord(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"the default": "",
		"a short one": "ray: {version: 2.52.0, extras: []}\napt: [git]\n",
		"everything":  strings.Replace(everything, ", file: environment.yml", "", 1),
		"own mirrors": "mirrors: {fetch: {apt: 'http://mirror.internal/debian'}, image: {apt: " +
			"'http://a.example/ubuntu', pip: 'https://p.example/simple'}}",
		"further sources": "pip: {packages: [ours], extra_indexes: [{url: 'https://p.example/simple', packages: " +
			"[ours]}]}\napt: {packages: [vim], repositories: [{url: 'https://a.example/x', suite: ./, key: k.asc}]}",
		"no test":             "smoke: false",
		"a test of one's own": "smoke: |\n  python -c 'import x'\n  echo \"a: b\"",
		"words like values": "image: {labels: {a: 'true', b: '1.0', c: 'null', d: \"line\\nline\"}, env: {N: " +
			"'010'}}\nsteps: [{name: a, run: \"echo 'x: y' # no\\n\\techo\"}]",
	} {
		t.Run(name, func(t *testing.T) {
			r := loadText(t, text)
			r.Limits = llb.Limits{} // they do not travel
			for i := range r.Steps {
				r.Steps[i].Limits = llb.Limits{}
			}
			data, err := r.marshal()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), "mirror.internal") {
				t.Error("the record has a mirror to fetch from")
			}
			back, err := LoadRecipe(data, "recipe.json", nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			back.Dir, back.Mirrors.Fetch, back.Mirrors.FetchAuto = r.Dir, r.Mirrors.Fetch, r.Mirrors.FetchAuto
			again, err := back.marshal()
			if err != nil || string(again) != string(data) {
				t.Errorf("the recipe comes back as\n%s\nwas\n%s", again, data)
			}
			if back.Digest() != r.Digest() || !reflect.DeepEqual(back.Steps, r.Steps) || back.Smoke != r.Smoke ||
				!reflect.DeepEqual(back.Mirrors, r.Mirrors) {
				t.Errorf("the recipe comes back as\n%+v\nwas\n%+v", back, r)
			}
		})
	}
}

func TestAGraphIsMadeAgainFromItsRecord(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	s.o = GraphOptions{Labels: map[string]string{"build": "7"}, Compression: "zstd"}
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := g.RecipeRecord()
	if err != nil {
		t.Fatal(err)
	}
	source, err := ParseRecipeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRecipe(source.Recipe, filepath.Join(s.dir, "recipe"), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewGraph(context.Background(), r, s.lock, source.Options())
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != g.Digest || source.Graph != g.Digest {
		t.Errorf("the graph from the record is %s, the record says %s, want %s", again.Digest, source.Graph, g.Digest)
	}
	if _, err := ParseRecipeRecord([]byte(`{"version": 2}`)); err == nil {
		t.Error("a record of another version was taken")
	}
	if _, err := os.Stat(filepath.Join(s.dir, "recipe")); err == nil {
		t.Error("a file was written")
	}
}

func TestABaseMustFitWhatIsKept(t *testing.T) {
	t.Parallel()
	was := LockImage{Reference: "ubuntu:22.04", ID: "ubuntu", Release: "22.04", Glibc: "2.35"}
	for name, tt := range map[string]struct {
		is   LockImage
		says string
	}{
		"a patched one": {LockImage{ID: "ubuntu", Release: "22.04", Glibc: "2.35"}, ""},
		"a newer glibc": {LockImage{ID: "ubuntu", Release: "22.04", Glibc: "2.100"}, ""},
		"another release": {LockImage{ID: "ubuntu", Release: "24.04", Glibc: "2.39"},
			"name a base of ubuntu 22.04"},
		"another system": {LockImage{ID: "debian", Release: "22.04", Glibc: "2.36"},
			"name a base of ubuntu 22.04"},
		"an older glibc": {LockImage{ID: "ubuntu", Release: "22.04", Glibc: "2.9"},
			"name a base with glibc 2.35"},
		"no glibc that dpkg knows": {LockImage{ID: "ubuntu", Release: "22.04"}, "name a base with glibc 2.35"},
	} {
		err := fitsBase(was, tt.is, was)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: the error is %v, want %q", name, err, tt.says)
		}
	}
}
