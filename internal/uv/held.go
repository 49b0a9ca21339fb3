package uv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
)

// pagesOf are the packages whose pages their lock can answer, by name. There is none where the lock does not say what
// the files are.
func (q Question) pagesOf(locked []Held) map[string]Held {
	local := map[string]bool{}
	for _, line := range q.requirements() {
		if n, _, ok := strings.Cut(line, " @ "); ok {
			local[n] = true
		}
	}
	out := map[string]Held{}
	for _, h := range locked {
		if h.URL != "" && h.SHA256 != "" && !local[h.Name] {
			out[h.Name] = h
		}
	}
	return out
}

// servePage answers with an index page (PEP 691) that has the held file and no other. uv must not keep it.
func servePage(w http.ResponseWriter, h Held) {
	u, err := url.Parse(h.URL)
	if err != nil {
		http.Error(w, "the lock has no url", http.StatusBadGateway)
		return
	}
	u.Scheme = "http" // the gateway knows which hosts need https
	name := path.Base(u.Path)
	file := map[string]any{
		"filename": name, "url": u.String(), "hashes": map[string]string{"sha256": h.SHA256},
		"core-metadata": strings.HasSuffix(name, ".whl"), "yanked": false,
	}
	if h.Size > 0 {
		file["size"] = h.Size
	}
	body, err := json.Marshal(map[string]any{
		"meta": map[string]string{"api-version": "1.1"}, "name": h.Name, "versions": []string{h.Version},
		"files": []any{file},
	})
	if err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // uv's going is its own matter
}

// preferences is a pylock.toml with the versions of the old lock, which uv reads as what it had found before.
func preferences(held []Held) ([]byte, error) {
	lock := pylock.Lock{CreatedBy: "raybuild"}
	for _, h := range held {
		lock.Packages = append(lock.Packages, pylock.Package{Name: h.Name, Version: h.Version})
	}
	return lock.Marshal()
}
