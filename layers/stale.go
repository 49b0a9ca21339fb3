package layers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// layerInputs are the digests of what each layer is resolved for. A layer whose
// digest is in the lock is not resolved again.
func layerInputs(r *Recipe, base digest.Digest) (map[string]digest.Digest, error) {
	keys, err := fileDigests(r.Dir, aptKeys(r.Apt))
	if err != nil {
		return nil, err
	}
	wheels, err := localWheels(r.Dir, r.Pip.Wheels)
	if err != nil {
		return nil, err
	}
	minor := strings.Join(strings.SplitN(r.Env.Python, ".", 3)[:min(2, strings.Count(r.Env.Python, ".")+1)], ".")
	parts := map[string][]any{
		"apt":       {r.Apt, keys, base},
		"miniconda": {r.Miniconda.Distribution, r.Miniconda.Version, r.Miniconda.SHA256},
		"env":       {r.Env, r.EnvFile},
		"ray": {r.Ray, r.Pip.Packages, r.Pip.ExtraIndexes, r.Required, r.EnvFile, r.Pins, wheels,
			minor, r.Env.Name},
	}
	if len(r.CondaPins) > 0 {
		parts["env"] = []any{r.Env, r.EnvFile, r.CondaPins}
	}
	if len(r.Constraints) > 0 {
		parts["ray"] = append(parts["ray"], r.Constraints)
	}
	if r.PythonLock != nil {
		parts["ray"] = append(parts["ray"], r.Pip.Pylock, r.PythonLock)
	}
	if len(r.Pip.NoBuildIsolation) > 0 {
		parts["ray"] = append(parts["ray"], r.Pip.NoBuildIsolation)
	}
	out := map[string]digest.Digest{}
	for name, part := range parts {
		data, err := json.Marshal(part)
		if err != nil {
			return nil, fmt.Errorf("digest inputs of layer %q: %w", name, err)
		}
		out[name] = digest.FromBytes(data)
	}
	for i := range r.Pip.Added {
		out[addedName(i+1)] = addedInputs(r.Pip, i+1, out["ray"])
	}
	return out, nil
}

// StaleLayer is a part of a lock that no longer fits its recipe.
type StaleLayer struct {
	// Platform and Layer say which part; Layer may be "base".
	Platform, Layer string
	// Why is one clause: "the recipe asks for something else".
	Why string
}

// Stale lists the parts of a lock that do not fit the recipe and must be resolved again. own are the
// layers of a Go program. It reads only its arguments and the recipe's local files.
func Stale(r *Recipe, l *Lock, own ...Layer) ([]StaleLayer, error) {
	var out []StaleLayer
	for _, name := range r.Platforms {
		var locked *LockPlatform
		if l != nil {
			locked = l.Platforms[name]
		}
		if locked == nil {
			out = append(out, StaleLayer{name, "base", "there is no lock for this platform"})
			continue
		}
		if locked.Base.Reference != r.Base {
			out = append(out, StaleLayer{name, "base",
				fmt.Sprintf("the recipe has %s, the lock %s", r.Base, locked.Base.Reference)})
		}
		inputs, err := layerInputs(r, locked.Base.Digest)
		if err != nil {
			return nil, err
		}
		why := map[string]string{}
		for _, l := range lockedLayers(own) {
			if _, taken := inputs[l.Name()]; taken {
				return nil, nameTaken(l)
			}
			inputs[l.Name()], why[l.Name()] = l.Inputs(), "the program's layer changed after it was resolved"
		}
		for _, layer := range slices.Sorted(maps.Keys(inputs)) {
			if !slices.ContainsFunc(locked.Layers,
				func(l LockLayer) bool { return l.fits(layer, inputs[layer], r.Apt) }) {
				out = append(out, StaleLayer{name, layer,
					cmp.Or(why[layer], "the recipe changed after it was resolved")})
			}
		}
	}
	return out, nil
}

// checkNames refuses a layer of a Go program that has the name of another layer.
func checkNames(all []Layer) error {
	seen := map[string]bool{}
	for _, l := range all {
		if seen[l.Name()] {
			return nameTaken(l)
		}
		seen[l.Name()] = true
	}
	return nil
}

func nameTaken(l Layer) error {
	return fmt.Errorf("add layer %q: the image has another layer of this name: give it a name of its own", l.Name())
}
