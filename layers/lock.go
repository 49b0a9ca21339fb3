package layers

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// LockVersion is the version of the lock's format that this package writes.
const LockVersion = 1

// Kinds of artifacts.
const (
	KindDeb       = "deb"       // a Debian package
	KindInstaller = "installer" // a Miniconda or Miniforge installer
	KindConda     = "conda"     // a conda package, .conda or .tar.bz2
	KindWheel     = "wheel"     // a Python wheel
	KindSdist     = "sdist"     // a Python source distribution
	KindFile      = "file"      // any other file
)

// Lock is what a recipe was resolved to: every artifact by origin, path and digest.
type Lock struct {
	// Version is the format's version; LockVersion.
	Version int
	// Recipe is the digest of the recipe's content that was resolved (Recipe.Digest).
	Recipe digest.Digest
	// Platforms by name, such as "linux/amd64".
	Platforms map[string]*LockPlatform
}

// LockPlatform is one platform's part of a lock.
type LockPlatform struct {
	// Resolved is the time of the resolution, in UTC and whole seconds.
	Resolved time.Time
	// Base is the image below all layers. Tool is the image that steps run on.
	Base, Tool LockImage
	// Layers in the order in which they were resolved.
	Layers []LockLayer
	// Notes are what the reader of the lock should know, in order.
	Notes []string
}

// LockImage is an image pinned for one platform, with the facts that the graph needs.
type LockImage struct {
	// Reference as it is written in the recipe: "ubuntu:22.04".
	Reference string
	// Digest of the platform's own manifest (not the index).
	Digest digest.Digest
	// ID, Release and Codename are ID, VERSION_ID and VERSION_CODENAME of its os-release.
	ID, Release, Codename string
	// Glibc is its version: "2.35".
	Glibc string
	// Layers is the number of its layers.
	Layers int
	// LayerDigests are the digests of its layers as its registry stores them, and DiffIDs those of the
	// unpacked layers. They are empty if they are not known.
	LayerDigests, DiffIDs []digest.Digest
	// Env are the variables of its config, "NAME=value", in the config's order.
	Env []string
	// AptFiles are the absolute paths of the apt sources files it has, sorted.
	AptFiles []string
	// DpkgPaths are its dpkg's filters of paths, "path-exclude=GLOB" or "path-include=GLOB", in dpkg's
	// order. It is empty if they are not known.
	DpkgPaths []string
}

// LockLayer is what one layer resolved to.
type LockLayer struct {
	// Name of the layer.
	Name string
	// Inputs is the digest of the part of the recipe that was resolved for this layer.
	Inputs digest.Digest
	// Artifacts, ordered by kind, name, version and path.
	Artifacts []Artifact
}

// Artifact is one file of a package source, or one beside the recipe. Its digest identifies it.
type Artifact struct {
	// Kind is one of the Kind constants.
	Kind string
	// Name and Version as the artifact's own package system writes them.
	Name, Version string
	// Origin is the canonical source: the name of one, such as "pypi" or "ubuntu", the name of a conda
	// channel, the URL of an extra repository or index, or "local" for a file beside the recipe.
	Origin string
	// Path is the path below the origin's root as in a URL, without a leading slash. For a local file
	// it is relative to the recipe.
	Path string
	// SHA256 of the file in lower-case hex.
	SHA256 string
	// Size in bytes; 0 if the source does not say it.
	Size int64
	// MD5 of a conda package in hex; "" if the channel does not say it. conda's explicit specs have it,
	// but raybuild does not rely on it.
	MD5 string
	// Layer is the layer of the image that a small wheel shares with others, such as "pip-1"; "" if it
	// shares none.
	Layer string
	// For has further facts that the layer needs, by name. They are written in sorted order.
	For map[string]string
}
