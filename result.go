package raybuild

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Result describes a finished or failed build. The keys of its JSON are those of --metadata-file
// below "raybuild". Sizes are in bytes.
type Result struct {
	Engine     string `json:"engine"` // "embedded", "docker", or the builder's address; "": none was needed
	LockDigest string `json:"lock_digest"`
	UpToDate   bool   `json:"up_to_date"` // one of the names already had this image
	// set if another tag or repository had the image, so nothing was built
	Found *Found `json:"found,omitempty"`
	// the image, by digest, that unchanged layers were reused from
	LayersFrom string `json:"layers_from,omitempty"`
	// "passed", "passed before" (it or an equal image), "skipped" (it only adds packages), or "off"
	Smoke        string        `json:"smoke,omitempty"`
	Seconds      float64       `json:"seconds"`
	BytesFetched int64         `json:"bytes_fetched"`
	BytesPushed  int64         `json:"bytes_pushed"`
	Steps        []Step        `json:"steps"`
	Layers       []LayerResult `json:"layers"`

	// Reference is the first name with the digest, or the digest alone if there is no name.
	Reference string `json:"-"`
	// Digest is the digest of the manifest, or of the index if there are several platforms. If the
	// image is only in a Docker Engine's store, it is the digest of the config. "": there is no image.
	Digest string `json:"-"`
	// Tested says in words how the image was tested. "": it was not tested.
	Tested string `json:"-"`
	// Graph is the graph that was built, and Lock is the lock that it was made from.
	Graph *layers.Graph `json:"-"`
	Lock  *layers.Lock  `json:"-"`
	// Ran has the steps with their times, also after a build that failed.
	Ran []llb.Step `json:"-"`
	// Resolved has the layers that were resolved before the build, with times of this machine's clock.
	Resolved []llb.Step `json:"-"`
	// Caches are the imports and exports of caches.
	Caches []llb.CacheWork `json:"-"`
	// Pushing tells whether the push of the image began. PushBegan is zero if it did not, and
	// PushEnded is zero if it did not end.
	Pushing              bool      `json:"-"`
	PushBegan, PushEnded time.Time `json:"-"`
	// Before is the image, by digest, that the first name had before the build, if
	// BuildOptions.Before is set; "": no image. BeforeUnknown says why this is not known.
	Before, BeforeUnknown string `json:"-"`
}

// Step is a run or file operation of a build.
type Step struct {
	Name    string  `json:"name"`
	Layer   string  `json:"layer"`
	Cached  bool    `json:"cached"`
	Seconds float64 `json:"seconds"`
}

// LayerResult is a layer of a built image.
type LayerResult struct {
	Name   string        `json:"name"` // "": it is a layer of the base
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`   // compressed
	Reused bool          `json:"reused"` // the registry already had it
}

// tally collects the result while the build runs.
type tally struct {
	p       *Project
	o       *BuildOptions
	res     *Result
	sent    map[digest.Digest]bool // layers of the push; true: the registry already had the layer
	before  sentLayers
	earlier []llb.Step      // steps of an attempt that did not finish
	notes   []Event         // events to log at the end, when progress is no longer shown
	inStore bool            // the image is only in a Docker Engine's store, under its config's digest
	stored  registry.Pushed // what a Docker Engine pushed from its own store
}

func newTally(p *Project, o *BuildOptions, graph *layers.Graph) *tally {
	return &tally{p: p, o: o, res: &Result{
		LockDigest: digest.FromBytes(p.data).String(), Steps: []Step{}, Layers: []LayerResult{},
		Graph: graph, Lock: p.lock, Resolved: p.resolved,
	}}
}

// lookBefore asks which image the first name has before the build.
func (t *tally) lookBefore(ctx context.Context) {
	if !t.o.Before || !t.o.Push {
		return
	}
	found, ok, err := t.p.registry.Head(ctx, t.o.Names[0])
	switch {
	case err != nil:
		t.res.BeforeUnknown = err.Error()
	case ok:
		t.res.Before = found.Ref
	}
}

// steps notes the steps. After a build that failed nothing else is known.
func (t *tally) steps(all []llb.Step) {
	t.res.Ran = t.withEarlier(all)
	if t.res.Pushing {
		t.res.PushEnded = time.Now()
	}
}

// beforePush notes what will be pushed.
func (t *tally) beforePush(res *llb.Result) {
	t.layers(res)
	t.res.Pushing, t.res.PushBegan = true, time.Now()
}

// pushed notes what was sent.
func (t *tally) pushed(done registry.Pushed) {
	t.sent = done.Reused
	t.res.BytesPushed = done.Bytes + t.before.sum()
	for i := range t.res.Layers {
		d := t.res.Layers[i].Digest
		t.res.Layers[i].Reused = done.Reused[d] && !t.sentBefore(d)
	}
}

// builderPushes asks the registry which layers it has before the builder pushes, because the builder
// does not tell what it sends. Layers that raybuild itself sent before do not count as reused.
func (t *tally) builderPushes(ctx context.Context, why error) {
	if t.sent == nil { // raybuild's own push did not begin
		t.res.BytesPushed = t.before.sum()
	}
	t.notes = append(t.notes, Event{Note, fmt.Sprintf("the builder pushed: %v", why)})
	blobs := make([]digest.Digest, len(t.res.Layers))
	for i, l := range t.res.Layers {
		blobs[i] = l.Digest
	}
	has, err := t.p.registry.Has(ctx, t.o.Names[0], blobs...)
	if err != nil {
		t.notes = append(t.notes, Event{Warning,
			fmt.Sprintf("all layers are counted as pushed, because it is not known which of them the registry had: %v",
				err)})
	}
	for i := range t.res.Layers {
		l := &t.res.Layers[i]
		if reused, told := t.sent[l.Digest]; told {
			l.Reused = reused && !t.sentBefore(l.Digest)
			continue
		}
		before := t.sentBefore(l.Digest)
		if l.Reused = has[l.Digest] && !before; !l.Reused && !before {
			t.res.BytesPushed += l.Size
		}
	}
}

// layers notes the layers of the built image.
func (t *tally) layers(res *llb.Result) {
	t.res.Layers = []LayerResult{}
	for _, image := range res.Images {
		for _, l := range image.Layers {
			t.res.Layers = append(t.res.Layers, LayerResult{Name: l.Name, Digest: l.Digest, Size: l.Size})
		}
	}
}

// interrupted returns an error that says how far the build got.
func (t *tally) interrupted(ctx context.Context, err error) error {
	state := "nothing was pushed; run again to continue: finished steps are kept"
	if t.before.sum() > 0 {
		state = "no tag was moved; run again to continue: finished steps are kept, and so are layers that arrived"
	}
	if !t.o.Push {
		state = "run again to continue: finished steps are kept"
	} else if t.res.Pushing {
		state = "the push was under way, and tags may still be the old ones; run again to continue: layers that " +
			"arrived are kept"
	}
	return interrupted(ctx, state, err)
}

// found ends a call that built nothing because a registry had the image.
func (t *tally) found(e *existingImage) error {
	t.res.Digest, t.res.UpToDate, t.res.BytesPushed = e.Digest.String(), e.how == "", e.sent.Bytes
	names := layerNames(t.res.Graph.Images, len(e.Layers))
	for i, l := range e.Layers {
		reused := e.how != copied || e.sent.Reused[l.Digest]
		t.res.Layers = append(t.res.Layers, LayerResult{Name: names[i], Digest: l.Digest, Size: l.Size, Reused: reused})
	}
	if e.how != "" {
		t.res.Found = &Found{e.how, e.Ref}
	}
	return t.name()
}

// layerNames returns the names of the n layers of an image of one platform, from its graph. The
// names are empty if the graph does not have n layers.
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

// built notes the result of a build.
func (t *tally) built(res *llb.Result) error {
	r := t.res
	if r.Digest = res.Digest.String(); t.p.builder != nil {
		r.Engine = t.p.builder.Engine
	}
	if res.Digest == "" {
		r.Digest, t.inStore = res.Stored.String(), res.Stored != ""
	}
	if t.o.Push && res.Stored != "" {
		t.layers(res)
		t.pushed(t.stored)
	}
	if !t.o.Push {
		t.layers(res)
	}
	for _, s := range t.withEarlier(res.Steps) {
		r.Steps = append(r.Steps, Step{s.Name, s.Layer, s.Cached, s.Seconds})
	}
	r.Caches = res.Caches
	if res.Linear {
		t.p.env.note("this builder cannot merge layers, so the image is laid out as a line: its digest differs from " +
			"other builders', and an edit rebuilds all layers after it")
	}
	for _, note := range t.notes {
		t.p.env.event(note.Kind, "%s", note.Text)
	}
	r.Smoke, r.Tested = t.tested(res)
	return t.name()
}

// name sets the result's reference. A Docker Engine knows an image in its store by the config's
// digest, which cannot be used to pull.
func (t *tally) name() error {
	t.res.Reference = t.res.Digest
	if len(t.o.Names) == 0 || t.inStore {
		return nil
	}
	ref, err := registry.Pin(t.o.Names[0], t.res.Digest)
	if err != nil {
		return err
	}
	t.res.Reference = ref
	return nil
}

// end returns the result of a call that has ended, with or without an error.
func (t *tally) end(took time.Duration) *Result {
	t.res.Seconds = took.Seconds()
	t.res.BytesFetched = t.p.sources.Bytes()
	return t.res
}

// Found says how an existing image was used for the names.
type Found struct {
	// "retagged" (another tag of the same repository had the image), or "copied" (another repository had it)
	How  string `json:"how"`
	From string `json:"from"` // where the image was found, by digest
}

// Text describes Found in words. pushed is how many bytes were sent.
func (f *Found) Text(pushed int64) string {
	if f.How == copied {
		moved := "its layers were mounted"
		if pushed > 0 {
			moved = show.Size(pushed) + " of layers were sent"
		}
		return fmt.Sprintf("copied from %s, which is this graph already: nothing was built, %s", f.From, moved)
	}
	return fmt.Sprintf("retagged: %s is this graph already, and nothing was built", f.From)
}
