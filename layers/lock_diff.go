package layers

import (
	"cmp"
	"maps"
	"slices"
)

// Change is one difference between two locks.
type Change struct {
	// Platform and Layer say where. Layer is "base" or "tool" for the two pinned images.
	Platform, Layer string
	// Kind is an artifact's kind, or "image".
	Kind string
	// Name is a package's name, or an image's reference.
	Name string
	// From and To are versions, or digests if the versions are the same. From is "" if it is new, To is
	// "" if it is gone.
	From, To string
}

// Diff lists the differences of two locks, ordered by platform, layer, kind and name. Either may be
// nil: then everything of the other is new or gone. It ignores times and digests of inputs.
func Diff(old, now *Lock) []Change {
	var out []Change
	a, b := platformsOf(old), platformsOf(now)
	for _, name := range slices.Sorted(maps.Keys(mergeKeys(a, b))) {
		for _, c := range diffPlatforms(a[name], b[name]) {
			c.Platform = name
			out = append(out, c)
		}
	}
	return out
}

func platformsOf(l *Lock) map[string]*LockPlatform {
	if l == nil {
		return nil
	}
	return l.Platforms
}

func mergeKeys[K comparable, V any](ms ...map[K]V) map[K]bool {
	all := map[K]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return all
}

func diffPlatforms(a, b *LockPlatform) []Change {
	if a == nil {
		a = &LockPlatform{}
	}
	if b == nil {
		b = &LockPlatform{}
	}
	out := append(diffImages("base", a.Base, b.Base), diffImages("tool", a.Tool, b.Tool)...)
	was, is := layersOf(a), layersOf(b)
	var names []string
	for _, l := range append(slices.Clone(a.Layers), b.Layers...) {
		if !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	for _, name := range names {
		for _, c := range diffArtifacts(was[name], is[name]) {
			c.Layer = name
			out = append(out, c)
		}
	}
	return out
}

func layersOf(p *LockPlatform) map[string][]Artifact {
	out := map[string][]Artifact{}
	for _, l := range p.Layers {
		out[l.Name] = append(out[l.Name], l.Artifacts...)
	}
	return out
}

func diffImages(layer string, a, b LockImage) []Change {
	if a.Reference == b.Reference && a.Digest == b.Digest {
		return nil
	}
	c := Change{Layer: layer, Kind: "image", Name: cmp.Or(b.Reference, a.Reference), From: a.Digest.String(),
		To: b.Digest.String()}
	if a.Reference != b.Reference && a.Reference != "" && b.Reference != "" {
		c.From, c.To = a.Reference+"@"+c.From, b.Reference+"@"+c.To
	}
	return []Change{c}
}

type artifactKey struct{ kind, name string }

// diffArtifacts pairs the artifacts of a name by their order of version.
func diffArtifacts(a, b []Artifact) []Change {
	was, is := byName(a), byName(b)
	var out []Change
	keys := slices.SortedFunc(maps.Keys(mergeKeys(was, is)), func(x, y artifactKey) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name))
	})
	for _, k := range keys {
		old, now := onlyIn(was[k], is[k]), onlyIn(is[k], was[k])
		for i := range max(len(old), len(now)) {
			c := Change{Kind: k.kind, Name: k.name}
			if i < len(old) {
				c.From = cmp.Or(old[i].Version, old[i].SHA256)
			}
			if i < len(now) {
				c.To = cmp.Or(now[i].Version, now[i].SHA256)
			}
			if c.From == c.To {
				c.From, c.To = old[i].Digest().String(), now[i].Digest().String()
			}
			out = append(out, c)
		}
	}
	return out
}

func byName(list []Artifact) map[artifactKey][]Artifact {
	out := map[artifactKey][]Artifact{}
	for _, a := range sortedArtifacts(list) {
		k := artifactKey{a.Kind, a.Name}
		out[k] = append(out[k], a)
	}
	return out
}

// onlyIn are the artifacts of a that b has not: by version and digest.
func onlyIn(a, b []Artifact) []Artifact {
	return slices.DeleteFunc(slices.Clone(a), func(x Artifact) bool {
		return slices.ContainsFunc(b, func(y Artifact) bool { return x.Version == y.Version && x.SHA256 == y.SHA256 })
	})
}
