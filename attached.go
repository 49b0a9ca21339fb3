package raybuild

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// pushedImage is an image in a registry with the record that is attached to it.
type pushedImage struct {
	registry.Image
	record *layers.BuildRecord // nil: it has no record, or one that does not fit the image
	doubt  error               // why the record may be another image's; nil: the manifest names it
}

// loadPushedImage reads an image and its record, and what is attached of further types. It ignores a record that does
// not fit the image's layers.
func loadPushedImage(ctx context.Context, c *registry.Client, ref string, more ...string) (*pushedImage, error) {
	image, err := c.Inspect(ctx, ref, append(more, inputsType)...)
	if err != nil {
		return nil, err
	}
	out := &pushedImage{Image: image}
	if image.Annotations[layers.InputsAnnotation] == "" {
		out.doubt = errUnnamed
	}
	record := recordAmong(image.Attached[inputsType], image.Annotations)
	if record == nil {
		return out, nil
	}
	for _, p := range record.Platforms {
		count := 0
		for _, l := range p.Layers {
			count += l.Count
		}
		found := out.platform(p.Platform)
		if found == nil || len(found.Layers) != count {
			return out, nil
		}
		if err := record.CheckConfig(found.Platform, found.RawConfig, found.Annotations); err != nil &&
			out.doubt == nil {
			out.doubt = err
		}
	}
	out.record = record
	return out, nil
}

// platform returns the image of one platform, or nil.
func (c *pushedImage) platform(name string) *registry.PlatformImage {
	if c == nil {
		return nil
	}
	for i := range c.Platforms {
		if llb.FormatPlatform(c.Platforms[i].Platform) == name {
			return &c.Platforms[i]
		}
	}
	return nil
}

// recordAmong returns the record of inputs that an image's manifest names, or nil. The manifest of an image
// that an earlier raybuild pushed names none. Then it returns a record that says that it is of the image's graph.
// The name does not cover which tests the image has passed, so all records with the name have to agree on that.
func recordAmong(found []registry.Attachment, annotations map[string]string) *layers.BuildRecord {
	named := annotations[layers.InputsAnnotation]
	var out *layers.BuildRecord
	for _, a := range found {
		in, err := layers.ParseBuildRecord(a.Data)
		if err != nil || in.Graph.String() != annotations[layers.GraphAnnotation] {
			continue
		}
		if named == "" {
			return in
		}
		if d, err := in.Digest(); err != nil || d.String() != named {
			continue
		}
		out = in.Agreed(out)
	}
	return out
}

// errOtherDocument says that a document is not the one that the manifest names.
var errOtherDocument = errors.New("what is attached is not what the image's manifest names: somebody has attached " +
	"something else")

// attachedTo returns the documents of a kind that are attached to an image, and that its manifest names by an
// annotation. If the manifest has no such annotation, it returns all of the kind.
func attachedTo(ctx context.Context, c *registry.Client, image *registry.Image,
	kind, annotation string) ([]registry.Attachment, error) {
	found, err := c.Attached(ctx, image.Ref, kind)
	if err != nil {
		return nil, err
	}
	named := image.Annotations[annotation]
	if named == "" || len(found) == 0 {
		return found, nil
	}
	found = slices.DeleteFunc(found, func(a registry.Attachment) bool {
		return digest.FromBytes(a.Data).String() != named
	})
	if len(found) == 0 {
		return nil, errOtherDocument
	}
	return found, nil
}

// lockOf returns the lock that is attached to an image, or nil.
func lockOf(ctx context.Context, c *registry.Client, image *registry.Image) (*layers.Lock, error) {
	found, err := attachedTo(ctx, c, image, lockType, layers.LockAnnotation)
	if err != nil {
		return nil, fmt.Errorf("read lock of image %q: %w", image.Ref, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return layers.ParseLock(found[len(found)-1].Data, "lock of "+image.Ref)
}

// sourceOf returns the recipe's record that an image carries for its graph, or nil.
func sourceOf(ctx context.Context, c *registry.Client, image *registry.Image) (*layers.RecipeRecord, error) {
	found, err := attachedTo(ctx, c, image, recipeType, layers.RecipeAnnotation)
	if err != nil {
		return nil, fmt.Errorf("read recipe of image %q: %w", image.Ref, err)
	}
	for _, d := range found {
		source, err := layers.ParseRecipeRecord(d.Data)
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", image.Ref, err)
		}
		if source.Graph.String() == image.Annotations[layers.GraphAnnotation] {
			return source, nil
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

// copyDocuments attaches the image's lock, record and recipe to the image in the repositories of names that
// are not its own. It leaves out what the manifest does not name, if it names any.
func (p *Project) copyDocuments(ctx context.Context, names []string) error {
	var elsewhere []string
	for _, name := range names {
		if ref, err := registry.Pin(name, p.ofImage.Digest.String()); err != nil || ref != p.ofImage.Ref {
			elsewhere = append(elsewhere, name)
		}
	}
	if len(elsewhere) == 0 {
		return nil
	}
	var docs []registry.Document
	for kind, annotation := range map[string]string{lockType: layers.LockAnnotation,
		recipeType: layers.RecipeAnnotation} {
		found, err := attachedTo(ctx, p.registry, &p.ofImage.Image, kind, annotation)
		if err != nil {
			return err
		}
		for _, d := range found {
			docs = append(docs, registry.Document{ArtifactType: kind, MediaType: d.MediaType, Data: d.Data})
		}
	}
	if p.ofImage.record != nil {
		data, err := p.ofImage.record.Marshal()
		if err != nil {
			return err
		}
		docs = append(docs, registry.Document{ArtifactType: inputsType, Data: data})
	}
	claims, err := p.attachedClaims(ctx, p.ofImage.Ref)
	if err != nil {
		return err
	}
	if err := p.attachAll(ctx, elsewhere, p.ofImage.Digest, docs, claims); err != nil {
		return err
	}
	p.copyClaims(ctx, p.ofImage.Ref, elsewhere, p.ofImage.Digest)
	return nil
}
