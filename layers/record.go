package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// BuildRecordVersion is the version of the record of inputs that this package writes.
const BuildRecordVersion = 2

// BuildRecord says what an image was made of: for each layer the names of its inputs, each with a
// version or a digest. It travels with the image, so that anybody can see later which input of which
// layer has changed. It holds no secret value and no command: it has the ids of secrets and the
// digests of commands.
type BuildRecord struct {
	// Version is the record's version; BuildRecordVersion.
	Version int `json:"version"`
	// Graph is the digest of the graph.
	Graph digest.Digest `json:"graph"`
	// Compression of the layers, with its level; all of them change with it.
	Compression string `json:"compression"`
	// Linear tells that the builder could not merge, so each layer depends on all layers before it.
	Linear bool `json:"line,omitempty"`
	// Platforms in the order of the image's index.
	Platforms []PlatformRecord `json:"platforms"`
}

// PlatformRecord is one platform's part of a BuildRecord.
type PlatformRecord struct {
	// Platform such as "linux/amd64".
	Platform string `json:"platform"`
	// Config has the inputs of the image's config and of the manifest's annotations.
	Config LayerRecord `json:"config"`
	// Layers in the image's order: "base" first.
	Layers []LayerRecord `json:"layers"`
	// Smoke is the digest of the test that the image has passed, or one to which it only adds packages; ""
	// if neither was tested.
	Smoke digest.Digest `json:"smoke,omitempty"`
	// SmokeWith are the names of the Debian packages that the image had in that test.
	SmokeWith []string `json:"smoke_with,omitempty"`
}

// HasPackages tells whether a layer has Ray or Python packages. Which of them are in a layer, and its name, depend on
// the version of raybuild.
func (i *BuildRecord) HasPackages(layer string) bool {
	return slices.ContainsFunc(i.Platforms, func(p PlatformRecord) bool {
		return slices.ContainsFunc(p.Layers, func(l LayerRecord) bool { return l.Name == layer && l.Layer == "ray" })
	})
}

// LayerRecord is one layer's part of a BuildRecord.
type LayerRecord struct {
	// Name of the layer: "base", "apt", "ray", a step's.
	Name string `json:"name"`
	// Layer is the name of the recipe's layer that it belongs to, as the lock has it.
	Layer string `json:"layer"`
	// Count is the number of the image's layers that it has; a base may have more than one.
	Count int `json:"count"`
	// Key is the digest of all operations that make it, with those of the layers that it depends on.
	// Layers with equal keys are equal.
	Key digest.Digest `json:"key"`
	// On are the names of the layers that its step sees.
	On []string `json:"on,omitempty"`
	// Values are its own inputs by name. The value of an artifact is "VERSION DIGEST PLACE".
	Values map[string]string `json:"values"`
	// Bytes is the size of its artifacts and files in the lock; 0 if it has none.
	Bytes int64 `json:"bytes,omitempty"`
}

// platformMade has the steps by which one platform's image was made.
type platformMade struct {
	name   string
	layers []Layer
	stacks []Stack // before the first of layers, and after each
	locked *LockPlatform
}

// described is a layer that can name its inputs. Other layers, such as those of a Go program, have
// only the digest of their operations.
type described interface {
	// inputs gives the inputs of one layer of the image; made is its name. A Layer can make several.
	inputs(on Stack, made string, locked []Artifact) (inputSet, error)
}

// inputSet has the inputs that a layer names.
type inputSet struct {
	values map[string]string
	on     []string // names of the image's layers
	bytes  int64
}

// Record names the inputs of each layer, from the same data that the graph is made of. It reads local
// files again, to name these too.
func (g *Graph) Record(ctx context.Context) (*BuildRecord, error) {
	if g.onto != nil {
		return g.inputsOnto(ctx)
	}
	out := &BuildRecord{Version: BuildRecordVersion, Graph: g.Digest, Compression: g.packing()}
	for i, made := range g.made {
		p, err := made.inputs(ctx)
		if err != nil {
			return nil, fmt.Errorf("name inputs of platform %q: %w", made.name, err)
		}
		if p.Config, err = g.configInputs(g.Images[i]); err != nil {
			return nil, fmt.Errorf("name inputs of platform %q: %w", made.name, err)
		}
		out.Platforms = append(out.Platforms, p)
	}
	return out, nil
}

// Marshal writes the record. The same record gives the same bytes.
func (i *BuildRecord) Marshal() ([]byte, error) {
	data, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("write record of inputs: %w", err)
	}
	return data, nil
}

// ParseBuildRecord reads a record that came with an image.
func ParseBuildRecord(data []byte) (*BuildRecord, error) {
	var in BuildRecord
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("read record of inputs: %w", err)
	}
	if in.Version != BuildRecordVersion {
		return nil, fmt.Errorf("read record of inputs: its version is %d, this raybuild knows %d: use the raybuild "+
			"that pushed the image, or push it again", in.Version, BuildRecordVersion)
	}
	for _, p := range in.Platforms {
		for _, l := range p.Layers {
			if l.Count < 1 || l.Count > maxImageLayers || l.Bytes < 0 || l.Name == "" {
				return nil, fmt.Errorf("read record of inputs: layer %q of %q is not valid", l.Name, p.Platform)
			}
		}
	}
	return &in, nil
}

// maxImageLayers is more layers than engines take (127, by overlayfs as Docker uses it).
const maxImageLayers = 1000

// layerMade is how one layer came about.
type layerMade struct {
	layer   Layer
	on      Stack
	name    string
	stage   llb.Stage
	onFront bool // it is bound to the base
}

// each are all layers but the base's own, as they were made.
func (m platformMade) each() []layerMade {
	var all []layerMade
	for i, layer := range m.layers {
		before, after := m.stacks[i], m.stacks[i+1]
		for n := len(before.front); n < len(after.front); n++ {
			name := layer.Name()
			if name == "mirrors" {
				name = originalsLayer
			}
			all = append(all, layerMade{layer, before, name, after.fronts[n], true})
		}
		for _, made := range after.layers[len(before.layers):] {
			all = append(all, layerMade{layer, before, made.Name, made.Stage, false})
		}
	}
	return all
}

// inputs of all layers, in the image's order: what is bound to the base first.
func (m platformMade) inputs(ctx context.Context) (PlatformRecord, error) {
	each := m.each()
	keys, err := m.keys(ctx, each)
	if err != nil {
		return PlatformRecord{}, err
	}
	front := []LayerRecord{{Name: "base", Layer: "base", Count: max(m.locked.Base.Layers, 1), Key: keys[0],
		Values: map[string]string{"base": pinned(m.locked.Base)}}}
	var rest []LayerRecord
	for i, made := range each {
		l, err := m.layer(made.layer, made.on, made.name, keys[i+1])
		if err != nil {
			return PlatformRecord{}, err
		}
		if !made.onFront {
			l.On = frontOf(l.On, front)
			rest = append(rest, l)
			continue
		}
		for _, f := range front {
			if !slices.Contains(l.On, f.Name) {
				l.On = append(l.On, f.Name)
			}
		}
		front = append(front, l)
	}
	return PlatformRecord{Platform: m.name, Layers: append(front, rest...)}, nil
}

// keys are the keys of the base and of all other layers.
func (m platformMade) keys(ctx context.Context, each []layerMade) ([]digest.Digest, error) {
	stages := []llb.Stage{m.stacks[0].BaseStage}
	for _, made := range each {
		stages = append(stages, made.stage)
	}
	return llb.Keys(ctx, m.stacks[0].Platform, stages...)
}

// onFront stands for all layers that are bound to the base.
const onFront = "front"

// originalsLayer is the layer with the .bak copies of what the mirrors layer covers.
const originalsLayer = "originals"

// frontOf writes out onFront.
func frontOf(on []string, front []LayerRecord) []string {
	i := slices.Index(on, onFront)
	if i < 0 {
		return on
	}
	out := slices.Clone(on[:i])
	for _, f := range front {
		out = append(out, f.Name)
	}
	return append(out, on[i+1:]...)
}

func (m platformMade) layer(layer Layer, on Stack, name string, key digest.Digest) (LayerRecord, error) {
	out := LayerRecord{Name: name, Layer: layer.Name(), Count: 1, Key: key}
	d, ok := layer.(described)
	if !ok {
		out.Values = map[string]string{"operations": key.String()}
		return out, nil
	}
	set, err := d.inputs(on, name, m.locked.layer(layer.Name()))
	if err != nil {
		return LayerRecord{}, fmt.Errorf("layer %q: %w", name, err)
	}
	out.Values, out.On, out.Bytes = set.values, set.on, set.bytes
	return out, nil
}

// configInputs are those of the image's config, and the manifest's annotations.
func (g *Graph) configInputs(image llb.Image) (LayerRecord, error) {
	config, err := image.MarshalConfig()
	if err != nil {
		return LayerRecord{}, err
	}
	values := map[string]string{}
	annotations := inputAnnotations(g.Annotations)
	for k, v := range annotations {
		values["annotation "+k] = v
	}
	c := image.Config
	for k, v := range c.Labels {
		values["label "+k] = v
	}
	for _, v := range c.Env {
		k, v := cutVariable(v)
		values["env "+k] = v
	}
	for k, v := range map[string]string{"user": c.User, "workdir": c.WorkingDir, "entrypoint": jsonText(c.Entrypoint),
		"cmd": jsonText(c.Cmd)} {
		values["image."+k] = v
	}
	values["created"] = image.Created.UTC().Format("2006-01-02T15:04:05Z")
	titles := slices.Clone(image.BaseLayers)
	for _, l := range image.Layers {
		titles = append(titles, l.Title)
	}
	values["history"] = jsonDigest(titles)
	return LayerRecord{Name: "config", Layer: "config", Count: 1,
		Key: configKey(config, annotations), Values: values}, nil
}
