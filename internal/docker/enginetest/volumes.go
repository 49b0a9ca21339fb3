package enginetest

import (
	"encoding/json"
	"net/http"
)

func (e *Engine) createVolume(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name   string
		Labels map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	if e.volumes[body.Name] == nil {
		e.volumes[body.Name] = &volume{labels: body.Labels, files: map[string][]byte{}}
	}
	w.WriteHeader(http.StatusCreated)
	//nolint:errcheck // the client sees it or is gone
	json.NewEncoder(w).Encode(map[string]any{"Name": body.Name, "Labels": e.volumes[body.Name].labels})
}

func (e *Engine) listVolumes(w http.ResponseWriter, r *http.Request) {
	out := []any{}
	for name, v := range e.volumes {
		if has(v.labels, wanted(r.URL.Query())) {
			out = append(out, map[string]any{"Name": name, "Labels": v.labels})
		}
	}
	reply(w, map[string]any{"Volumes": out})
}
