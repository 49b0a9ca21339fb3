package build

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// trips are the requests that a registry gets, over a link on which each takes a while.
type trips struct {
	mu  sync.Mutex
	all []trip
}

// trip is one request.
type trip struct {
	from, to time.Time
	what     string
}

// slowLink puts the link before the registry. What is asked at the same time overlaps there also on a busy machine.
func slowLink(c *counter, takes time.Duration) *trips {
	l := &trips{}
	there := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: testEnv.Registry})
	var answer http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		one := trip{from: time.Now(), what: r.Method + " " + r.URL.Path}
		time.Sleep(takes)
		there.ServeHTTP(w, r)
		one.to = time.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, one)
	}
	c.handler.Store(&answer)
	return l
}

// chain is the largest number of requests that came one after the other.
func (l *trips) chain() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.all, func(a, b trip) int { return a.to.Compare(b.to) })
	var (
		chain []string
		last  time.Time
	)
	for _, one := range l.all {
		if !one.from.Before(last) {
			chain, last = append(chain, one.what), one.to
		}
	}
	return chain
}

// An edit that builds nothing takes few round trips one after the other, and leaves all that a push
// leaves: the graph's tags, and lock, inputs and recipe with the image.
func TestLabelTakesFewRoundTrips(t *testing.T) {
	h := warmHome(t)
	c := newCounter(t)
	name := c.host + "/trips/ray:1"
	h.push(name)
	h.env = []string{"BUILDKIT_HOST=" + nobody}
	h.write("raybuild.yaml", shortRecipe("image: {labels: {team: far-away}}"))
	link := slowLink(c, 100*time.Millisecond)
	out := h.push(name)
	if m := out.meta.Raybuild; len(m.Steps) != 0 || m.BytesPushed != 0 || m.LayersFrom == "" {
		t.Errorf("%d steps, %d bytes pushed, layers from %q: want an image made from the one before", len(m.Steps),
			m.BytesPushed, m.LayersFrom)
	}
	// Login; what the name is; its config and its record, which two others lead to; is each blob
	// there; an upload opened, and made; the name; what belongs to it.
	if chain := link.chain(); len(chain) > 12 {
		t.Errorf("%d requests came one after the other, want at most 12:\n%s", len(chain), strings.Join(chain, "\n"))
	}
	layers := len(out.meta.Raybuild.Layers)
	// Each of the two bills and the provenance takes three: an upload opened, and made; and what belongs to it.
	if n, most := len(link.all), layers+30+9; n > most {
		t.Errorf("%d requests for %d layers, want at most %d", n, layers, most)
	}
	there, err := remote.List(repositoryOf(t, testEnv.Registry+"/trips/ray:1"))
	if err != nil {
		t.Fatal(err)
	}
	graphs := slices.DeleteFunc(there, func(tag string) bool { return !strings.HasPrefix(tag, "graph-") })
	if len(graphs) != 3 || !slices.Contains(graphs, "graph-last") {
		t.Errorf("the repository has the graphs' tags %v, want those of two graphs and of the last one", graphs)
	}
	repo := repositoryOf(t, name)
	for _, tag := range graphs {
		desc, err := remote.Head(repo.Tag(tag))
		if err != nil {
			t.Fatal(err)
		}
		if tag == "graph-last" && desc.Digest.String() != out.meta.Digest {
			t.Errorf("the last graph is %s, want %s", desc.Digest, out.meta.Digest)
		}
	}
	index, err := remote.Referrers(repo.Digest(out.meta.Digest))
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range list.Manifests {
		kinds = append(kinds, d.ArtifactType)
	}
	slices.Sort(kinds)
	if want := []string{"application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json",
		"application/vnd.raybuild.inputs.v1+json", "application/vnd.raybuild.lock.v1+yaml",
		"application/vnd.raybuild.recipe.v1+json"}; !slices.Equal(kinds, want) {
		t.Errorf("with the image are %v, want %v", kinds, want)
	}
	if lock := h.run("inspect", "--lock", name); lock.stdout != warm.lock {
		t.Errorf("the image carries another lock: exit %d\n%s", lock.code, lock.stderr)
	}
}

// The registry is asked for layers that are kept while the others are built, and not once more with those.
func TestKeptLayersAreAskedForDuringTheBuild(t *testing.T) {
	h := warmHome(t)
	c := newCounter(t)
	name := c.host + "/trips-file/ray:1"
	h.push(name)
	h.write("a.txt", "asked ahead")
	h.write("raybuild.yaml", shortRecipe("files: [{from: a.txt, to: /srv/a.txt}]"))
	link := slowLink(c, 100*time.Millisecond)
	out := h.push(name)
	if out.meta.Raybuild.LayersFrom == "" {
		t.Fatalf("no layer is taken from the image before:\n%s", tail(out.stderr, 20))
	}
	first := func(digest string) (one trip, ok bool) {
		at := slices.IndexFunc(link.all, func(one trip) bool {
			return one.what == "GET /v2/trips-file/ray/blobs/"+digest
		})
		if at < 0 {
			return trip{}, false
		}
		return link.all[at], true
	}
	link.mu.Lock()
	defer link.mu.Unlock()
	slices.SortFunc(link.all, func(a, b trip) int { return a.from.Compare(b.from) })
	var made []trip
	for _, l := range out.meta.Raybuild.Layers {
		if one, ok := first(l.Digest); ok && !l.Reused {
			made = append(made, one)
		}
	}
	if len(made) == 0 {
		t.Fatal("the registry is not asked whether it has the new layer")
	}
	for _, l := range out.meta.Raybuild.Layers {
		if !l.Reused {
			continue
		}
		if one, ok := first(l.Digest); !ok || one.to.After(made[0].from) {
			t.Errorf("whether layer %q is there is asked (%v) when the new layers are made already", l.Name, ok)
		}
	}
}
