package layers

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// Digest is the digest of the parts of the recipe that a lock resolves: base, packages, installer,
// environment, Ray, requirements, platforms, and the files that LoadFiles read. It does not depend on
// mirrors, the image's configuration, files, steps and pins, or on how the recipe is written.
func (r *Recipe) Digest() digest.Digest {
	return digestOf(struct {
		Base      string
		Apt       Apt
		Miniconda Miniconda
		Env       Env
		Ray       Ray
		Pip       Pip
		Platforms []string
		EnvFile   *EnvFile
		Required  []Requirement
		Pylock    *PythonLock

		Constraints []Requirement
	}{r.Base, r.Apt, r.Miniconda, r.Env, r.Ray, r.Pip, r.Platforms, r.EnvFile, r.Required, r.PythonLock, r.Constraints})
}

// digestOf is the digest of a value's canonical JSON: keys sorted, and nothing
// that is empty in it, so that an empty list and none are the same, and a new
// field changes no digest until it is used.
func digestOf(v any) digest.Digest {
	var tree any
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &tree)
	}
	if err == nil {
		tree, _ = dropEmpty(tree)
		data, err = json.Marshal(tree)
	}
	if err != nil {
		// Only channels, functions and cycles cannot be written, and none is part of these types.
		panic("layers: digest of a value: " + err.Error()) //nolint:forbidigo // cannot be
	}
	return digest.FromBytes(data)
}

// dropEmpty removes map entries that are empty. Items of lists keep their places.
func dropEmpty(v any) (out any, empty bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return v, v == ""
	case bool:
		return v, !v
	case []any:
		for i := range v {
			v[i], _ = dropEmpty(v[i])
		}
		return v, len(v) == 0
	case map[string]any:
		for k, item := range v {
			if item, empty := dropEmpty(item); empty {
				delete(v, k)
			} else {
				v[k] = item
			}
		}
		return v, len(v) == 0
	}
	return v, false
}
