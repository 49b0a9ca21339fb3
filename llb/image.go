package llb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
)

// Image says which stages are merged into one filesystem, and which config the image has.
type Image struct {
	// Platform is what the image is for. Required.
	Platform Platform
	// Base is the lowest stage: a base image and the operations that are chained on it. It may be empty.
	Base Stage
	// BaseLayers has one history text for each layer of Base, oldest first.
	BaseLayers []string
	// Layers are merged on Base, later ones on top. If a stage is one layer, as that of [Diff] is, it becomes one
	// layer of the image.
	Layers []Layer
	// Config is what containers of the image start with.
	Config ocispecs.ImageConfig
	// Created is the time of the image and of each history entry; default [Epoch].
	Created time.Time
}

// Layer is a named piece of an image.
type Layer struct {
	Name  string // in results: "ray"
	Title string // its history text; default Name
	Stage Stage
}

// Definition is a marshalled image: a BuildKit graph and an image config.
type Definition struct {
	Platform Platform
	Def      *bkllb.Definition
	Config   []byte // OCI image config as JSON, without rootfs.diff_ids, which BuildKit fills in
	// names has the layer of each history entry that is not empty; "" for those of the image at the front.
	names []string
}

// Marshal writes the image as a graph. The same image gives the same bytes in every process and on every machine.
// With line the graph is one chain of steps and copies, for builders that cannot merge. Such a graph has other digests,
// and a change of a layer rebuilds all layers after it.
func (i Image) Marshal(ctx context.Context, line bool) (*Definition, error) {
	return i.marshal(ctx, newLayout(line, false))
}

func (i Image) marshal(ctx context.Context, l *layout) (*Definition, error) {
	if i.Platform.OS == "" || i.Platform.Architecture == "" {
		return nil, errors.New("marshal image: platform is required")
	}
	stages, errs := []Stage{i.Base}, []error{i.Base.err}
	for _, l := range i.Layers {
		if l.Stage.err != nil && !slices.ContainsFunc(errs, func(e error) bool { return errors.Is(e, l.Stage.err) }) {
			errs = append(errs, l.Stage.err)
		}
		stages = append(stages, l.Stage)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := Merge("merge layers", stages...)
	def, err := marshalStage(ctx, all, i.Platform, l)
	if err != nil {
		return nil, err
	}
	d := &Definition{Platform: i.Platform, Def: def}
	if d.Config, d.names, err = i.config(); err != nil {
		return nil, err
	}
	return d, nil
}

// marshalStage marshals st with nothing of this machine in it.
func marshalStage(ctx context.Context, st Stage, p Platform, l *layout) (*bkllb.Definition, error) {
	if st.err != nil {
		return nil, st.err
	}
	if st.n == nil {
		return nil, errors.New("marshal stage: it is empty")
	}
	state := l.state(st.n)
	if l.err != nil {
		return nil, l.err
	}
	def, err := state.Marshal(ctx, constraints(p)...)
	if err != nil {
		return nil, fmt.Errorf("marshal stage %q: %w", st.n.title, err)
	}
	if err := finish(def); err != nil {
		return nil, err
	}
	return def, nil
}

// finish gives a name to operations of [FromState] without one, so that progress shows no raw command. It also removes
// capabilities that a builder need not have.
func finish(def *bkllb.Definition) error {
	const key = "llb.customname"
	for _, dt := range def.Def {
		op, err := decodeOp(dt)
		if err != nil {
			return err
		}
		dgst := digest.FromBytes(dt)
		md := def.Metadata[dgst]
		// A builder that does not know this word hashes what it need not, and is right all the same.
		delete(md.Caps, pb.CapExecMountContentCache)
		if op.Op == nil || md.Description[key] != "" {
			continue
		}
		desc := map[string]string{key: "custom operation"}
		for k, v := range md.Description {
			desc[k] = v
		}
		md.Description = desc
		def.Metadata[dgst] = md
	}
	return nil
}

func decodeOp(dt []byte) (*pb.Op, error) {
	var op pb.Op
	if err := proto.Unmarshal(dt, &op); err != nil {
		return nil, fmt.Errorf("decode operation: %w", err)
	}
	return &op, nil
}

// MarshalConfig writes the config alone, as Marshal does with the graph.
func (i Image) MarshalConfig() ([]byte, error) {
	dt, _, err := i.config()
	return dt, err
}

// config writes the image config whole. History has one entry for each layer, with fixed times: what is missing
// BuildKit would fill in by names and times that differ between a built layer and a cached one.
func (i Image) config() (dt []byte, names []string, err error) {
	created := i.Created.UTC().Truncate(time.Second)
	if i.Created.IsZero() {
		created = Epoch()
	}
	img := ocispecs.Image{Created: &created, Platform: i.Platform, Config: i.Config,
		RootFS: ocispecs.RootFS{Type: "layers"}}
	add := func(layer, text string) {
		names = append(names, layer)
		img.History = append(img.History, ocispecs.History{Created: &created, CreatedBy: text})
	}
	for _, text := range i.BaseLayers {
		add(LayerOf(text), text)
	}
	if n := i.Base.n.layerCount(); n != unknown && n != len(i.BaseLayers) {
		return nil, nil, fmt.Errorf("marshal image: base has %d layers, but %d history texts", n, len(i.BaseLayers))
	}
	for _, l := range i.Layers {
		text := l.Title
		if text == "" {
			text = l.Name
		}
		n := l.Stage.n.layerCount()
		if n == unknown {
			n = 1
		}
		for range n {
			add(l.Name, text)
		}
	}
	if dt, err = json.Marshal(img); err != nil {
		return nil, nil, fmt.Errorf("marshal image config: %w", err)
	}
	return dt, names, nil
}

// Digest is the digest of the graph: equal digests mean equal operations and an equal config. It does not depend on
// titles.
func (d *Definition) Digest() digest.Digest {
	h := sha256.New()
	write := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, dt := range d.Def.Def {
		write(dt)
	}
	write(d.Config)
	return digest.NewDigest(digest.SHA256, h)
}

// Bytes writes the graph in BuildKit's own format, as `buildctl build` reads it from standard input. The same graph
// gives the same bytes.
func (d *Definition) Bytes() ([]byte, error) {
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.Def.ToPB())
	if err != nil {
		return nil, fmt.Errorf("marshal definition: %w", err)
	}
	return dt, nil
}
