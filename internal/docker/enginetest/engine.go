// Package enginetest is a Docker Engine in memory: the calls that the launcher makes, for tests
// with more hosts than a machine can hold. What it answers was compared with a real Engine by the
// tests that run on both.
package enginetest

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

// Engine is one host's. Its Listener takes the connections to its socket.
type Engine struct {
	Listener *sshtest.Listener
	Name     string
	Version  string // 20.10.24; an answer's header tells it, too
	CPUs     int
	Memory   int64
	Images   map[string]map[string]string // labels of the images that it has, by reference
	Registry map[string]map[string]string // labels of the images that it can pull, by reference
	Skew     time.Duration                // of the host's clock
	Layers   map[string][]string          // diff IDs of images, by reference
	Refusal  string                       // why nothing can be pulled; empty: it can
	Digests  map[string]string            // that its registry gives for names and tags
	Ray      string                       // what `ray --version` prints in it; empty: what the image's label says
	Pulling  func()                       // is called when a pull begins; nil: nothing is

	mu         sync.Mutex
	containers map[string]*Container
	volumes    map[string]*volume
	calls      map[string]int
}

// Container is a container of the Engine.
type Container struct {
	ID, Name string
	State    string
	Cmd      []string
	Labels   map[string]string // with those of its image, as an Engine has them
	image    string
	Started  time.Time // as inspections and lists tell; zero: long ago
	Finished time.Time // the run before; zero: there was none
	mounts   []mount
	files    map[string][]byte
	end      End
}

type mount struct{ Type, Source, Target string }

type volume struct {
	labels map[string]string
	files  map[string][]byte
}

// Start serves an engine until the listener is closed.
func Start(name string, images, registry map[string]map[string]string) *Engine {
	e := &Engine{Listener: sshtest.NewListener(), Name: name, Version: "20.10.24", CPUs: 8, Memory: 16 << 30,
		Images: images, Registry: registry,
		containers: map[string]*Container{}, volumes: map[string]*volume{}, calls: map[string]int{}}
	mux := http.NewServeMux()
	route := func(pattern string, f func(w http.ResponseWriter, r *http.Request)) {
		method, p, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /v1.41"+p, func(w http.ResponseWriter, r *http.Request) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.calls[pattern]++
			f(w, r)
		})
	}
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	route("GET /info", e.info)
	route("GET /containers/json", e.list)
	route("POST /containers/create", e.create)
	route("GET /containers/{id}/json", e.inspect)
	route("POST /containers/{id}/start", e.state("running"))
	route("POST /containers/{id}/stop", e.state("exited"))
	route("DELETE /containers/{id}", e.remove)
	route("PUT /containers/{id}/archive", e.putArchive)
	route("GET /containers/{id}/archive", e.getArchive)
	route("GET /containers/{id}/logs", e.logs)
	route("GET /images/json", e.listImages)
	route("GET /images/{ref...}", e.image)
	route("GET /distribution/{ref...}", e.distribution)
	route("GET /system/df", e.diskUsage)
	route("DELETE /images/{ref...}", func(w http.ResponseWriter, r *http.Request) {
		delete(e.Images, r.PathValue("ref"))
		reply(w, []any{})
	})
	route("POST /images/create", e.pull)
	route("POST /images/load", e.load)
	route("POST /volumes/create", e.createVolume)
	route("GET /volumes", e.listVolumes)
	route("DELETE /volumes/{name}", func(w http.ResponseWriter, r *http.Request) {
		delete(e.volumes, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	})
	go http.Serve(e.Listener, e.signed(mux)) //nolint:errcheck // until the listener is closed
	return e
}

// signed adds what every answer of an Engine says of it and its clock.
func (e *Engine) signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		w.Header().Set("Server", "Docker/"+e.Version+" (linux)")
		w.Header().Set("Date", time.Now().Add(e.Skew).UTC().Format(http.TimeFormat))
		e.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// Become changes the host while it is used.
func (e *Engine) Become(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// Put brings all containers into a state.
func (e *Engine) Put(state string) {
	e.Become(func() {
		for _, c := range e.containers {
			c.State = state
		}
	})
}

// Restart has started all containers anew, at a time.
func (e *Engine) Restart(at time.Time) {
	e.Become(func() {
		for _, c := range e.containers {
			c.State, c.Finished, c.Started = "running", at.Add(-100*time.Millisecond), at
		}
	})
}

// Containers are those that there are, by name.
func (e *Engine) Containers() []Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Container
	for _, c := range e.containers {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Left counts what a host has of a cluster: containers and volumes.
func (e *Engine) Left() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.containers) + len(e.volumes)
}

// Calls is how often each route was called since the last time.
func (e *Engine) Calls() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.calls
	e.calls = map[string]int{}
	return out
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client sees it or is gone
}

func refuse(w http.ResponseWriter, code int, format string, a ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	//nolint:errcheck // the client sees it or is gone
	json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprintf(format, a...)})
}

func (e *Engine) info(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"Name": e.Name, "NCPU": e.CPUs, "MemTotal": e.Memory, "Architecture": "x86_64",
		"ServerVersion": e.Version,
		"DockerRootDir": "/var/lib/docker", "SystemTime": time.Now().Add(e.Skew).Format(time.RFC3339Nano)})
}

// wanted reads the label filters of a query, as the Engine's API has them: {"label":{"k=v":true}}.
func wanted(q url.Values) []string {
	var f map[string]map[string]bool
	if json.Unmarshal([]byte(q.Get("filters")), &f) != nil {
		return nil
	}
	var out []string
	for l := range f["label"] {
		out = append(out, l)
	}
	return out
}

func has(labels map[string]string, filters []string) bool {
	for _, f := range filters {
		k, v, valued := strings.Cut(f, "=")
		got, ok := labels[k]
		if !ok || valued && got != v {
			return false
		}
	}
	return true
}

func (e *Engine) list(w http.ResponseWriter, r *http.Request) {
	out := []any{}
	for _, c := range e.containers {
		if has(c.Labels, wanted(r.URL.Query())) {
			mounts := []any{}
			for _, m := range c.mounts {
				mounts = append(mounts, map[string]any{"Type": m.Type, "Name": m.Source, "Source": kept(m.Source),
					"Destination": m.Target})
			}
			status := "Up 3 hours"
			if !c.Started.IsZero() {
				status = "Up 3 seconds"
			}
			out = append(out, map[string]any{"Id": c.ID, "Names": []string{"/" + c.Name}, "State": c.State,
				"Status": status, "Labels": c.Labels, "ImageID": c.image, "Created": time.Now().Unix(),
				"Mounts": mounts})
		}
	}
	reply(w, out)
}

// kept is where the Engine keeps a volume.
func kept(volume string) string { return "/var/lib/docker/volumes/" + volume + "/_data" }

// Kept reads a file of a volume from where the Engine keeps it, as root of the host can.
func (e *Engine) Kept(file string) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, v := range e.volumes {
		for inside, data := range v.files {
			if kept(name)+"/"+path.Base(inside) == file {
				return data, true
			}
		}
	}
	return nil, false
}

func (e *Engine) find(w http.ResponseWriter, id string) *Container {
	for _, c := range e.containers {
		if c.ID == id || c.Name == id {
			return c
		}
	}
	refuse(w, http.StatusNotFound, "No such container: %s", id)
	return nil
}

func (e *Engine) create(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Image           string
		Entrypoint, Cmd []string
		Labels          map[string]string
		HostConfig      struct{ Mounts []mount }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	fromImage, ok := e.Images[body.Image]
	if !ok {
		refuse(w, http.StatusNotFound, "No such image: %s", body.Image)
		return
	}
	labels := maps.Clone(fromImage)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, body.Labels)
	name := r.URL.Query().Get("name")
	for _, c := range e.containers {
		if c.Name == name {
			refuse(w, http.StatusConflict, "Conflict. The container name %q is already in use by container %q.",
				"/"+name, c.ID)
			return
		}
	}
	id := make([]byte, 32)
	rand.Read(id)
	c := &Container{ID: hex.EncodeToString(id), Name: name, State: "created", Labels: labels,
		mounts: body.HostConfig.Mounts, image: body.Image,
		Cmd: append(body.Entrypoint, body.Cmd...), files: map[string][]byte{}}
	for _, m := range c.mounts {
		if m.Type == "volume" && e.volumes[m.Source] == nil {
			e.volumes[m.Source] = &volume{files: map[string][]byte{}}
		}
	}
	e.containers[c.ID] = c
	w.WriteHeader(http.StatusCreated)
	//nolint:errcheck // the client sees it or is gone
	json.NewEncoder(w).Encode(map[string]any{"Id": c.ID, "Warnings": []string{}})
}

func (e *Engine) inspect(w http.ResponseWriter, r *http.Request) {
	if c := e.find(w, r.PathValue("id")); c != nil {
		reply(w, map[string]any{"Id": c.ID, "Name": "/" + c.Name, "Config": map[string]any{"Labels": c.Labels},
			"State": map[string]any{"Status": c.State, "Running": c.State == "running",
				"StartedAt": c.Started.Format(time.RFC3339Nano), "FinishedAt": c.Finished.Format(time.RFC3339Nano),
				"ExitCode": c.end.Code, "OOMKilled": c.end.OOM}})
	}
}

func (e *Engine) state(to string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if c := e.find(w, r.PathValue("id")); c != nil {
			c.State = to
			w.WriteHeader(http.StatusNoContent)
		}
	}
}

func (e *Engine) remove(w http.ResponseWriter, r *http.Request) {
	if c := e.find(w, r.PathValue("id")); c != nil {
		delete(e.containers, c.ID)
		w.WriteHeader(http.StatusNoContent)
	}
}

// place finds the files that a path of a container lies in: a volume's, or its own.
func (e *Engine) place(c *Container, p string) map[string][]byte {
	for _, m := range c.mounts {
		if m.Type == "volume" && (p == m.Target || strings.HasPrefix(p, m.Target+"/")) {
			return e.volumes[m.Source].files
		}
	}
	return c.files
}

func (e *Engine) putArchive(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r.PathValue("id"))
	if c == nil {
		return
	}
	dir := r.URL.Query().Get("path")
	for t := tar.NewReader(r.Body); ; {
		h, err := t.Next()
		if err == io.EOF {
			return
		}
		data, rerr := io.ReadAll(t)
		if err != nil || rerr != nil {
			refuse(w, http.StatusBadRequest, "%v %v", err, rerr)
			return
		}
		p := path.Join(dir, h.Name)
		e.place(c, p)[p] = data
	}
}

func (e *Engine) getArchive(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r.PathValue("id"))
	if c == nil {
		return
	}
	p := path.Clean(r.URL.Query().Get("path"))
	data, ok := e.place(c, p)[p]
	if !ok {
		refuse(w, http.StatusNotFound, "Could not find the file %s in container %s", p, c.ID)
		return
	}
	stat, err := json.Marshal(map[string]any{"name": path.Base(p), "size": len(data), "mode": 0o444,
		"mtime": time.Unix(0, 0)})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "%v", err)
		return
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	t.WriteHeader(&tar.Header{Name: path.Base(p), Mode: 0o444, Size: int64(len(data))}) //nolint:errcheck // into memory
	t.Write(data)                                                                       //nolint:errcheck // into memory
	t.Close()                                                                           // into memory
	//nolint:errcheck // the client sees it or is gone
	w.Write(b.Bytes())
}
