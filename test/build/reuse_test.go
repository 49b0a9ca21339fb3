package build

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// An edit of the config is made from the layers that the registry has: no builder is asked. The
// image is the one that a whole build makes.
func TestConfigAloneNeedsNoBuilder(t *testing.T) {
	h := warmHome(t)
	first := h.push(ref(t, "1"))
	h.env = []string{"BUILDKIT_HOST=" + nobody}
	h.write("raybuild.yaml", shortRecipe("image: {labels: {team: blue}, workdir: /work}"))
	out := h.push(ref(t, "2"), "--annotation", "a.b=c")
	from := out.meta.Raybuild.LayersFrom
	if m := out.meta.Raybuild; len(m.Steps) != 0 || m.BytesPushed != 0 || m.Engine != "" {
		t.Errorf("%d steps, %d bytes of layers pushed, builder %q: want none of them", len(m.Steps),
			m.BytesPushed, m.Engine)
	}
	if !strings.HasSuffix(from, first.meta.Digest) || !strings.Contains(out.stderr, "no builder needed") ||
		!strings.Contains(out.stderr, from) {
		t.Errorf("its layers are of %q, want %s, and the report must say so:\n%s", from, first.meta.Digest,
			tail(out.stderr, 20))
	}
	if m := h.run("inspect", "--lock", ref(t, "2")); m.stdout != warm.lock {
		t.Errorf("the image carries another lock: exit %d\n%s", m.code, m.stderr)
	}
	// What another repository has is nothing to take from unasked: others may write there.
	h.refused(1, []string{nobody}, "--push", "--annotation", "a.b=d", testEnv.Registry+"/config-elsewhere/ray:1")
	h.env = nil
	whole := h.push(ref(t, "whole"), "--annotation", "a.b=c", "--reuse=false", "--graph-tag=false")
	none := whole.meta.Raybuild.LayersFrom
	if whole.meta.Digest != out.meta.Digest || none != "" || len(whole.meta.Raybuild.Steps) == 0 {
		t.Errorf("a whole build makes %s of %d steps (from %q), the one from layers is %s", whole.meta.Digest,
			len(whole.meta.Raybuild.Steps), none, out.meta.Digest)
	}
}

// A builder that has nothing builds what changed, and no other layer: an own file, and other mirrors.
func TestEmptyBuilderBuildsWhatChangedAlone(t *testing.T) {
	warmHome(t)
	for name, c := range map[string]struct {
		more string
		ran  []string
	}{
		"own file": {"files: [{from: a.txt, to: /srv/a.txt}]", []string{"files"}},
		// What the mirrors' layer covers is kept on top of apt, so what is bound to the base is built.
		"mirrors": {"", []string{"user", "apt", "originals", "mirrors"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := warmHome(t)
			w.push(ref(t, "1"))
			h := coldHome(t)
			text := shortRecipe(c.more)
			if name == "mirrors" {
				text = strings.Replace(shortRecipe(), "mirrors: {", "mirrors: {image: tuna, ", 1)
			}
			h.write("raybuild.yaml", text)
			h.write("a.txt", "own\n")
			out := h.push(ref(t, "new"), "-t", ref(t, "1"))
			for _, l := range out.meta.ran() {
				if !slices.Contains(c.ran, l) {
					t.Errorf("a step of %q ran, want only those of %v", l, c.ran)
				}
			}
			if out.meta.Raybuild.LayersFrom == "" {
				t.Error("no layer was taken from the image that is there")
			}
			w.write("raybuild.yaml", text)
			w.write("a.txt", "own\n")
			w.write("raybuild.lock", h.read("raybuild.lock"))
			if whole := w.push(ref(t, "whole"), "--reuse=false",
				"--graph-tag=false"); whole.meta.Digest != out.meta.Digest {
				t.Errorf("a whole build makes %s, the one from layers is %s\n%s", whole.meta.Digest, out.meta.Digest,
					differing(whole.meta, out.meta))
			}
		})
	}
}

// A layer that the registry has lost, or that is not what the record says, costs a note and a whole build.
func TestLostLayerIsBuilt(t *testing.T) {
	h := warmHome(t)
	c := newCounter(t)
	first := h.push(c.host + "/lost/ray:1")
	lost := first.meta.layer("env") // one of wheels would come from this machine
	there := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: testEnv.Registry})
	var answer http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+lost) {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
			return
		}
		there.ServeHTTP(w, r)
	}
	c.handler.Store(&answer)
	h.write("raybuild.yaml", shortRecipe("image: {labels: {team: lost}}"))
	out := h.push(c.host + "/lost/ray:2")
	from := out.meta.Raybuild.LayersFrom
	if from != "" || len(out.meta.Raybuild.Steps) == 0 || !strings.Contains(out.stderr, "building the whole image") {
		t.Errorf("with a lost layer the image is still of %q, %d steps:\n%s", from, len(out.meta.Raybuild.Steps),
			tail(out.stderr, 20))
	}
	if out.meta.layer("env") != lost {
		t.Error("the layer that was lost came out as another one")
	}
}
