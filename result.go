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

// Result is what a build came to. The keys of its JSON are those of --metadata-file below "raybuild". Sizes are bytes.
type Result struct {
	Engine     string `json:"engine"` // "embedded", "docker", or the builder's address; "": none was needed
	LockDigest string `json:"lock_digest"`
	UpToDate   bool   `json:"up_to_date"` // the first name was this image already
	// where another tag or repository had the image, and nothing was built
	Found *Found `json:"found,omitempty"`
	// the image, by digest, that layers which did not change are taken from
	LayersFrom   string        `json:"layers_from,omitempty"`
	Smoke        string        `json:"smoke,omitempty"` // "passed", "passed before" (this image or one alike), or "off"
	Seconds      float64       `json:"seconds"`
	BytesFetched int64         `json:"bytes_fetched"`
	BytesPushed  int64         `json:"bytes_pushed"`
	Steps        []Step        `json:"steps"`
	Layers       []LayerResult `json:"layers"`

	// Reference is the first of the names by digest, or the digest alone where there is none.
	Reference string `json:"-"`
	// Digest is that of the manifest, or of the index where there are several platforms. Of an
	// image that is in a Docker Engine's store only it is the config's. "": there is no image.
	Digest string `json:"-"`
	// Tested says in words how the image was tested. "": it was not.
	Tested string `json:"-"`
	// Graph is what was built, Lock what it was made from.
	Graph *layers.Graph `json:"-"`
	Lock  *layers.Lock  `json:"-"`
	// Ran is Steps with times, also those of a build that failed.
	Ran []llb.Step `json:"-"`
	// Caches are the imports and exports of caches.
	Caches []llb.CacheWork `json:"-"`
	// Pushing tells that the push of the image had begun. PushBegan and PushEnded are zero where it
	// had not, or did not.
	Pushing              bool      `json:"-"`
	PushBegan, PushEnded time.Time `json:"-"`
	// Before is what the first name was before, by digest, where that was asked for; "": nothing.
	// BeforeUnknown says why that is not known.
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
	Name   string        `json:"name"` // "": of the base
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`   // compressed
	Reused bool          `json:"reused"` // the registry had it before
}

// tally collects the result of a build while it runs.
type tally struct {
	p       *Project
	o       *BuildOptions
	res     *Result
	sent    map[digest.Digest]bool // layers that the push has dealt with; true: they were there
	before  sentLayers
	earlier []llb.Step      // of an attempt that could not end
	notes   []Event         // for the end, when progress is shown no longer
	inStore bool            // the image is in a Docker Engine's store only, under the digest of its config
	stored  registry.Pushed // what a Docker Engine pushed out of its own store
}

func newTally(p *Project, o *BuildOptions, graph *layers.Graph) *tally {
	return &tally{p: p, o: o, res: &Result{
		LockDigest: digest.FromBytes(p.data).String(), Steps: []Step{}, Layers: []LayerResult{},
		Graph: graph, Lock: p.lock,
	}}
}

// lookBefore asks what the first name is before the build.
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

// steps keeps how the steps went; of a build that fails nothing else is known.
func (t *tally) steps(all []llb.Step) {
	t.res.Ran = t.withEarlier(all)
	if t.res.Pushing {
		t.res.PushEnded = time.Now()
	}
}

// beforePush notes what is going to be pushed.
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

// builderPushes asks the registry which layers it has already: the builder does not tell what it
// sends. Those that raybuild had sent itself when it found that it could not go on are not reused
// for that.
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

// layers keeps the layers of what was built.
func (t *tally) layers(res *llb.Result) {
	t.res.Layers = []LayerResult{}
	for _, image := range res.Images {
		for _, l := range image.Layers {
			t.res.Layers = append(t.res.Layers, LayerResult{Name: l.Name, Digest: l.Digest, Size: l.Size})
		}
	}
}

// interrupted says how far the build had come.
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

// found ends a call that built nothing, because a registry had the image.
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

// layerNames names the n layers of an image of one platform as its graph does, where each of the
// graph's layers came to one.
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

// built takes in what a builder made.
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

// name gives the result its reference. What a Docker Engine keeps it knows by its config's digest,
// which is no digest to pull by.
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

// end gives the result of a call that has ended, well or not.
func (t *tally) end(took time.Duration) *Result {
	t.res.Seconds = took.Seconds()
	t.res.BytesFetched = t.p.sources.Bytes()
	return t.res
}

// Found says how an image that was there became what the names are.
type Found struct {
	// "retagged" (another tag of the repository was it), or "copied" (another repository had it)
	How  string `json:"how"`
	From string `json:"from"` // where it was, by digest
}

// Text says it in words. pushed is how many bytes that took.
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
