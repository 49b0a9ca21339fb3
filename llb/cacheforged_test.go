package llb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// records is a cache's record of steps, as BuildKit keeps it (cache/remotecache/v1/types).
type records struct {
	Layers  []map[string]any `json:"layers"`
	Records []map[string]any `json:"records"`
}

// forge writes a cache beside the one in the registry, with the same layers and another record of
// steps, and tells where.
func (s *cacheServer) forge(t *testing.T, tag string, change func(config []byte) []byte) []llb.CacheEntry {
	t.Helper()
	repo := "http://" + s.host + "/v2/team/ray"
	var m ocispecs.Manifest
	if err := json.Unmarshal(get(t, repo+"/manifests/cache"), &m); err != nil {
		t.Fatal(err)
	}
	config := change(get(t, repo+"/blobs/"+m.Config.Digest.String()))
	m.Config.Digest, m.Config.Size = digest.FromBytes(config), int64(len(config))
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	root := ocispecs.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	texts := map[digest.Digest][]byte{root.Digest: manifest, m.Config.Digest: config}
	source := func(_ context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(texts[d.Digest][offset:])), nil
	}
	if _, err := registry.New(registry.Options{}).Push(t.Context(), root, source,
		registry.PushOptions{Names: []string{s.host + "/team/ray:" + tag}}); err != nil {
		t.Fatal(err)
	}
	return []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": s.host + "/team/ray:" + tag}}}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", ocispecs.MediaTypeImageManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return data
}

// rewritten is a change of the record of steps.
func rewritten(t *testing.T, change func(r *records)) func([]byte) []byte {
	return func(config []byte) []byte {
		var r records
		if err := json.Unmarshal(config, &r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// layerOf points every result of the record at the layer that at gives for its own.
func (r *records) layerOf(at func(int) int) {
	for _, rec := range r.Records {
		results, _ := rec["layers"].([]any)
		for _, one := range results {
			if m, ok := one.(map[string]any); ok {
				n, _ := m["layer"].(float64)
				m["layer"] = at(int(n))
			}
		}
	}
}

// swap gives the results of the steps of env and data to one another: the image has as many layers as it should.
func (r *records) swap(t *testing.T, img llb.ImageResult) {
	t.Helper()
	var two []string
	for _, l := range img.Layers {
		if l.Name == "env" || l.Name == "data" {
			two = append(two, l.Digest.String())
		}
	}
	if len(two) != 2 {
		t.Fatalf("the image has not the layers env and data: %+v", img.Layers)
	}
	for _, l := range r.Layers {
		switch l["blob"] {
		case two[0]:
			l["blob"] = two[1]
		case two[1]:
			l["blob"] = two[0]
		}
	}
}

// C1 and C2 of the fault matrix: a record of steps that is too long, or does not fit the layers
// beside it, costs a warning.
func TestRecordOfStepsThatIsWrongCostsAWarning(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	cold := build(t, connect(t), w, chainImage(w, chain{"1", "1", "1"}),
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s)}})
	b := connect(t) // empty for the first; the import is tried each time
	for name, c := range map[string]struct {
		change func([]byte) []byte
		says   string
	}{
		"too long": {func(p []byte) []byte { return append(p, bytes.Repeat([]byte(" "), 1<<20)...) }, "too large"},
		"no JSON":  {func(p []byte) []byte { return p[:len(p)/2] }, "unexpected end of JSON"},
		"layers there": {rewritten(t, func(r *records) { r.layerOf(func(int) int { return len(r.Layers) + 7 }) }),
			"invalid layer"},
		"steps there": {rewritten(t, func(r *records) {
			for _, rec := range r.Records {
				rec["inputs"] = [][]map[string]any{{{"link": len(r.Records) + 7}}}
			}
		}), "invalid record"},
		"in a circle": {rewritten(t, func(r *records) {
			for i, rec := range r.Records {
				rec["inputs"] = [][]map[string]any{{{"link": i}}}
			}
		}), "looping"},
	} {
		t.Run(name, func(t *testing.T) {
			from := s.forge(t, strings.ReplaceAll(name, " ", "-"), c.change)
			got := build(t, b, w, chainImage(w, chain{"1", "1", "1"}),
				llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: from, CacheBudget: budget}})
			if got.Digest != cold.Digest {
				t.Errorf("the image is %s, without a cache %s", got.Digest, cold.Digest)
			}
			if !strings.Contains(failures(got), c.says) {
				t.Errorf("what is wrong with the cache is told as %q, want %q", failures(got), c.says)
			}
		})
	}
}

// C2: what a cache says about which step made which layer is believed, as is whoever may write to
// it. The image is another then, and the builder keeps what it took from the cache, until a build
// without any.
func TestForgedRecordOfStepsIsBelieved(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	img := chainImage(w, chain{"1", "1", "1"})
	cold := build(t, connect(t), w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s)}})
	from := s.forge(t, "forged", rewritten(t, func(r *records) { r.swap(t, cold.Images[0]) }))
	b := connect(t)
	forged := build(t, b, w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: from}})
	if text := failures(forged); text != "" || forged.Digest == cold.Digest {
		t.Errorf("a forged record is not believed any more (%s, %q): say so in docs/design.md", forged.Digest, text)
	}
	if clean := build(t, b, w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{NoCache: true}}); clean.Digest !=
		cold.Digest {
		t.Errorf("a build without any cache makes %s after a forged one, want %s", clean.Digest, cold.Digest)
	}
}
