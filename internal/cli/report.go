package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// metadata is what --metadata-file holds: buildx's keys, and raybuild's own below "raybuild".
type metadata struct {
	Digest   string        `json:"containerimage.digest"`
	Name     string        `json:"image.name,omitempty"`
	Raybuild buildMetadata `json:"raybuild"`
}

type buildMetadata struct {
	Engine       string          `json:"engine"`
	LockDigest   string          `json:"lock_digest"`
	UpToDate     bool            `json:"up_to_date"`
	Found        *hitMetadata    `json:"found,omitempty"`       // where another tag or repository had the image, and nothing was built
	LayersFrom   string          `json:"layers_from,omitempty"` // the image, by digest, that layers which did not change are taken from
	Smoke        string          `json:"smoke,omitempty"`       // "passed", "passed before" (this image or one alike), or "off"
	Seconds      float64         `json:"seconds"`
	BytesFetched int64           `json:"bytes_fetched"`
	BytesPushed  int64           `json:"bytes_pushed"`
	Steps        []stepMetadata  `json:"steps"`
	Layers       []layerMetadata `json:"layers"`
	Cache        *cacheMetadata  `json:"cache,omitempty"` // where caches were imported or exported
}

type stepMetadata struct {
	Name    string  `json:"name"`
	Layer   string  `json:"layer"`
	Cached  bool    `json:"cached"`
	Seconds float64 `json:"seconds"`
}

type layerMetadata struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Reused bool          `json:"reused"` // the registry had it before
}

// report collects what a build did, and tells it at the end.
type report struct {
	j       *job
	o       *buildOptions
	meta    metadata
	pushing bool // the push has begun
	times   times
	sent    map[digest.Digest]bool // layers that the push has dealt with; true: they were there
	before  sentLayers
	earlier []llb.Step      // of an attempt that could not end
	notes   []string        // for the end, when progress is shown no longer
	inStore bool            // the image is in a Docker Engine's store only, under the digest of its config
	stored  registry.Pushed // what a Docker Engine pushed out of its own store
}

func newReport(j *job, o *buildOptions) *report {
	return &report{j: j, o: o, meta: metadata{Name: strings.Join(o.names, ","), Raybuild: buildMetadata{
		LockDigest: digest.FromBytes(j.data).String(), Steps: []stepMetadata{}, Layers: []layerMetadata{},
	}}}
}

// beforePush notes what is going to be pushed.
func (r *report) beforePush(res *llb.Result) {
	r.layers(res)
	r.pushing, r.times.push = true, time.Now()
}

// pushed notes what was sent.
func (r *report) pushed(done registry.Pushed) {
	m := &r.meta.Raybuild
	r.sent = done.Reused
	m.BytesPushed = done.Bytes + r.before.sum()
	for i := range m.Layers {
		d := m.Layers[i].Digest
		m.Layers[i].Reused = done.Reused[d] && !r.sentBefore(d)
	}
}

// builderPushes asks the registry which layers it has already: the builder does not tell what it sends. Those that raybuild had sent
// itself when it found that it could not go on are not reused for that.
func (r *report) builderPushes(ctx context.Context, why error) error {
	m := &r.meta.Raybuild
	if r.sent == nil { // raybuild's own push did not begin
		m.BytesPushed = r.before.sum()
	}
	r.notes = append(r.notes, fmt.Sprintf("note: the builder pushed: %v", why))
	blobs := make([]digest.Digest, len(m.Layers))
	for i, l := range m.Layers {
		blobs[i] = l.Digest
	}
	has, err := r.j.registry.Has(ctx, r.o.names[0], blobs...)
	if err != nil {
		r.notes = append(r.notes, fmt.Sprintf("warning: all layers are counted as pushed, for it is not known which of them were there: %v", err))
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		if reused, told := r.sent[l.Digest]; told {
			l.Reused = reused && !r.sentBefore(l.Digest)
			continue
		}
		before := r.sentBefore(l.Digest)
		if l.Reused = has[l.Digest] && !before; !l.Reused && !before {
			m.BytesPushed += l.Size
		}
	}
	return nil
}

// layers keeps the layers of what was built.
func (r *report) layers(res *llb.Result) {
	r.meta.Raybuild.Layers = []layerMetadata{}
	for _, image := range res.Images {
		for _, l := range image.Layers {
			r.meta.Raybuild.Layers = append(r.meta.Raybuild.Layers, layerMetadata{Name: l.Name, Digest: l.Digest, Size: l.Size})
		}
	}
}

// interrupted says how far the build had come.
func (r *report) interrupted() error {
	state := "nothing was pushed; run again to continue: finished steps are kept"
	if r.before.sum() > 0 {
		state = "no tag was moved; run again to continue: finished steps are kept, and so are layers that arrived"
	}
	if !r.o.push {
		state = "run again to continue: finished steps are kept"
	} else if r.pushing {
		state = "the push was under way, and tags may still be the old ones; run again to continue: layers that arrived are kept"
	}
	return &interruptedError{state}
}

// upToDate ends a call that found its image in the registry.
func (r *report) upToDate(h *hit, graph *layers.Graph, took time.Duration) error {
	r.found(h, graph.Images)
	says := fmt.Sprintf("up to date: %s is this graph already", h.Ref)
	if m := r.meta.Raybuild; m.Found != nil {
		says = m.Found.says(m.BytesPushed)
	}
	r.j.app.say("%s (%.2f s)", says, took.Seconds())
	return r.end(took)
}

// layerNames names the n layers of an image of one platform as its graph does, where each of the graph's layers came to one.
func layerNames(images []llb.Image, n int) []string {
	names := make([]string, n)
	if len(images) != 1 || len(images[0].BaseLayers)+len(images[0].Layers) != n {
		return names
	}
	for i, text := range images[0].BaseLayers {
		names[i] = llb.LayerOf(text)
	}
	for i, l := range images[0].Layers {
		names[len(images[0].BaseLayers)+i] = l.Name
	}
	return names
}

// built ends a build.
func (r *report) built(res *llb.Result, took time.Duration) error {
	m := &r.meta.Raybuild
	if r.meta.Digest = res.Digest.String(); r.j.builder != nil {
		m.Engine = r.j.builder.Engine
	}
	if res.Digest == "" {
		r.meta.Digest, r.inStore = res.Stored.String(), res.Stored != ""
	}
	if r.o.push && res.Stored != "" {
		r.layers(res)
		r.pushed(r.stored)
	}
	m.BytesFetched = r.j.sources.Bytes()
	if !r.o.push {
		r.layers(res)
	}
	for _, s := range r.withEarlier(res.Steps) {
		m.Steps = append(m.Steps, stepMetadata{s.Name, s.Layer, s.Cached, s.Seconds})
	}
	if res.Line {
		r.j.app.say("note: this builder cannot merge layers, so the image is laid out as a line: its digest differs from other builders', and an edit rebuilds what follows it")
	}
	for _, note := range r.notes {
		r.j.app.say("%s", note)
	}
	var tested string
	m.Smoke, tested = r.tested(res)
	if r.table(took); tested != "" {
		r.j.app.say("%s", tested)
	}
	r.caches(res.Caches)
	return r.end(took)
}

// table tells layers and steps on standard error.
func (r *report) table(took time.Duration) {
	m := r.meta.Raybuild
	rows := [][]string{{"LAYER", "DIGEST", "SIZE", ""}}
	for _, l := range m.Layers {
		state := ""
		if r.o.push {
			state = "pushed"
			if l.Reused {
				state = "reused"
			}
		}
		rows = append(rows, []string{layerName(l.Name), short(l.Digest.String()), size(l.Size), state})
	}
	ran := 0
	for _, s := range m.Steps {
		if !s.Cached {
			ran++
		}
	}
	if len(m.Layers) > 0 {
		r.j.app.say("\n%s\n", table(rows))
	}
	builder := "builder: " + m.Engine
	if m.Engine == "" {
		builder = "no builder needed"
	}
	r.j.app.say("%d of %d steps run, %s fetched, %s pushed, %.1f s, %s",
		ran, len(m.Steps), size(m.BytesFetched), size(m.BytesPushed), took.Seconds(), builder)
	if m.LayersFrom != "" {
		r.j.app.say("layers that did not change are those of %s", m.LayersFrom)
	}
}

// layerName names a layer; those of the base have no name of their own.
func layerName(name string) string {
	if name == "" {
		return "(base)"
	}
	return name
}

// end writes the metadata file, and the result: one line, unless standard output is the image itself.
func (r *report) end(took time.Duration) error {
	r.meta.Raybuild.Seconds = took.Seconds()
	r.jobSummary()
	if r.o.metadataFile != "" {
		data, err := json.MarshalIndent(r.meta, "", "  ")
		if err != nil {
			return fmt.Errorf("write metadata: %w", err)
		}
		if err := writeFile(r.j.app.path(r.o.metadataFile), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	ref := r.meta.Digest
	// What a Docker Engine keeps it knows by its config's digest, which is no digest to pull by.
	if len(r.o.names) > 0 && !r.inStore {
		pinned, err := registry.Pin(r.o.names[0], r.meta.Digest)
		if err != nil {
			return err
		}
		ref = pinned
	}
	if r.j.result != nil {
		return r.j.result(ref)
	}
	for _, out := range r.o.parsed.outputs {
		if out.dest == "-" {
			r.j.app.say("%s", ref)
			return nil
		}
	}
	return r.j.app.print("%s", ref)
}
