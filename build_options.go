package raybuild

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// BuildOptions say what is built and where it goes. The zero value builds the image with all that
// recipe and cache have, and loads it into the local Docker Engine where there is one.
type BuildOptions struct {
	// Names are the image's references, as registry.example/ray:2.60.0. At least one is required to push.
	Names []string
	// Push pushes the image to each name's registry.
	Push bool
	// PushRetry is how long a push that fails goes on trying without progress, and how long a
	// registry that never answered is tried. Default: 5 minutes, and 15 seconds. Less than 0: a
	// push is not tried again.
	PushRetry time.Duration
	// Outputs are files and directories that get the image. Default: none.
	Outputs []Output

	// Frozen fails where the lock does not fit the recipe. Default: what changed is resolved, and the lock written.
	Frozen bool
	// NoCache takes nothing from before: no layer of a registry's image, no step of the builder's cache.
	NoCache bool
	// NoReuse builds the whole graph. Default: layers whose inputs did not change are taken from
	// the image that was pushed before, and the others built alone.
	NoReuse bool
	// NoGraphTag neither looks for the image under the tag of its graph, nor gives it one.
	NoGraphTag bool
	// CacheFrom and CacheTo are build caches to import and export. Default: none. A cache is exported with mode=max
	// and ignore-error=true, unless its entry says otherwise.
	CacheFrom, CacheTo []llb.CacheEntry
	// CacheBudget is how long a build waits for each cache that it imports, and for all exports. Default: for ever.
	CacheBudget time.Duration
	// BuilderFetches lets the builder fetch artifacts by itself. Default: this process does, and
	// hands them to the builder.
	BuilderFetches bool

	// Compression of layers: gzip, zstd or estargz. Default: the recipe's, else gzip.
	Compression string
	// Labels are added to the image's config.
	Labels map[string]string
	// Annotations are added to the manifest.
	Annotations map[string]string
	// Secrets give the values of secrets that the recipe's steps ask for, by id. They are read when a step asks.
	Secrets map[string]func() ([]byte, error)
	// Smoke says whether the image is tested before it gets its names. Default: as the recipe says.
	Smoke SmokeMode

	// Before asks what the first name was before the build, for [Result.Before].
	Before bool
}

// SmokeMode says whether an image is tested.
type SmokeMode string

// Modes of the test.
const (
	SmokeByRecipe SmokeMode = ""       // as the recipe says
	SmokeAlways   SmokeMode = "always" // also where the same test was passed before
	SmokeNever    SmokeMode = "never"
)

// Output is a file or a directory that gets the image.
type Output struct {
	// Type is oci (a tar in OCI layout), docker (a tar for "docker load") or local (a directory).
	// Each may be there once.
	Type string
	// Path is the file, which appears when it is whole, or the directory.
	Path string
	// To gets the tar in place of Path; it is not closed. Default: Path is written.
	To io.Writer
}

// Check says what is wrong with the options, as an [OptionError]. It asks nobody. [Project.Build] begins with it.
func (o *BuildOptions) Check() error {
	for _, name := range o.Names {
		if _, err := registry.Host(name); err != nil {
			return &OptionError{Field: "Names", Err: err}
		}
		if strings.Contains(name, "@") {
			return optionErrorf("Names", "%q has a digest, but the build makes the digest: name it by a tag", name)
		}
	}
	if o.Push && len(o.Names) == 0 {
		return optionErrorf("Push", "needs a name: registry.example/ray:TAG")
	}
	if !slices.Contains([]string{"", "gzip", "zstd", "estargz"}, o.Compression) {
		return optionErrorf("Compression", "%q: must be gzip, zstd or estargz", o.Compression)
	}
	if err := checkOutputs(o.Outputs); err != nil {
		return err
	}
	if o.CacheBudget < 0 {
		return optionErrorf("CacheBudget", "%v: give the longest time to wait, or 0 for no limit", o.CacheBudget)
	}
	return errors.Join(checkCaches("CacheFrom", o.CacheFrom), checkCaches("CacheTo", o.CacheTo, "inline"))
}

func checkOutputs(all []Output) error {
	for i, o := range all {
		switch {
		case o.Type != "oci" && o.Type != "docker" && o.Type != "local":
			return optionErrorf("Outputs", "type %q: must be oci (a tar in OCI layout), docker (a tar for "+
				"docker load) or local (a directory)", o.Type)
		case o.Path == "" && (o.To == nil || o.Type == "local"):
			return optionErrorf("Outputs", "type %q: needs a path", o.Type)
		case o.Type == "local" && o.To != nil:
			return optionErrorf("Outputs", "type %q: is a directory, and cannot be written to a stream", o.Type)
		case slices.ContainsFunc(all[:i], func(other Output) bool { return other.Type == o.Type }):
			return optionErrorf("Outputs", "type %q: there can be one output of each type", o.Type)
		}
	}
	return nil
}

// checkCaches refuses entries that BuildKit could not read. more are the types that field has beside the usual ones.
func checkCaches(field string, entries []llb.CacheEntry, more ...string) error {
	kinds := append([]string{"registry", "local", "gha", "s3", "azblob"}, more...)
	for _, e := range entries {
		if !slices.Contains(kinds, e.Type) {
			return optionErrorf(field, "type %q: must be one of %s", e.Type, strings.Join(kinds, ", "))
		}
		if e.Type != "registry" {
			continue
		}
		if _, err := registry.Host(e.Attrs["ref"]); err != nil {
			return &OptionError{Field: field, Err: err}
		}
	}
	return nil
}

// exports are the caches to export with the settings that a cache should be written with: every step's result, in the
// form that all registries take, and never at the cost of the build. What an entry says stays.
func exports(entries []llb.CacheEntry) []llb.CacheEntry {
	var all []llb.CacheEntry
	for _, e := range entries {
		attrs := map[string]string{}
		if e.Type != "inline" {
			attrs["mode"], attrs["ignore-error"] = "max", "true"
		}
		if e.Type == "registry" || e.Type == "local" {
			attrs["oci-mediatypes"], attrs["image-manifest"] = "true", "true"
		}
		if e.Attrs["oci-mediatypes"] != "" && e.Attrs["oci-mediatypes"] != "true" {
			delete(attrs, "image-manifest")
		}
		maps.Copy(attrs, e.Attrs)
		all = append(all, llb.CacheEntry{Type: e.Type, Attrs: attrs})
	}
	return all
}

// reach is how long a registry that never answered is tried. 0 is the client's default.
func (o *BuildOptions) reach() time.Duration { return max(o.PushRetry, 0) }

// retry is how long a push goes on without progress, in the client's terms: below 0, not at all.
func (o *BuildOptions) retry() time.Duration {
	if o.PushRetry == 0 {
		return 5 * time.Minute
	}
	return o.PushRetry
}
