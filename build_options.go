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

// BuildOptions say what is built and where it goes. The zero value builds the image with the settings
// of the recipe and with all caches, and loads it into the local Docker Engine if there is one.
type BuildOptions struct {
	// Names are the image's references, as registry.example/ray:2.60.0. At least one is required to push.
	Names []string
	// Push pushes the image to each name's registry.
	Push bool
	// PushRetry is how long a failing push is tried again without progress. It also limits how long
	// a registry that never answered is tried. Default: 5 minutes, but 15 seconds for a registry
	// that never answered. Less than 0: a failed push is not tried again.
	PushRetry time.Duration
	// Outputs are files and directories that get the image. Default: none.
	Outputs []Output

	// Frozen makes the build fail if the lock does not fit the recipe. Default: the build resolves
	// what changed and writes the lock.
	Frozen bool
	// NoCache reuses nothing from earlier builds: no layer of an image in a registry, no
	// step of the builder's cache.
	NoCache bool
	// NoReuse builds the whole graph. Default: layers whose inputs did not change are reused from
	// the image that was pushed before, and only the other layers are built.
	NoReuse bool
	// NoGraphTag means that the build does not search for the image by the tag of its graph, and
	// does not give it this tag.
	NoGraphTag bool
	// KeepGraphTags gives the image no tag of its graph, and moves none. The build searches for such tags all the same.
	// It is for a build of somebody else's code, which later builds must not find.
	KeepGraphTags bool
	// CacheFrom and CacheTo are build caches to import and export. Default: none. A cache is exported with mode=max
	// and ignore-error=true, unless its entry says otherwise.
	CacheFrom, CacheTo []llb.CacheEntry
	// CacheBudget is the longest time that a build waits for each cache import, and for all cache
	// exports together. Default: no limit.
	CacheBudget time.Duration
	// BuilderFetches lets the builder fetch artifacts itself. Default: this process fetches them
	// and sends them to the builder.
	BuilderFetches bool

	// Compression is the compression of layers: gzip, zstd or estargz. Default: the recipe's, else gzip.
	Compression string
	// Labels are added to the image's config.
	Labels map[string]string
	// Annotations are added to the manifest.
	Annotations map[string]string
	// Secrets return the values of secrets that the recipe's steps ask for, by id. A secret is
	// read when a step asks for it.
	Secrets map[string]func() ([]byte, error)
	// NoSBOM attaches no bill of materials and no provenance to the image that is pushed. Default: bills in SPDX and in
	// CycloneDX, and SLSA provenance, are attached.
	NoSBOM bool
	// Version of the program that builds, for the image's provenance. Default: that of raybuild's module.
	Version string
	// Smoke says whether the image is tested before it gets its names. Default: the recipe decides.
	Smoke SmokeMode

	// EarlierImage lets [Add] and [Rebase] believe the recipe, the lock and the record that are attached to an image of
	// an earlier raybuild. Its manifest does not name them, so whoever may write to the repository can attach others.
	// Default: they are believed only if this raybuild makes the image's manifest of them.
	EarlierImage bool

	// Sign signs the pushed image, and one that is there already. The image gets its names after it is signed.
	// Default: nothing is signed.
	Sign SignOptions

	// Before asks the registry which image the first name has before the build, for [Result.Before].
	Before bool
}

// SignOptions say which key signs an image. The zero value signs nothing.
type SignOptions struct {
	// Key is a file with a private key (one of cosign's, or a plain PEM), env://NAME for a variable with one, the
	// address of a key in a KMS (awskms://…, azurekms://…, gcpkms://…, hashivault://…, or another one by a program
	// sigstore-kms-NAME), or "keyless": the OIDC token of a CI job signs, by Sigstore. Default: nothing is signed.
	Key string
	// Password returns the password of an encrypted key, if the variable COSIGN_PASSWORD is not set. Default: the
	// empty password.
	Password func() ([]byte, error)
	// Config is a file that names the servers of a private Sigstore (signing_config.json), for "keyless".
	// Default: the servers of the public Sigstore.
	Config string
}

// tagsGraph tells whether the image gets a tag of its graph.
func (o *BuildOptions) tagsGraph() bool { return !o.NoGraphTag && !o.KeepGraphTags }

// SmokeMode says whether an image is tested.
type SmokeMode string

// Modes of the test.
const (
	SmokeByRecipe SmokeMode = ""       // the recipe decides
	SmokeAlways   SmokeMode = "always" // also if an equal test passed before
	SmokeNever    SmokeMode = "never"
)

// Output is a file or a directory that gets the image.
type Output struct {
	// Type is oci (a tar in OCI layout), docker (a tar for "docker load") or local (a directory).
	// Each type may occur once.
	Type string
	// Path is the file or the directory. The file appears when it is complete.
	Path string
	// To gets the tar instead of Path. It is not closed. Default: the tar is written to Path.
	To io.Writer
}

// Check returns an [OptionError] if the options are wrong. It contacts no registry and no builder.
// [Project.Build] calls it first.
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
	if o.Sign.Key != "" && !o.Push {
		return optionErrorf("Sign", "needs a push: what is signed is an image in a registry")
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

// checkCaches refuses entries that BuildKit cannot read. more lists types that field
// accepts besides the usual ones.
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

// exports returns the caches to export with default settings added: all steps' results are
// exported, in the form that all registries accept, and a failed export does not fail the build.
// Settings of an entry win.
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

// reach is how long a push tries a registry that never answered. 0 means the client's default, 15 seconds.
func (o *BuildOptions) reach() time.Duration { return max(o.PushRetry, 0) }

// retry is how long a push is tried again without progress. Less than 0: it is not tried again.
func (o *BuildOptions) retry() time.Duration {
	if o.PushRetry == 0 {
		return 5 * time.Minute
	}
	return o.PushRetry
}
