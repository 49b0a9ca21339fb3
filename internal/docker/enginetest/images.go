package enginetest

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Pulled is how many bytes come over the wire for each image.
const Pulled = 3 << 20

// Unused is how many bytes of images no container uses.
const Unused = 5 << 20

// listImages lists the images that the Engine has. An image's ID is its reference here.
func (e *Engine) listImages(w http.ResponseWriter, _ *http.Request) {
	out := []any{}
	for ref := range e.Images {
		out = append(out, map[string]any{"Id": ref, "RepoTags": []string{}, "Size": 1 << 20})
	}
	reply(w, out)
}

// diskUsage answers as Engines before API 1.52 do.
func (e *Engine) diskUsage(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"LayersSize": 2 * Unused,
		"Images": []any{map[string]any{"Id": "sha256:0", "Containers": 0, "Size": Unused, "SharedSize": 0}}})
}

func (e *Engine) image(w http.ResponseWriter, r *http.Request) {
	ref := strings.TrimSuffix(r.PathValue("ref"), "/json")
	labels, ok := e.Images[ref]
	if !ok {
		refuse(w, http.StatusNotFound, "No such image: %s", ref)
		return
	}
	reply(w, map[string]any{"Id": "sha256:0", "Architecture": "amd64", "Size": 1 << 20,
		"Config": map[string]any{"Labels": labels},
		"RootFS": map[string]any{"Type": "layers", "Layers": e.Layers[ref]}})
}

// distribution asks the registry for the digest of a name or tag.
func (e *Engine) distribution(w http.ResponseWriter, r *http.Request) {
	if e.Refusal != "" {
		refuse(w, http.StatusInternalServerError, "%s", e.Refusal)
		return
	}
	digest := e.Digests[strings.TrimSuffix(r.PathValue("ref"), "/json")]
	if digest == "" {
		refuse(w, http.StatusNotFound, "manifest unknown: manifest unknown")
		return
	}
	reply(w, map[string]any{"Descriptor": map[string]any{"digest": digest}})
}

func (e *Engine) pull(w http.ResponseWriter, r *http.Request) {
	if e.Refusal != "" {
		refuse(w, http.StatusInternalServerError, "%s", e.Refusal)
		return
	}
	q := r.URL.Query()
	ref := q.Get("fromImage") + "@" + q.Get("tag")
	labels, ok := e.Registry[ref]
	if !ok {
		refuse(w, http.StatusNotFound, "manifest for %s not found", ref)
		return
	}
	if e.Pulling != nil {
		e.mu.Unlock() // the Engine answers others meanwhile
		e.Pulling()
		e.mu.Lock()
	}
	e.Images[ref] = labels
	for _, current := range []int64{1 << 20, Pulled} {
		reply(w, map[string]any{"status": "Downloading", "id": "1a2b",
			"progressDetail": map[string]int64{"current": current, "total": Pulled}})
	}
	reply(w, map[string]string{"status": "Downloaded newer image for " + ref})
}

func (e *Engine) load(w http.ResponseWriter, r *http.Request) {
	for t := tar.NewReader(r.Body); ; {
		h, err := t.Next()
		if err != nil {
			return
		}
		var list []struct{ RepoTags []string }
		if h.Name == "manifest.json" && json.NewDecoder(t).Decode(&list) == nil {
			for _, i := range list {
				for _, tag := range i.RepoTags {
					e.Images[tag] = nil
					fmt.Fprintf(w, "{\"stream\":\"Loaded image: %s\\n\"}\n", tag) // the client sees it or is gone
				}
			}
		}
	}
}
