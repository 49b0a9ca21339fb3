package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

// Annotations by which a manifest names the documents that are attached to its image. Whoever may write
// to a repository can attach other documents. The manifest's digest covers these.
const (
	// LockAnnotation holds the digest of the lock.
	LockAnnotation = "dev.raybuild.lock"
	// InputsAnnotation holds the digest of the record of inputs (BuildRecord.Digest).
	InputsAnnotation = "dev.raybuild.inputs"
	// RecipeAnnotation holds the digest of the recipe's record.
	RecipeAnnotation = "dev.raybuild.recipe"
)

// ownAnnotations are the annotations that follow from everything else in the manifest. They are no inputs.
func ownAnnotations() []string {
	return []string{GraphAnnotation, LockAnnotation, InputsAnnotation, RecipeAnnotation}
}

// inputAnnotations are the annotations of a manifest without raybuild's own.
func inputAnnotations(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if !slices.Contains(ownAnnotations(), k) {
			out[k] = v
		}
	}
	return out
}

// NameDocuments adds the digests of lock, record and recipe to the annotations. The graph's digest does not
// depend on them.
func (g *Graph) NameDocuments(lock []byte, inputs *BuildRecord, recipe []byte) error {
	record, err := inputs.Digest()
	if err != nil {
		return err
	}
	g.Annotations = maps.Clone(g.Annotations)
	g.Annotations[LockAnnotation] = digest.FromBytes(lock).String()
	g.Annotations[InputsAnnotation] = record.String()
	g.Annotations[RecipeAnnotation] = digest.FromBytes(recipe).String()
	return nil
}

// UnnamedAnnotations returns the annotations without the digests of lock, record and recipe. Images of
// an earlier raybuild have these annotations.
func (g *Graph) UnnamedAnnotations() map[string]string {
	out := inputAnnotations(g.Annotations)
	out[GraphAnnotation] = g.Annotations[GraphAnnotation]
	return out
}

// Digest is the digest of what the record says of the image's inputs. It leaves out the passed tests, and
// whether the builder could merge: both are known only after the image has its digest.
func (i *BuildRecord) Digest() (digest.Digest, error) {
	inputs := *i
	inputs.Linear, inputs.Platforms = false, slices.Clone(i.Platforms)
	for n := range inputs.Platforms {
		inputs.Platforms[n].Smoke, inputs.Platforms[n].SmokeWith = "", nil
	}
	data, err := inputs.Marshal()
	return digest.FromBytes(data), err
}

// Agreed returns what the record and another one with the same Digest both say. other may be nil.
func (i *BuildRecord) Agreed(other *BuildRecord) *BuildRecord {
	if other == nil {
		return i
	}
	out := *i
	out.Linear, out.Platforms = i.Linear || other.Linear, slices.Clone(i.Platforms)
	for n := range out.Platforms {
		p, also := &out.Platforms[n], other.Platforms[n]
		if p.Smoke != also.Smoke || !slices.Equal(p.SmokeWith, also.SmokeWith) {
			p.Smoke, p.SmokeWith = "", nil
		}
	}
	return &out
}

// CheckConfig returns an error if an image of a platform has another config or other annotations than the
// record says. config is the image's config as it is stored.
func (i *BuildRecord) CheckConfig(platform llb.Platform, config []byte, annotations map[string]string) error {
	name := llb.FormatPlatform(platform)
	at := slices.IndexFunc(i.Platforms, func(p PlatformRecord) bool { return p.Platform == name })
	if at < 0 {
		return fmt.Errorf("its record has no platform %q", name)
	}
	var image ocispecs.Image
	plain, err := llb.WithoutInlineCache(config)
	if err != nil {
		return err
	}
	read := json.NewDecoder(bytes.NewReader(plain))
	read.DisallowUnknownFields()
	if err := read.Decode(&image); err != nil {
		return fmt.Errorf("read its config: %w", err)
	}
	image.RootFS.DiffIDs = nil
	text, err := json.Marshal(image)
	if err != nil {
		return fmt.Errorf("write its config: %w", err)
	}
	if configKey(text, inputAnnotations(annotations)) != i.Platforms[at].Config.Key {
		return errors.New("its config or its annotations are not those of its record")
	}
	return nil
}

// configKey is the key of the config's record.
func configKey(config []byte, annotations map[string]string) digest.Digest {
	return digest.FromString(string(config) + jsonText(annotations))
}

// CheckRecord returns an error if a record has other layers than the graph, or layers with other keys. It does
// not compare the names and versions of inputs, which decide nothing. Unlike Record, it reads no files.
func (g *Graph) CheckRecord(ctx context.Context, record *BuildRecord) error {
	if len(record.Platforms) != len(g.made) || record.Compression != g.packing() {
		return errors.New("its record is that of another graph")
	}
	for i, made := range g.made {
		want, err := made.places(ctx)
		if err != nil {
			return err
		}
		config, err := g.configInputs(g.Images[i])
		if err != nil {
			return err
		}
		is := record.Platforms[i]
		same := slices.EqualFunc(want, is.Layers, func(a layerPlace, b LayerRecord) bool {
			return a == layerPlace{b.Name, b.Count, b.Key}
		})
		if !same || is.Platform != made.name || is.Config.Key != config.Key {
			return errors.New("its record is that of another graph")
		}
	}
	return nil
}

// layerPlace is what decides which layers of an image a LayerRecord stands for.
type layerPlace struct {
	name  string
	count int
	key   digest.Digest
}

// places are the places of all layers in the image's order.
func (m platformMade) places(ctx context.Context) ([]layerPlace, error) {
	each := m.each()
	keys, err := m.keys(ctx, each)
	if err != nil {
		return nil, err
	}
	front := []layerPlace{{"base", max(m.locked.Base.Layers, 1), keys[0]}}
	var rest []layerPlace
	for i, made := range each {
		place := layerPlace{made.name, 1, keys[i+1]}
		if made.onFront {
			front = append(front, place)
		} else {
			rest = append(rest, place)
		}
	}
	return append(front, rest...), nil
}
