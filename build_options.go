package raybuild

import (
	"io"
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
	// CacheFrom and CacheTo are build caches to import and export. Default: none.
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

// check refuses what cannot be meant.
func (o *BuildOptions) check() error {
	for _, name := range o.Names {
		if _, err := registry.Host(name); err != nil {
			return &OptionError{err}
		}
		if strings.Contains(name, "@") {
			return optionErrorf("image name %q has a digest, but the build makes the digest: name it by a tag", name)
		}
	}
	switch o.Compression {
	case "", "gzip", "zstd", "estargz":
	default:
		return optionErrorf("compression %q: must be gzip, zstd or estargz", o.Compression)
	}
	for _, out := range o.Outputs {
		if out.Type != "oci" && out.Type != "docker" && out.Type != "local" {
			return optionErrorf("output of type %q: must be oci, docker or local", out.Type)
		}
	}
	if o.Push && len(o.Names) == 0 {
		return optionErrorf("an image that is pushed needs a name: registry.example/ray:TAG")
	}
	if o.CacheBudget < 0 {
		return optionErrorf("cache budget %v: give the longest time to wait, or 0 for no limit", o.CacheBudget)
	}
	return nil
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
