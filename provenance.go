package raybuild

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/provenance"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/layers"
)

// provenanceOf says how the image of a graph was made. The same image has the same one, whichever machine made it: it
// has no times, no mirrors and nothing of this machine.
func provenanceOf(o *BuildOptions, graph *layers.Graph, b *biller) (registry.Document, error) {
	in := provenance.Input{Image: b.image.digest, Version: o.version(), Graph: graph.Digest,
		Recipe:      digest.Digest(graph.Annotations[layers.RecipeAnnotation]),
		Lock:        digest.Digest(graph.Annotations[layers.LockAnnotation]),
		Compression: graph.Compression}
	for _, i := range b.record.Platforms {
		in.Platforms = append(in.Platforms, i.Platform)
		in.Materials = append(in.Materials, materials(b.lock.Platforms[i.Platform], i)...)
	}
	data, err := provenance.Statement(in)
	return registry.Document{ArtifactType: provenance.ArtifactType, Data: data}, err
}

// version is that of the program that builds.
func (o *BuildOptions) version() string {
	if o.Version != "" {
		return o.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(slices.Clone(info.Deps), &info.Main) {
			if m.Path == "github.com/raybuild/raybuild" && m.Version != "" {
				return m.Version
			}
		}
	}
	return "unknown"
}

// materials are what a platform's image was made of.
func materials(locked *layers.LockPlatform, record layers.PlatformRecord) []provenance.Material {
	if locked == nil {
		return nil
	}
	var out []provenance.Material
	for use, image := range map[string]layers.LockImage{"base": locked.Base, "tool": locked.Tool} {
		out = append(out, provenance.Material{Name: image.Reference, Digest: image.Digest, Use: use,
			URI: imageURI(image)})
	}
	for _, l := range locked.Layers {
		for _, a := range l.Artifacts {
			m := provenance.Material{Name: fmt.Sprintf("%s %s %s", a.Kind, a.Name, a.Version), Digest: a.Digest(),
				Use: "artifact"}
			if a.Origin != "local" {
				m.URI = sbom.PublicURL(a.URL())
			}
			if c, ok := a.Commit(); ok {
				m.URI = "git+" + sbom.PublicURL(c.Repository) + "@" + c.Hash
			}
			out = append(out, m)
		}
	}
	for _, l := range record.Layers {
		for name, d := range l.Holds().Files {
			out = append(out, provenance.Material{Name: name, Digest: d, Use: "file"})
		}
	}
	return out
}

// imageURI is the package URL of an image.
func imageURI(image layers.LockImage) string {
	named, err := reference.ParseNormalizedNamed(image.Reference)
	if err != nil {
		return ""
	}
	return sbom.ImageURL(named.Name(), image.Digest)
}
