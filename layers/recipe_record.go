package layers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// RecipeRecordVersion is the version of the record of a recipe that this package writes.
const RecipeRecordVersion = 1

// RecipeRecord has everything that a graph was made from, except its lock. It travels with the image,
// so that the graph can be made again from the image alone. It has no mirrors to fetch from, and only
// the ids of secrets.
type RecipeRecord struct {
	// Version is the record's version; RecipeRecordVersion.
	Version int `json:"version"`
	// Graph is the digest of the graph.
	Graph digest.Digest `json:"graph"`
	// Recipe in the form of raybuild.yaml, with defaults written out. LoadRecipe reads it, and so
	// checks it as it checks a file.
	Recipe json.RawMessage `json:"recipe"`
	// Files are the archives of the recipe's files, so that the graph can be made on a machine without
	// the files. Older records have none.
	Files []PackedFiles `json:"files,omitempty"`
	// Platforms, Created, Compression, Labels and Annotations are those of GraphOptions.
	Platforms   []string          `json:"platforms,omitempty"`
	Created     time.Time         `json:"created,omitzero"`
	Compression string            `json:"compression,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PackedFiles is the archive of one entry of the recipe's files, as the graph has it.
type PackedFiles struct {
	Digest digest.Digest `json:"digest"`
	Name   string        `json:"name"`
	Size   int64         `json:"size"`
}

// Options are the options of the graph, without the layers of a Go program.
func (s *RecipeRecord) Options() GraphOptions {
	return GraphOptions{Platforms: s.Platforms, Created: s.Created, Compression: s.Compression, Labels: s.Labels,
		Annotations: s.Annotations}
}

// RecipeRecord writes the record of the graph's recipe. The same graph gives the same bytes.
func (g *Graph) RecipeRecord() ([]byte, error) {
	recipe, err := g.recipe.marshal()
	if err != nil {
		return nil, err
	}
	o := g.options
	data, err := json.Marshal(&RecipeRecord{
		Version: RecipeRecordVersion, Graph: g.Digest, Recipe: recipe, Files: g.packed,
		Platforms: o.Platforms, Created: o.Created, Compression: g.Compression, Labels: o.Labels,
		Annotations: o.Annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("write record of the recipe: %w", err)
	}
	return data, nil
}

// ParseRecipeRecord reads a record that came with an image. Its recipe is still to be loaded.
func ParseRecipeRecord(data []byte) (*RecipeRecord, error) {
	var s RecipeRecord
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read record of the recipe: %w", err)
	}
	if s.Version != RecipeRecordVersion {
		return nil, fmt.Errorf("read record of the recipe: its version is %d, this raybuild knows %d: use the "+
			"raybuild that pushed the image, or push it again", s.Version, RecipeRecordVersion)
	}
	return &s, nil
}

// marshal writes the recipe in the form of raybuild.yaml, as JSON, without mirrors.fetch and what LoadFiles read.
// What is empty has no key, but for an empty list of extras, which is not the default.
func (r *Recipe) marshal() ([]byte, error) {
	tree := r.tree()
	for key, section := range tree {
		if o, ok := section.(object); ok {
			o.dropEmpty()
		} else if empty(section) {
			delete(tree, key)
		}
	}
	switch { // true has no key
	case r.Smoke.Off:
		tree["smoke"] = false
	case r.Smoke.Command != "":
		tree["smoke"] = r.Smoke.Command
	}
	if ray, ok := tree["ray"].(object); ok && len(r.Ray.Extras) == 0 {
		ray["extras"] = []string{}
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("write recipe: %w", err)
	}
	return data, nil
}

// object is a mapping of the recipe.
type object map[string]any

func (o object) dropEmpty() {
	for k, v := range o {
		if empty(v) {
			delete(o, k)
		}
	}
}

// tree has the recipe's sections, empty ones too, and all of smoke is missing.
func (r *Recipe) tree() object {
	mirrors := object{}
	if m := r.Mirrors.Image; m != nil && !m.Own {
		mirrors["image"] = m.Name
	} else if m != nil {
		own := map[string]string{"apt": m.Ubuntu, "conda": strings.TrimSuffix(m.CondaPkgs, "/pkgs"), "pip": m.PipIndex,
			"installer": m.Miniconda}
		for key, value := range own {
			if value == "" {
				delete(own, key)
			}
		}
		mirrors["image"] = own
	}
	var repositories, indexes, files, steps []object
	for _, x := range r.Apt.Repositories {
		repositories = append(repositories, object{"url": x.URL, "suite": x.Suite, "components": x.Components,
			"key": x.Key})
	}
	for _, x := range r.Pip.ExtraIndexes {
		indexes = append(indexes, object{"url": x.URL, "packages": x.Packages})
	}
	for _, f := range r.Files {
		file := object{"from": f.From, "to": f.To, "ignore": f.Ignore}
		file.dropEmpty()
		files = append(files, file)
	}
	for _, s := range r.Steps {
		step := object{"name": s.Name, "run": s.Run, "needs": s.Needs, "network": s.Network, "secrets": s.Secrets}
		if s.HostNetwork {
			step["network"] = "host"
		}
		steps = append(steps, step)
	}
	lock := object{"file": r.Pip.Pylock.File, "extras": r.Pip.Pylock.Extras, "groups": r.Pip.Pylock.Groups}
	for _, o := range append(slices.Concat(repositories, steps), lock) {
		o.dropEmpty()
	}
	return object{
		"base":    r.Base,
		"mirrors": mirrors,
		"apt":     object{"packages": r.Apt.Packages, "repositories": repositories, "debconf": r.Apt.Debconf},
		"miniconda": object{"distribution": r.Miniconda.Distribution, "version": r.Miniconda.Version,
			"sha256": r.Miniconda.SHA256, "accept_anaconda_terms": r.Miniconda.AcceptAnacondaTerms},
		"env": object{"name": r.Env.Name, "python": r.Env.Python, "conda": r.Env.Conda, "channels": r.Env.Channels,
			"file": r.Env.File, "cuda": r.Env.CUDA},
		"ray": object{"version": r.Ray.Version, "extras": r.Ray.Extras},
		"pip": object{"packages": r.Pip.Packages, "requirements": r.Pip.Requirements, "wheels": r.Pip.Wheels,
			"pylock": lock, "resolver": r.Pip.Resolver, "extra_indexes": indexes, "added": r.Pip.Added,
			"no_build_isolation": r.Pip.NoBuildIsolation},
		"files": files,
		"steps": steps,
		"image": object{"user": r.Image.User, "workdir": r.Image.Workdir, "env": r.Image.Env, "labels": r.Image.Labels,
			"annotations": r.Image.Annotations, "entrypoint": r.Image.Entrypoint, "cmd": r.Image.Cmd},
		"layers": object{"budget": r.Layers.filled().Budget,
			"max_size": fmt.Sprintf("%dMB", r.Layers.filled().MaxSize>>20), "compression": r.Layers.Compression},
		"platforms": r.Platforms,
	}
}

// empty tells whether a value is written as nothing.
func empty(v any) bool {
	data, _ := json.Marshal(v) //nolint:errchkjson // cannot fail for these types
	switch string(data) {
	case "null", `""`, "[]", "{}", "false":
		return true
	}
	return false
}

// fitsBase tells why an image that was made on was cannot be put on is, nil
// where it can. What conda and pip installed was resolved and built on tool.
func fitsBase(was, is, tool LockImage) error {
	switch {
	case was.ID != is.ID || was.Release != is.Release:
		return fmt.Errorf("base %q is %s %s, and the image was made on %s %s: a rebase keeps the installed packages, "+
			"and they do not fit another release: name a base of %s %s, or build from the recipe with this base",
			is.Reference, is.ID, is.Release, was.ID, was.Release, was.ID, was.Release)
	case olderVersion(is.Glibc, tool.Glibc):
		return fmt.Errorf("base %q has glibc %s, and the image's packages were made with glibc %s: they would not "+
			"start: name a base with glibc %s or newer, or build from the recipe with this base",
			is.Reference, is.Glibc, tool.Glibc, tool.Glibc)
	}
	return nil
}

// olderVersion compares versions such as "2.35" number by number. An unknown one is none.
func olderVersion(a, b string) bool {
	if a == "" || b == "" {
		return a == "" && b != ""
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return len(x[i]) < len(y[i]) || len(x[i]) == len(y[i]) && x[i] < y[i]
		}
	}
	return len(x) < len(y)
}
