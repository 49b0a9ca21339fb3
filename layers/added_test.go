package layers

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// withAdded is a subject whose recipe and lock have einops on top.
func withAdded(t *testing.T) (s *subject, before *Graph) {
	t.Helper()
	s = newSubject(t)
	before, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	s.recipe.Pip.Added = [][]string{{"einops>=0.7"}}
	s.lock.Platforms["linux/amd64"].Layers = append(s.lock.Platforms["linux/amd64"].Layers, LockLayer{
		Name: "add-1", Inputs: addedInputs(s.recipe.Pip, 1, inputsOf(s.lock.Platforms["linux/amd64"], "ray")),
		Artifacts: []Artifact{{Kind: KindWheel, Name: "einops", Version: "0.8.0", Origin: "pypi",
			Path: "packages/einops-0.8.0-py3-none-any.whl", SHA256: sum("einops"), Size: 1}},
	})
	return s, before
}

// What is added is one layer more, the last; every other layer stays what it was.
func TestAddedPackagesMoveNoOtherLayer(t *testing.T) {
	t.Parallel()
	s, before := withAdded(t)
	after, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	was, err := before.Record(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	is, err := after.Record(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	compared, _ := CompareRecords(was, is)
	for _, f := range compared {
		if (f.Status == Reused) == (f.Name == "add-1") {
			t.Errorf("layer %s is %v: the added one alone should be new", f.Name, f.Status)
		}
	}
	all := is.Platforms[0].Layers
	if last := all[len(all)-1]; last.Name != "add-1" || last.Values["wheel einops"] == "" || last.Bytes != 1 {
		t.Errorf("the last layer is %+v, want add-1 with einops", last)
	}
}

// The image that is put on another has the record and the config of the one that is built whole,
// and needs none of the files.
func TestAGraphOntoAnImageIsThatOfItsRecipe(t *testing.T) {
	t.Parallel()
	s, before := withAdded(t)
	record, err := before.Record(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := before.RecipeRecord()
	if err != nil {
		t.Fatal(err)
	}
	source, err := ParseRecipeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	far := *s.recipe
	far.Dir = filepath.Join(s.dir, "elsewhere")
	o := s.o
	o.Packed = source.Files
	graph, err := NewGraph(context.Background(), &far, s.lock, o)
	if err != nil {
		t.Fatalf("the graph was not made from the record of the files: %v", err)
	}
	image := whole.Images[0]
	below := map[string]ParentImage{"linux/amd64": {
		Ref:    "r.example/ray@" + digest.FromString("image").String(),
		Layers: len(image.BaseLayers) + len(image.Layers) - 1,
		Env:    llb.Blob{Digest: digest.FromString("env layer"), Name: "env.tar"},
	}}
	onto, err := graph.OnImage(below, record)
	if err != nil {
		t.Fatal(err)
	}
	if onto.Digest != whole.Digest || len(onto.Images[0].Layers) != 1 {
		t.Errorf("put on the image the graph is %s with %d layers to make, want %s with one", onto.Digest,
			len(onto.Images[0].Layers), whole.Digest)
	}
	want, err := image.Marshal(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := onto.Images[0].Marshal(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Config) != string(want.Config) {
		t.Errorf("the config is\n%s\nwant that of the whole build\n%s", got.Config, want.Config)
	}
	for _, m := range got.Def.Metadata {
		for _, step := range []string{"[env] create", "[apt]", "[miniconda]"} {
			if strings.HasPrefix(m.Description["llb.customname"], step) {
				t.Errorf("the graph makes %q, which the image has", m.Description["llb.customname"])
			}
		}
	}
	sameRecord(t, whole, onto)
	b := below["linux/amd64"]
	b.Layers++
	below["linux/amd64"] = b
	if _, err := graph.OnImage(below, record); err == nil ||
		!strings.Contains(err.Error(), "build the image from its recipe") {
		t.Errorf("an image of other layers than its recipe's: %v", err)
	}
	if other := graph.WithParent(digest.FromString("another raybuild's")); other.Digest == graph.Digest ||
		other.Annotations[GraphAnnotation] != other.Digest.String() {
		t.Error("what stands on an image of another raybuild has the name of what this one makes")
	}
}

func sameRecord(t *testing.T, whole, onto *Graph) {
	t.Helper()
	var texts []string
	for _, g := range []*Graph{whole, onto} {
		in, err := g.Record(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		data, err := in.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	if texts[0] != texts[1] {
		t.Errorf("the record is\n%s\nwant that of the whole build\n%s", texts[1], texts[0])
	}
}

func TestALockThatAddsIsKnown(t *testing.T) {
	t.Parallel()
	s, _ := withAdded(t)
	old := graphLock()
	if !LockExtends(s.recipe, old, s.lock) {
		t.Error("the lock of what was added is not known")
	}
	for what, change := range map[string]func(r *Recipe, l *LockPlatform){
		"other requirements": func(r *Recipe, _ *LockPlatform) { r.Pip.Added = [][]string{{"einops"}} },
		"another base":       func(_ *Recipe, l *LockPlatform) { l.Base.Digest = digest.FromString("patched") },
		"another Ray":        func(_ *Recipe, l *LockPlatform) { l.Layers[3].Artifacts[1].SHA256 = sum("other") },
		"one layer less":     func(_ *Recipe, l *LockPlatform) { l.Layers = l.Layers[:4] },
	} {
		s, _ := withAdded(t)
		change(s.recipe, s.lock.Platforms["linux/amd64"])
		if LockExtends(s.recipe, old, s.lock) {
			t.Errorf("%s: the lock is taken for that of the image with what was added", what)
		}
	}
	for text, want := range map[string]bool{
		"einops>=0.7": true, "einops": true, "einops==0.8.0": true, "requests==2.32": true, "tensorflow": true,
		"einops==0.7": false, "torch": false, "requests>3": false, "requests[socks]": false, "python": false,
	} {
		if got := Satisfied(s.recipe, s.lock, []string{text}); got != want {
			t.Errorf("the image has %q: %v, want %v", text, got, want)
		}
	}
}

func TestAddedInTheRecipe(t *testing.T) {
	t.Parallel()
	r := loadText(t, "pip: {packages: [numpy], added: [[Einops>=0.7], [torch, 'uvicorn[standard]']]}")
	data, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := LoadRecipe(data, "recipe.json", nil)
	if err != nil || len(back.Pip.Added) != 2 || back.Pip.Added[0][0] != "einops>=0.7" ||
		!slices.Equal(back.Pip.Added[1], []string{"torch", "uvicorn[standard]"}) {
		t.Errorf("what is added comes back as %v (%v)", back.Pip.Added, err)
	}
	for text, want := range map[string]string{
		"pip: {added: [[]]}":                     "empty",
		"pip: {added: [torch]}":                  "list",
		"pip: {added: [['git+https://x/y']]}":    "not added on top",
		"steps: [{name: add-1, run: 'echo a'}]":  "raybuild's own",
		"steps: [{name: a, run: a, needs: [x]}]": "no layer",
	} {
		if _, err := LoadRecipe([]byte(text), "raybuild.yaml", nil); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want one with %q", text, err, want)
		}
	}
	if isAdded("add-0") || isAdded("add-01") || isAdded("add-x") || !isAdded("add-12") {
		t.Error("names of added layers are not told from others")
	}
}
