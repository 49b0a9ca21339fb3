package security

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

// otherLayout makes ray:1 the image of a raybuild that lays packages out in other layers, by other names and keys, and
// whose manifest names no documents.
func (v *victim) otherLayout(honest *raybuild.Result) {
	v.t.Helper()
	from := v.Ref("ray@" + honest.Digest)
	i := v.read(from)
	graph := digest.FromString("the graph of another raybuild").String()
	was := i.manifest.Annotations[layers.GraphAnnotation]
	for _, k := range []string{layers.LockAnnotation, layers.InputsAnnotation, layers.RecipeAnnotation} {
		delete(i.manifest.Annotations, k)
	}
	i.manifest.Annotations[layers.GraphAnnotation] = graph
	record, err := layers.ParseBuildRecord(v.attached(from, inputsType))
	if err != nil {
		v.t.Fatal(err)
	}
	record.Graph = digest.Digest(graph)
	for p := range record.Platforms {
		for n, l := range record.Platforms[p].Layers {
			if l.Layer == "ray" {
				l.Name, l.Key = "old-"+l.Name, digest.FromString("old "+l.Name)
				record.Platforms[p].Layers[n] = l
			}
		}
	}
	inputs, err := record.Marshal()
	if err != nil {
		v.t.Fatal(err)
	}
	v.put(i, v.Ref("ray:1"), v.Ref("ray:graph-last"))
	recipe := strings.ReplaceAll(string(v.attached(from, recipeType)), was, graph)
	for kind, data := range map[string][]byte{lockType: v.attached(from, lockType), inputsType: inputs,
		recipeType: []byte(recipe)} {
		v.attach(v.pinned(v.Ref("ray:1")), kind, data)
	}
}

// An image of another layout is looked at as any, is built anew by its recipe, and gets packages or another base where
// that is asked for, because nothing proves what is attached to it.
func TestImageOfAnotherLayout(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	v.otherLayout(honest)
	p, err := raybuild.Open(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	against := raybuild.CompareOptions{Image: v.Ref("ray:1")}
	plan, err := p.Plan(t.Context(), against)
	if err != nil || plan.UpToDate {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	if why, err := p.Why(t.Context(), against); err != nil || why == nil {
		t.Errorf("why gives %+v, %v", why, err)
	}
	if d, err := raybuild.Diff(t.Context(), v.Ref("ray:1"), v.Ref("ray@"+honest.Digest), v.options()); err != nil {
		t.Errorf("diff gives %+v, %v", d, err)
	}
	earlier := func(o *raybuild.BuildOptions) { o.EarlierImage = true }
	v.einops("0.8.0")
	_, err = raybuild.Add(t.Context(), v.Ref("ray:1"), []string{"einops"}, v.options(),
		raybuild.BuildOptions{Names: []string{v.Ref("ray:more")}, Push: true, PushRetry: -1})
	if err == nil || !strings.Contains(err.Error(), "--earlier-image") {
		t.Errorf("add does not say how it can go on: %v", err)
	}
	added, err := raybuild.Add(t.Context(), v.Ref("ray:1"), []string{"einops"}, v.options(), raybuild.BuildOptions{
		Names: []string{v.Ref("ray:more")}, Push: true, PushRetry: -1, EarlierImage: true})
	if err != nil || !added.Added || len(added.Build.Layers) != len(honest.Layers)+1 {
		t.Errorf("the addition came to %+v, %v", added, err)
	}
	v.PushBase("patched")
	v.refused(v.Ref("ray:1"), "--earlier-image")
	if res, err := v.rebase(v.Ref("ray:1"), earlier); err != nil || !res.Rebased {
		t.Errorf("the rebase came to %+v, %v", res, err)
	}
	if again, _ := v.build(raybuild.BuildOptions{}); again.Digest != honest.Digest || again.UpToDate {
		t.Errorf("a build by the recipe came to %+v, want %s", again, honest.Digest)
	}
}
