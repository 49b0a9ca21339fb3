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
	// CacheBudget is how long a build waits for each cache that it imports, and for all that it
	// exports, before it goes on without. Only raybuild's own engine can limit imports. Default: no
	// limit.
	CacheBudget time.Duration
	// FetchURLs are http or https URLs from which the builder itself fetches artifacts, for a builder that is far from
	// here. It tries one URL only, without credentials. Default: it asks [Session.Artifacts].
	FetchURLs  map[digest.Digest]string
	Progress   ProgressMode // default [ProgressAuto]
	ProgressTo io.Writer    // default: nothing is shown
	Title      string       // first line of progress on a terminal; default "Building"
}

// BuildOptions say where an image goes.
type BuildOptions struct {
	SolveOptions
	// Names are references to name the image by, as "registry/ray:2.60". Required to push.
	Names []string
	// Push pushes the image to each name; [Builder.Start] leaves that to its caller. Default: it stays in the builder.
	Push bool
	// Checks are run beside the image's exports as soon as its steps have run. What they fail at ends the build with a
	// [CheckError], before anything is exported or named. Default: none.
	Checks []Check
	// PackEarly makes each layer a blob as soon as its steps have run, for [Build.Ready]. Default:
	// layers become blobs when all are there.
	PackEarly bool
	// CPUs is how many the builder has, which steps and early packing share. Default: unknown; four
	// layers are packed at once.
	CPUs int
	// Insecure lets the builder use plain HTTP or an unknown certificate for the names' registries.
	Insecure bool
	// OCI gets the image as a tar archive in OCI layout. It is closed at the end. Default: none is written.
	OCI io.WriteCloser
	// Docker gets the image as a tar archive for `docker load`; one platform only. It is closed at the end.
	Docker io.WriteCloser
	// Local is a directory that gets the image's files. Default: none.
	Local string
	// Compression of layers: gzip (default) or estargz at [GzipLevel], or zstd. Layers that have
	// another are converted, so that digests do not depend on what the builder happens to have.
	// Gzip of another level is not another for BuildKit: what a builder or a cache has of that is
	// kept.
	Compression string
	// Annotations are put on each manifest, and on the index where there are several platforms.
	Annotations map[string]string
	// Linear lays the graph out as one chain even where the builder can merge. Default: only where it cannot.
	Linear bool
}

// Result is what a build made.
type Result struct {
	Digest digest.Digest     // of the manifest, or of the index where there are several platforms
	Stored digest.Digest     // what the builder's own image store knows the image by; "" where it has none
	Images []ImageResult     // one for each image, in order
	Steps  []Step            // run and file operations, in the order of the graph
	Caches []CacheWork       // imports and exports of caches, in the order in which they began
	Linear bool              // the builder cannot merge, so the graph was laid out as a line
	Attrs  map[string]string // what BuildKit's exporters answered
}

// ImageResult is an image of one platform.
type ImageResult struct {
	Platform Platform
	Graph    digest.Digest // [Definition.Digest] of what was built
	Manifest digest.Digest
	Config   digest.Digest
	Layers   []LayerResult // bottom first; nil where the builder does not let its content be read

	names []string // of its layers
}

// LayerResult is a layer of an image.
type LayerResult struct {
	Name      string // [Layer.Name], or that of a base layer's "[layer] …" text; "" for those of the image at the front
	Digest    digest.Digest
	Size      int64 // compressed
	MediaType string
}

// Step is a run or file operation of a build.
type Step struct {
	Name    string  // title without the layer
	Layer   string  // from the title's "[layer] "; "" when it has none
	Cached  bool    // its result was there, or was not needed
	Seconds float64 // that it ran; 0 when cached

	// Started and Completed are when it ran, by the builder's clock. Zero when cached; Completed is
	// zero, too, where the step did not come to its end.
	Started, Completed time.Time
	Failed             bool // it ended with an error, or was stopped
}
