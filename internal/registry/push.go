package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Source opens a blob of the image, from offset to its end. It returns os.ErrNotExist if nobody has the
// blob. Several goroutines call it at once, and it is called again for the same blob after a connection
// broke.
type Source func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error)

// PushOptions say where a push goes and how patient it is. Names must be set; the zero value of all other
// fields works.
type PushOptions struct {
	// Names are the references that the image gets; at least one.
	Names []string
	// Documents are what the caller will Attach to the image. The push sends their bytes with the image's
	// own blobs. Default: none.
	Documents []Document
	// From are images whose blobs a registry may mount, if a name is of the same registry. Default: none.
	From []string
	// Present names blobs that a repository of a name already has. The push does not ask for them. If the
	// registry then refuses a manifest, the push asks for all blobs, and sends the missing ones. Default:
	// none.
	Present Presence
	// Retry is how long the push repeats a request that fails and brings no byte further. Below zero, the
	// first failure ends the push. Default: 5 minutes.
	Retry time.Duration
	// Reach is how long the push tries a registry that never answered. Default: 15 seconds.
	Reach time.Duration
	// Stall is the longest time in which no byte moves. Default: 1 minute.
	Stall time.Duration
	// Answer is the longest wait for an answer after the registry got a whole blob, which it may be
	// checking. Default: 10 minutes.
	Answer time.Duration
	// Pause is the first wait between two tries. Each wait doubles it, up to 80 times Pause. Default: 200
	// ms.
	Pause time.Duration
	// Ready is called when the registries have all of the image except its names. If it returns an error,
	// the push ends and gives no name. store puts the manifest into the first name's repository under its
	// digest alone. Default: the push gives the names at once.
	Ready func(ctx context.Context, store func(context.Context) error) error
	// Sign is called after Ready, when each repository of a name has the image under its digest. It gets a
	// reference by digest for each of them. If it returns an error, the push ends and gives no name. Default:
	// nothing is called.
	Sign func(ctx context.Context, images []string) error
	// Progress gets how many bytes of a blob are sent; at the end this is its size. Default: nobody gets
	// it.
	Progress func(d ocispecs.Descriptor, sent int64, reused bool)
	// Log gets what delays the push. Default: nobody gets it.
	Log func(format string, args ...any)
}

func (o PushOptions) withDefaults() PushOptions {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Retry, 5*time.Minute)
	set(&o.Reach, 15*time.Second)
	set(&o.Stall, time.Minute)
	set(&o.Answer, 10*time.Minute)
	set(&o.Pause, 200*time.Millisecond)
	if o.Progress == nil {
		o.Progress = func(ocispecs.Descriptor, int64, bool) {}
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// Pushed is what a push did.
type Pushed struct {
	Bytes  int64                  // of layers that were sent; a layer that was sent twice counts twice
	Reused map[digest.Digest]bool // layers that the first name's repository had, or mounted
}

// uploads is how many large blobs are sent at once.
const uploads = 4

// Push sends the image or index root to all names. It sends no blob that the registry has, and mounts blobs
// of other repositories that it knows there. A blob of 1 MiB or more whose upload breaks goes on from the
// byte that the registry names. A smaller blob goes in one request, which is repeated if it fails.
//
// Push gives the names last. By then the registry has shown that it has every blob; for those of
// [PushOptions.Present] it did so earlier. So a tag never names an image that was not whole.
func (c *Client) Push(ctx context.Context, root ocispecs.Descriptor, source Source, o PushOptions) (Pushed, error) {
	p := &pusher{c: c, o: o.withDefaults(), source: source, known: map[digest.Digest]bool{},
		done: Pushed{Reused: map[digest.Digest]bool{}}}
	if err := p.read(ctx, root); err != nil {
		return Pushed{}, fmt.Errorf("push %q: %w", o.Names, err)
	}
	p.add(o.Documents)
	targets, err := p.targets()
	if err != nil {
		return Pushed{}, err
	}
	for i, t := range targets {
		err := p.fill(ctx, t, i == 0)
		if t.doubts(err) {
			err = p.fill(ctx, t, i == 0)
		}
		if err != nil {
			return p.done, c.fail(opPush, t.ref, t.repo.RegistryStr(), err)
		}
	}
	if p.o.Ready != nil {
		store := func(ctx context.Context) error {
			_, err := targets[0].putManifest(ctx, p.root(), p.root().Digest.String())
			return err
		}
		if err := p.o.Ready(ctx, store); err != nil {
			return p.done, err
		}
	}
	if err := p.sign(ctx, targets); err != nil {
		return p.done, err
	}
	for i, t := range targets {
		if err := p.put(ctx, t, i == 0, func() error { return t.putTags(ctx, p.root()) }); err != nil {
			return p.done, err
		}
	}
	return p.done, nil
}

// PushBlobs sends layers of an image to the first name's repository before the image is complete. The push
// of the image then finds them there.
func (c *Client) PushBlobs(ctx context.Context, layers []ocispecs.Descriptor, source Source,
	o PushOptions) (Pushed, error) {
	p := &pusher{c: c, o: o.withDefaults(), source: source, blobs: layers, layers: map[digest.Digest]bool{},
		done: Pushed{Reused: map[digest.Digest]bool{}}}
	for _, l := range layers {
		p.layers[l.Digest] = true
	}
	targets, err := p.targets()
	if err != nil {
		return Pushed{}, err
	}
	if err := p.fill(ctx, targets[0], true); err != nil {
		return p.done, c.fail(opPush, targets[0].ref, targets[0].repo.RegistryStr(), err)
	}
	return p.done, nil
}

// pusher is one push.
type pusher struct {
	c         *Client
	o         PushOptions
	source    Source
	manifests []manifestToPush // children before parents, so the root is the last
	blobs     []ocispecs.Descriptor
	layers    map[digest.Digest]bool
	known     map[digest.Digest]bool   // manifests and blobs that were read already
	documents map[digest.Digest][]byte // the data of documents, by digest
	fresh     bool                     // no registry can have the documents yet

	mu   sync.Mutex
	done Pushed
}

// root is the manifest or index of the whole image.
func (p *pusher) root() manifestToPush { return p.manifests[len(p.manifests)-1] }

// manifestToPush is a manifest or index as it is stored.
type manifestToPush struct {
	ocispecs.Descriptor
	data []byte
}

// read reads a manifest, its children, and the list of its blobs.
func (p *pusher) read(ctx context.Context, d ocispecs.Descriptor) error {
	if p.known[d.Digest] {
		return nil
	}
	p.known[d.Digest] = true
	data, err := p.document(ctx, d)
	if err != nil {
		return err
	}
	var m struct {
		MediaType string                `json:"mediaType"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
		Config    *ocispecs.Descriptor  `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read manifest %s: %w", d.Digest, err)
	}
	for _, child := range m.Manifests {
		if err := p.read(ctx, child); err != nil {
			return err
		}
	}
	if d.MediaType = m.MediaType; d.MediaType == "" {
		d.MediaType = ocispecs.MediaTypeImageManifest
		if m.Config == nil {
			d.MediaType = ocispecs.MediaTypeImageIndex
		}
	}
	p.manifests = append(p.manifests, manifestToPush{d, data})
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(slices.Clone(m.Layers), *m.Config)
	}
	for i, b := range blobs {
		if p.layers == nil {
			p.layers = map[digest.Digest]bool{}
		}
		p.layers[b.Digest] = p.layers[b.Digest] || i < len(m.Layers)
		if !p.known[b.Digest] {
			p.known[b.Digest] = true
			p.blobs = append(p.blobs, b)
		}
	}
	return nil
}

// add adds the blobs of documents.
func (p *pusher) add(docs []Document) {
	for _, doc := range docs {
		p.addBlobs(doc.Data, []byte(emptyConfig))
	}
}

// addBlobs adds blobs that are in memory.
func (p *pusher) addBlobs(all ...[]byte) {
	if p.documents == nil {
		p.documents = map[digest.Digest][]byte{}
	}
	for _, data := range all {
		d := ocispecs.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		if p.documents[d.Digest] = data; !p.known[d.Digest] {
			p.known[d.Digest] = true
			p.blobs = append(p.blobs, d)
		}
	}
}

// open opens a blob.
func (p *pusher) open(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	if data, ok := p.documents[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}
	return p.source(ctx, d, offset)
}

// document reads a manifest, and checks its digest.
func (p *pusher) document(ctx context.Context, d ocispecs.Descriptor) ([]byte, error) {
	r, err := p.source(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxAttachment))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", d.Digest, err)
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("read manifest %s: its bytes have digest %s: run again", d.Digest, got)
	}
	return data, nil
}

// targets are the repositories of the names, in order. Each may mount blobs from the ones before it.
func (p *pusher) targets() ([]*target, error) {
	var from []name.Repository
	for _, ref := range p.o.From {
		parsed, _, err := p.c.parse(ref)
		if err != nil {
			return nil, err
		}
		from = append(from, parsed.Context())
	}
	if len(p.o.Names) == 0 {
		return nil, errors.New("push: no name to push to")
	}
	var all []*target
	for _, ref := range p.o.Names {
		parsed, _, err := p.c.parse(ref)
		if err != nil {
			return nil, err
		}
		repo := parsed.Context()
		i := slices.IndexFunc(all, func(t *target) bool { return t.repo.String() == repo.String() })
		if i < 0 {
			i = len(all)
			all = append(all, &target{p: p, repo: repo, ref: ref})
			if p.o.Present.repository == repo.String() {
				all[i].present = p.o.Present
			}
			for _, r := range from {
				if r.RegistryStr() == repo.RegistryStr() && r.String() != repo.String() {
					all[i].mounts = append(all[i].mounts, r)
				}
			}
			from = append([]name.Repository{repo}, from...)
		}
		all[i].tags = append(all[i].tags, parsed.Identifier())
	}
	return all, nil
}

// fill sends every blob, and every manifest except the root, to a repository.
func (p *pusher) fill(ctx context.Context, t *target, first bool) error {
	missing, err := p.missing(ctx, t, first)
	if err != nil {
		return err
	}
	// Small blobs go first, all at once: they cost round trips, not bandwidth.
	slices.SortStableFunc(missing, func(a, b ocispecs.Descriptor) int {
		return cmp.Compare(min(a.Size, askFirst), min(b.Size, askFirst))
	})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * jobs)
	large := make(chan struct{}, uploads)
	for _, d := range missing {
		g.Go(func() error {
			if d.Size >= askFirst {
				select {
				case large <- struct{}{}:
				case <-gctx.Done():
					return context.Cause(gctx)
				}
				defer func() { <-large }()
			}
			u := &sending{t: t, d: d}
			err := u.run(gctx)
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.layers[d.Digest] {
				p.done.Bytes += u.sent.Load()
				if first && err == nil {
					p.done.Reused[d.Digest] = u.mounted
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.c.documents.add(t.repo, p.documents)
	for _, m := range p.manifests[:max(len(p.manifests)-1, 0)] { // none where layers alone are pushed
		if _, err := t.putManifest(ctx, m, m.Digest.String()); err != nil {
			return err
		}
	}
	return nil
}
