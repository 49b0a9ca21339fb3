package llb

import (
	"io"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// ProgressMode is how progress is shown.
type ProgressMode string

// The ways to show progress; [ProgressAuto] is the default.
const (
	ProgressAuto    ProgressMode = "auto"    // $BUILDKIT_PROGRESS if set, else tty on a terminal, else plain
	ProgressTTY     ProgressMode = "tty"     // live view
	ProgressPlain   ProgressMode = "plain"   // lines
	ProgressQuiet   ProgressMode = "quiet"   // nothing
	ProgressRawJSON ProgressMode = "rawjson" // BuildKit's events, one JSON object a line
)

// CacheEntry is a cache to import from or export to, in BuildKit's terms: type registry, local, inline, gha, s3 or
// azblob, and that type's attributes.
type CacheEntry struct {
	Type  string
	Attrs map[string]string
}

// SolveOptions are the options of every solve.
type SolveOptions struct {
	NoCache   bool         // run every step and file operation again
	CacheFrom []CacheEntry // default none
	CacheTo   []CacheEntry // default none
	// CacheBudget is the time that a build waits for each imported cache, and for all exported caches
	// together. After that it goes on without them. Only raybuild's own engine can limit imports.
	// Default: no limit.
	CacheBudget time.Duration
	// FetchURLs are http or https URLs from which the builder itself fetches artifacts, for a builder that is far from
	// here. It tries one URL only, without credentials. Default: it asks [Session.Artifacts].
	FetchURLs map[digest.Digest]string
	// HostNetwork asks the builder to allow commands with [HostNetwork]. A builder that does not refuses the whole
	// solve. Default: such commands are refused.
	HostNetwork bool
	// Limits of commands that have none of their own. Default: no limits.
	Limits Limits
	// Proxy of commands that have a network. Default: none, not even that of this process.
	Proxy      Proxy
	Progress   ProgressMode // default [ProgressAuto]
	ProgressTo io.Writer    // default: nothing is shown
	Title      string       // first line of progress on a terminal; default "Building"
	// Display shows the solve, among what else it shows. Progress, ProgressTo and Title then say nothing. Default: one
	// of the call's own.
	Display *Display
}

// BuildOptions say how an image is built and where it goes.
type BuildOptions struct {
	SolveOptions
	// Names are references to name the image by, as "registry/ray:2.60". Required to push.
	Names []string
	// Push pushes the image to each name; [Builder.Start] leaves that to its caller. Default: it stays in the builder.
	Push bool
	// Checks are run as soon as the image's steps have run. If one fails, the build ends with a [CheckError], and the
	// image gets no name. Default: none.
	Checks []Check
	// PackEarly makes each layer a blob as soon as its steps have run, for [Build.Ready]. Default:
	// layers become blobs when all are there.
	PackEarly bool
	// CPUs is the number of the builder's CPUs, which steps and early packing share. Default: unknown;
	// then four layers are packed at once.
	CPUs int
	// Insecure lets the builder use plain HTTP or an unknown certificate for the names' registries.
	Insecure bool
	// OCI gets the image as a tar archive in OCI layout. It is closed at the end. Default: none is written.
	OCI io.WriteCloser
	// Docker gets the image as a tar archive for `docker load`; one platform only. It is closed at the end.
	Docker io.WriteCloser
	// Local is a directory that gets the image's files. Default: none.
	Local string
	// Compression of layers: gzip (default) or estargz at [GzipLevel], or zstd. Layers with another
	// compression are converted, so that digests do not depend on the builder's cache. But BuildKit
	// does not convert one level of gzip into another: it keeps layers of another level from its cache.
	Compression string
	// Annotations are put on each manifest, and on the index if there are several platforms.
	Annotations map[string]string
	// Linear makes the graph one chain of steps, even if the builder can merge. Default: only if it cannot.
	Linear bool
}

// Result is what a build made.
type Result struct {
	Digest digest.Digest     // of the manifest, or of the index if there are several platforms
	Stored digest.Digest     // of the image in the builder's own image store; "" if it has none
	Images []ImageResult     // one for each image, in order
	Steps  []Step            // run and file operations, in the order of the graph
	Caches []CacheWork       // imports and exports of caches, in the order in which they began
	Linear bool              // the graph was one chain of steps, because the builder cannot merge
	Attrs  map[string]string // the answers of BuildKit's exporters
}

// ImageResult is an image of one platform.
type ImageResult struct {
	Platform Platform
	Graph    digest.Digest // [Definition.Digest] of what was built
	Manifest digest.Digest
	Config   digest.Digest
	Layers   []LayerResult // lowest first; nil if the builder does not serve its content

	names []string // of its layers
}

// LayerResult is a layer of an image.
type LayerResult struct {
	Name      string // [Layer.Name], or LAYER of a base layer's "[LAYER] …" text; "" for layers of the base image
	Digest    digest.Digest
	Size      int64 // compressed
	MediaType string
}

// Step is a run or file operation of a build.
type Step struct {
	Name    string  // title without the layer
	Layer   string  // from the title's "[layer] "; "" when it has none
	Cached  bool    // it did not run, because its result was there or was not needed
	Seconds float64 // the time that it ran; 0 if cached

	// Started and Completed are times of the builder's clock. Both are zero if the step was cached.
	// Completed is also zero if the step did not end.
	Started, Completed time.Time
	Failed             bool // it ended with an error, or was stopped
}
