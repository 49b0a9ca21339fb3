package enginetest

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
)

// End is how a container ended.
type End struct {
	Code int
	OOM  bool   // the kernel killed it
	Log  string // all that it printed, on its stderr
}

// EndAll lets all containers end.
func (e *Engine) EndAll(end End) {
	e.Become(func() {
		for _, c := range e.containers {
			c.State, c.end = "exited", end
		}
	})
}

// logs gives what a container printed as one frame of the Engine's stream: 2 for stderr, three zeros, the length.
func (e *Engine) logs(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r.PathValue("id"))
	if c != nil && slices.Equal(c.Cmd, []string{"ray", "--version"}) {
		text := "ray, version " + cmp.Or(e.Ray, c.Labels["dev.raybuild.ray"]) + "\n"
		frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(text)))
		w.Write(append(frame, text...)) //nolint:errcheck // the client sees it or is gone
		return
	}
	if c == nil || c.end.Log == "" {
		return
	}
	frame := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, uint32(len(c.end.Log)))
	w.Write(append(frame, c.end.Log...)) //nolint:errcheck // the client sees it or is gone
}

// Run adds a container that runs, as somebody else starts one by hand. Its image is there then, with labels of its own.
func (e *Engine) Run(name, image string, imageLabels, labels map[string]string) {
	e.Become(func() {
		e.Images[image] = imageLabels
		all := maps.Clone(imageLabels)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, labels)
		e.containers[name] = &Container{ID: name, Name: name, State: "running", Labels: all, image: image,
			files: map[string][]byte{}}
	})
}
