package layers

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// OnlyAdds tells whether an image with the record has passed a test, and the image of this test has all
// that was tested and only layers of an index's wheels beside. The new packages are then not tested.
func (t *SmokeTest) OnlyAdds(record *BuildRecord) bool {
	if record == nil {
		return false
	}
	at := slices.IndexFunc(record.Platforms, func(p PlatformRecord) bool { return p.Platform == t.inputs.Platform })
	if at < 0 || record.Platforms[at].Smoke == "" {
		return false
	}
	p := record.Platforms[at]
	return t.OnlyAddsTo(p.Smoke, moduleLayers(p), p.SmokeWith)
}

// OnlyAddsTo is OnlyAdds for an image of which only this is known: the test that it passed, the layers
// with modules that it had (see Modules), and its Debian packages (see With).
func (t *SmokeTest) OnlyAddsTo(test digest.Digest, modules []digest.Digest, debs []string) bool {
	if !t.Imports || len(modules) == 0 {
		return false
	}
	left := map[digest.Digest]bool{}
	for _, key := range modules {
		left[key] = true
	}
	for _, l := range t.inputs.Layers {
		if hasModules(l) && !left[l.Key] && !ofIndex(l) {
			return false
		}
		delete(left, l.Key)
	}
	if len(left) > 0 || !t.PassedWith(debs) {
		return false
	}
	t.below = test
	return true
}

// ofIndex tells whether a layer has wheels of an index alone. The recipe's own wheels change with every
// commit, and nobody else has tried them.
func ofIndex(l LayerRecord) bool {
	return l.Values[byteCodeInput] != "" && !strings.HasPrefix(l.Name, ownWheels)
}

// Modules are the layers that modules may come from, by the digests of their operations.
func (t *SmokeTest) Modules() []digest.Digest { return moduleLayers(t.inputs) }

func moduleLayers(p PlatformRecord) []digest.Digest {
	var out []digest.Digest
	for _, l := range p.Layers {
		if hasModules(l) {
			out = append(out, l.Key)
		}
	}
	return out
}
