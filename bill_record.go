package raybuild

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/layers"
)

// recorded makes the bill of a platform of an image that has a record and a lock.
func (b *biller) recorded(ctx context.Context, i int) (sbom.Platform, error) {
	image := b.image.platforms[i]
	out := sbom.Platform{Name: image.name, Digest: image.digest}
	at := slices.IndexFunc(b.record.Platforms, func(p layers.PlatformRecord) bool { return p.Platform == image.name })
	locked := b.lock.Platforms[image.name]
	if at < 0 || locked == nil {
		return out, fmt.Errorf("list what is in the image: its record or its lock has no platform %q", image.name)
	}
	var holds []layers.Holds
	for _, l := range b.record.Platforms[at].Layers {
		for range l.Count {
			holds = append(holds, l.Holds())
			out.Layers = append(out.Layers, sbom.Layer{Title: l.Name})
		}
	}
	if len(holds) != len(image.layers) {
		return out, fmt.Errorf("list what is in the image: its record has %d layers, and it has %d", len(holds),
			len(image.layers))
	}
	found := make([]*sbom.Found, len(holds))
	if err := b.findAll(ctx, i, found, func(n int) bool { return b.mustRead(holds[n]) }); err != nil {
		return out, err
	}
	known := newLockedParts(locked)
	for n, parts := range sbom.Combine(withoutWheels(found, holds)) {
		out.Layers[n].Digest = image.layers[n]
		for _, part := range parts {
			if part.Kind == sbom.Conda &&
				slices.Contains(holds[n].Replaced, part.Name+"-"+part.Version+"-"+part.Build) {
				continue
			}
			out.Layers[n].Parts = append(out.Layers[n].Parts, known.complete(part, holds[n]))
		}
		out.Layers[n].Parts = append(out.Layers[n].Parts, b.held(holds[n], out.Layers[n].Title, known, found[n])...)
	}
	if b.files {
		out.Unowned = sbom.Unowned(found, func(n int) bool {
			return holds[n].Kind == layers.HoldsFiles || holds[n].Kind == layers.HoldsStep ||
				holds[n].Kind == layers.HoldsConfig
		})
	}
	return out, nil
}

// mustRead tells whether the bill needs what a layer itself says.
func (b *biller) mustRead(h layers.Holds) bool {
	switch h.Kind {
	case layers.HoldsBase, layers.HoldsPackages, layers.HoldsStep:
		return true
	case layers.HoldsWheels:
		return b.files || b.licences && slices.ContainsFunc(h.Artifacts, func(d digest.Digest) bool {
			_, ok := b.licence(d)
			return !ok
		})
	}
	return b.files
}

// withoutWheels leaves out what layers say of which the lock says all.
func withoutWheels(found []*sbom.Found, holds []layers.Holds) []*sbom.Found {
	out := slices.Clone(found)
	for n, h := range holds {
		if h.Kind != layers.HoldsBase && h.Kind != layers.HoldsPackages && h.Kind != layers.HoldsStep {
			out[n] = nil
		}
	}
	return out
}

// held are the parts of a layer that record and lock name. found is what the layer says itself, if it was read.
func (b *biller) held(h layers.Holds, title string, known lockedParts, found *sbom.Found) []sbom.Part {
	var out []sbom.Part
	switch h.Kind {
	case layers.HoldsBase:
		return []sbom.Part{known.base}
	case layers.HoldsStep:
		return []sbom.Part{{Kind: sbom.Step, Name: title}}
	case layers.HoldsConfig:
		return []sbom.Part{{Kind: sbom.Config, Name: title}}
	case layers.HoldsFiles:
		for name, d := range h.Files {
			out = append(out, sbom.Part{Kind: sbom.File, Name: name, SHA256: d.Encoded()})
		}
		slices.SortFunc(out, func(a, b sbom.Part) int { return cmp.Compare(a.Name, b.Name) })
	case layers.HoldsPackages:
		for _, d := range h.Artifacts {
			if part := known.byDigest[d]; part.Kind == sbom.Installer {
				out = append(out, part)
			}
		}
	case layers.HoldsWheels:
		for _, d := range h.Artifacts {
			part, ok := known.byDigest[d]
			if !ok {
				continue // a lock and a record of one image name the same ones
			}
			if part.License, ok = b.licence(d); !ok && found != nil {
				part.License, ok = licenceAmong(found.Parts, part), true
				_ = b.store.KeepLicense(d, part.License) // it is read again
			}
			b.lacks = b.lacks || !ok
			out = append(out, part)
		}
	}
	return out
}

// licenceAmong is the licence of a Python package that a layer itself has.
func licenceAmong(all []sbom.Part, p sbom.Part) string {
	for _, q := range all {
		if q.Kind == p.Kind && pylock.Normal(q.Name) == pylock.Normal(p.Name) {
			return q.License
		}
	}
	return ""
}

// lockedParts are the artifacts of a lock as parts.
type lockedParts struct {
	base     sbom.Part
	byDigest map[digest.Digest]sbom.Part
	byName   map[[3]string]sbom.Part // by kind, name and version
}

func newLockedParts(locked *layers.LockPlatform) lockedParts {
	out := lockedParts{byDigest: map[digest.Digest]sbom.Part{}, byName: map[[3]string]sbom.Part{},
		base: sbom.Part{Kind: sbom.Base, Name: locked.Base.Reference, Version: locked.Base.Digest.String(),
			SHA256: locked.Base.Digest.Encoded()}}
	kinds := map[string]string{layers.KindDeb: sbom.Deb, layers.KindConda: sbom.Conda, layers.KindWheel: sbom.Python,
		layers.KindSdist: sbom.Python, layers.KindInstaller: sbom.Installer}
	for _, l := range locked.Layers {
		for _, a := range l.Artifacts {
			kind := kinds[a.Kind]
			if kind == "" {
				continue
			}
			part := sbom.Part{Kind: kind, Name: a.Name, Version: a.Version, SHA256: a.SHA256}
			if a.Origin != "local" {
				part.URL = sbom.PublicURL(a.URL())
			}
			out.byDigest[a.Digest()] = part
			out.byName[partName(part)] = part
		}
	}
	return out
}

// partName is a part's kind, name and version, by which a lock and a package system mean the same.
func partName(p sbom.Part) [3]string {
	name := p.Name
	if p.Kind == sbom.Python {
		name = pylock.Normal(name)
	}
	return [3]string{p.Kind, name, p.Version}
}

// complete adds what the lock says of a package that was found in a layer, if the layer was made of its artifact.
func (l lockedParts) complete(p sbom.Part, of layers.Holds) sbom.Part {
	known, ok := l.byName[partName(p)]
	if ok && slices.Contains(of.Artifacts, digest.NewDigestFromEncoded(digest.SHA256, known.SHA256)) {
		p.URL, p.SHA256 = known.URL, known.SHA256
	}
	return p
}
