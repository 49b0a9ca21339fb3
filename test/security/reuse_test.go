package security

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

// edited pushes the recipe's first image, changes a step, and builds the honest image of that in a repository of
// its own. The repository of the first image knows nothing of it.
func edited(t *testing.T) (v *victim, was, want *raybuild.Result) {
	t.Helper()
	v = newVictim(t)
	was, _ = v.build(raybuild.BuildOptions{})
	v.Edit("raybuild.yaml", "echo hello", "echo bye")
	want, _ = v.build(raybuild.BuildOptions{Names: []string{v.Ref("honest:1")}, NoReuse: true, NoGraphTag: true})
	if want.Digest == was.Digest {
		t.Fatal("the step makes no difference")
	}
	return v, was, want
}

// recordFor is the record of an image's inputs as the record of another graph.
func (v *victim) recordFor(of string, graph string) []byte {
	v.t.Helper()
	record, err := layers.ParseBuildRecord(v.attached(of, inputsType))
	if err != nil {
		v.t.Fatal(err)
	}
	record.Graph = digest.Digest(graph)
	data, err := record.Marshal()
	if err != nil {
		v.t.Fatal(err)
	}
	return data
}

// built fails the test if the image is not the honest one, or if its step did not run.
func (v *victim) built(o raybuild.BuildOptions, want *raybuild.Result) {
	v.t.Helper()
	res, ran := v.build(o)
	if res.Digest != want.Digest || !slices.Contains(ran, "[note] run") {
		v.t.Errorf("the build ran %q, took layers from %q and made %s, want %s", ran, res.LayersFrom, res.Digest,
			want.Digest)
	}
}

// A second record gives the layers of today the keys of tomorrow. Whoever may attach it would keep an old layer in
// all later images.
func TestH5SecondRecordKeepsNoOldLayer(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	graph := v.read(v.Ref("ray:1")).manifest.Annotations["dev.raybuild.graph"]
	v.attach(v.Ref("ray@"+was.Digest), inputsType, v.recordFor(v.Ref("honest@"+want.Digest), graph))
	v.built(raybuild.BuildOptions{}, want)
}

// graph-last is of any image and any graph. A new name of the repository would take its layers.
func TestH5LastTagOfAnotherImage(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	i := v.read(v.Ref("ray@" + was.Digest))
	n := len(i.manifest.Layers) - 1
	i.manifest.Layers[n], i.config.RootFS.DiffIDs[n] = v.evil(v.Ref("ray:1"))
	graph := digest.FromString("nobody's").String()
	i.manifest.Annotations["dev.raybuild.graph"] = graph
	delete(i.manifest.Annotations, "dev.raybuild.inputs")
	v.put(i, v.Ref("ray:graph-last"))
	v.attach(v.pinned(v.Ref("ray:graph-last")), inputsType, v.recordFor(v.Ref("honest@"+want.Digest), graph))
	v.built(raybuild.BuildOptions{Names: []string{v.Ref("ray:new")}}, want)
}

// An image with the right record and another base gives no layer, the base's least of all.
func TestH5SwappedBaseIsNotKept(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	i := v.read(v.Ref("ray@" + was.Digest))
	i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(v.Ref("ray:1"))
	v.put(i, v.Ref("ray:1"), v.Ref("ray:graph-last"))
	v.attach(v.pinned(v.Ref("ray:1")), inputsType, v.attached(v.Ref("ray@"+was.Digest), inputsType))
	v.built(raybuild.BuildOptions{}, want)
	if !v.told("its lowest layers are not those of") {
		t.Errorf("nobody was told why: %v", v.events)
	}
}

// The record of an image is none of another image that copies its annotations.
func TestH5RecordOnAnotherImage(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	i := v.read(v.Ref("ray@" + was.Digest))
	for n := range i.manifest.Layers {
		i.manifest.Layers[n], i.config.RootFS.DiffIDs[n] = v.evil(v.Ref("ray:1"))
	}
	i.config.Config.Labels = nil
	v.put(i, v.Ref("ray:1"), v.Ref("ray:graph-last"))
	v.attach(v.pinned(v.Ref("ray:1")), inputsType, v.attached(v.Ref("ray@"+was.Digest), inputsType))
	v.built(raybuild.BuildOptions{}, want)
}

// What was honestly pushed still gives its layers.
func TestH5HonestRecordIsBelieved(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	res, ran := v.build(raybuild.BuildOptions{})
	if res.LayersFrom != v.Ref("ray@"+was.Digest) || res.Digest != want.Digest {
		t.Errorf("the build ran %q, took layers from %q and made %s, want %s", ran, res.LayersFrom, res.Digest,
			want.Digest)
	}
}

// A second record says that the image has passed the test of tomorrow. The test still runs.
func TestH5SecondRecordPassesNoTest(t *testing.T) {
	t.Parallel()
	v, was, want := edited(t)
	next, err := layers.ParseBuildRecord(v.attached(v.Ref("honest@"+want.Digest), inputsType))
	if err != nil {
		t.Fatal(err)
	}
	record, err := layers.ParseBuildRecord(v.attached(v.Ref("ray@"+was.Digest), inputsType))
	if err != nil {
		t.Fatal(err)
	}
	if record.Platforms[0].Smoke == next.Platforms[0].Smoke {
		t.Fatal("the step makes no difference to the test")
	}
	record.Platforms[0].Smoke = next.Platforms[0].Smoke
	data, err := record.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	v.attach(v.Ref("ray@"+was.Digest), inputsType, data)
	if res, ran := v.build(raybuild.BuildOptions{}); res.Smoke != "passed" {
		t.Errorf("the image was not tested (%q): %q ran", res.Smoke, ran)
	}
}
