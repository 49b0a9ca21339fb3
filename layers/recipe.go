// Package layers says what a Ray image is made of: the recipe that a user
// writes, the lock that holds the exact artifacts it resolved to, the mirrors
// that artifacts come from, and the layers that install them.
package layers

import (
	"github.com/raybuild/raybuild/internal/signers"
	"github.com/raybuild/raybuild/llb"
)

// Recipe is what is wanted of an image: the content of a raybuild.yaml in one
// normal form. Every short form of the file has been written out, every string
// has passed its grammar, and defaults are filled in. Its zero value is not a
// recipe; LoadRecipe makes one.
type Recipe struct {
	// Base is the reference of the image that the result stands on, as
	// written: any apt-based image. Default "ubuntu:22.04".
	Base string
	// Mirrors says where artifacts are fetched from and what the finished
	// image is configured with.
	Mirrors Mirrors
	// Apt holds the Debian packages to install.
	Apt Apt
	// Miniconda is the conda installer to use.
	Miniconda Miniconda
	// Env is the conda environment that Ray is installed into.
	Env Env
	// Ray is the version of Ray and its extras.
	Ray Ray
	// Pip holds further Python packages.
	Pip Pip
	// Files are local files and directories to copy into the image, in order.
	Files []FileCopy
	// Steps are the user's own commands, in the order of the file.
	Steps []Step
	// Limits of every command that a build or a resolver runs in the builder. They change neither image nor lock.
	Limits llb.Limits
	// Image is the configuration of the finished image.
	Image ImageConfig
	// Smoke says how the image is tested when it has been built. It does not change the image.
	Smoke Smoke
	// Layers says how Python packages are laid out as layers.
	Layers LayerRules
	// Trust says whose signatures of images are believed. It is part of no digest, and does not travel with an image.
	Trust Trust
	// Platforms are the platforms to build for, such as "linux/amd64", sorted
	// and without repetitions. Default: linux/amd64.
	Platforms []string
	// Dir is the directory that relative paths of the recipe are relative to:
	// the recipe file's own, or "." where there is no file.
	Dir string
	// Pins are constraints that Check adds for known breakages, one PEP 508
	// requirement each, sorted. They constrain the resolver and install nothing.
	Pins []string
	// CondaPins are specs that Check adds to the environment, likewise.
	CondaPins []string
	// EnvFile is the content of Env.File, or nil without one. LoadFiles fills it in.
	EnvFile *EnvFile
	// Required are the lines of all of Pip.Requirements, includes resolved, in
	// order. LoadFiles fills it in.
	Required []Requirement
	// Constraints are the lines of constraints files, in order: they bound versions and install nothing. LoadFiles
	// fills it in.
	Constraints []Requirement
	// PythonLock is the content of Pip.Pylock.File, or nil without one. LoadFiles fills it in.
	PythonLock *PythonLock
}

// Trust says whose signatures of images are believed.
type Trust = signers.Trust

// Signer is an identity of [Trust]: a public key, or an issuer with a subject.
type Signer = signers.Signer

// Mirrors has the mirrors to fetch from during a build, and the mirror that the finished image is
// configured with.
type Mirrors struct {
	// Fetch are the mirrors that artifacts are fetched from, tried in order.
	// Default: official.
	Fetch []Mirror
	// FetchAuto means that raybuild measures the mirrors and so finds their order. Fetch then holds
	// every preset.
	FetchAuto bool
	// Image is the mirror that apt, conda, pip and uv of the finished image
	// are configured with. Default nil: the image is left as its makers
	// configured it.
	Image *Mirror
}

// Apt holds Debian packages, and where to get those that the base's own
// repositories do not have.
type Apt struct {
	// Packages are names or "name=version", sorted.
	Packages []string
	// Repositories are further repositories, in the order of the recipe.
	Repositories []AptRepository
	// Debconf are answers to questions of packages, as debconf-set-selections takes them: "PACKAGE QUESTION TYPE
	// VALUE".
	Debconf []string `json:",omitempty"`
}

// AptRepository is a further apt repository.
type AptRepository struct {
	// URL is its root: the directory that holds dists/.
	URL string
	// Suite is its distribution, such as "noble", or "./" for a flat one.
	Suite string
	// Components such as "main"; empty for a flat repository only.
	Components []string
	// Key is the path, relative to the recipe, of the OpenPGP key (binary or
	// armored) that signs it. Always there: unsigned repositories are refused.
	Key string
}

// Miniconda is a conda installer.
type Miniconda struct {
	// Distribution is "miniconda" (the default) or "miniforge".
	Distribution string
	// Version as in the installer's file name: "py312_25.7.0-2", "26.7.2-0".
	Version string
	// SHA256 is the installer's digest in hex where the recipe gives it.
	// Default: from the table of known installers, else "".
	SHA256 string
	// AcceptAnacondaTerms tells that the user accepts the terms of service of
	// Anaconda's own channels. Default false.
	AcceptAnacondaTerms bool
}

// Env is the conda environment that Ray lives in.
type Env struct {
	// Name of the environment. Default "ray".
	Name string
	// Python is its version: "3.12" or "3.12.4". Default: that of File, else "3.12".
	Python string
	// CUDA is the version that conda's solver takes as the machine's, "12.6": its virtual package __cuda. Default:
	// none, the machine has no GPU.
	CUDA string `json:",omitempty"` // locks from before it name the same inputs without it
	// Conda are further conda packages as MatchSpecs, sorted.
	Conda []string
	// Channels to take packages from, best first: names ("conda-forge",
	// "defaults", "pkgs/main") or URLs. Default: those of File, else conda-forge.
	Channels []string
	// File is the path, relative to the recipe, of an environment.yml. Default none.
	File string
}

// LayerRules say how Python packages are laid out as layers, and how layers are stored.
type LayerRules struct {
	// Budget is how many layers the image should have at most. Default 90. 10 of them are always there.
	// Three eighths of the rest, but 3 at least, are for wheels that share layers. Local files beyond the
	// first, steps, source distributions and further layers of a base are added to this number.
	Budget int
	// MaxSize is the size in bytes up to which wheels share a layer. If the budget has room they share
	// one up to 32 MB. A larger shared layer is split,
	// also if the image then has more layers than Budget. Default 512 MB. A wheel that is larger by
	// itself has a layer of its own and is not split.
	MaxSize int64
	// Compression of all layers, the base's too: "gzip", "zstd" or "estargz". Default "", gzip.
	Compression string
}

// Ray is the version of Ray to install.
type Ray struct {
	// Version such as "2.60.0". Default: that of Pip.Pylock, else the newest of the table of versions.
	Version string
	// Extras, sorted. Default: none if Pip.Pylock has Ray, else those of default, rllib and tune that
	// this version has.
	Extras []string
}

// Pip holds Python packages beside Ray.
type Pip struct {
	// Packages are PEP 508 requirements without URLs, in the order of the recipe
	// and in the form of Requirement.String.
	Packages []string
	// Requirements are paths of requirements files, relative to the recipe.
	Requirements []string
	// Pylock is a lock that another tool wrote. Its packages are installed as they are.
	Pylock Pylock
	// Wheels are paths or patterns (path.Match) of local wheels, relative to the recipe.
	Wheels []string
	// ExtraIndexes are further package indexes, each for packages of its own.
	ExtraIndexes []ExtraIndex
	// NoBuildIsolation are the names of packages whose sources are built with the other packages of the environment:
	// their builds import what they do not ask for. Sorted.
	NoBuildIsolation []string `json:",omitempty"`
	// Resolver is "uv" or "pip". Default "", uv: it resolves on this machine. pip resolves in the build
	// sandbox, and is asked also if uv cannot answer without running code of a package.
	Resolver string
	// Added are lists of requirements in the form of Packages. Each list is a layer on top of the
	// whole image. It is resolved from wheels only, and the packages that are already in the image keep
	// their versions. Steps do not see these packages.
	Added [][]string
}

// ExtraIndex is a package index that some packages are taken from, and no others.
type ExtraIndex struct {
	// URL is its PEP 503 root, without credentials.
	URL string
	// Packages are the normalised names of what is taken from here, sorted.
	Packages []string
}

// FileCopy copies a local file or directory into the image.
type FileCopy struct {
	// From is a path relative to the recipe, with forward slashes, clean, inside Dir.
	From string
	// To is a clean absolute path in the image.
	To string
	// Ignore are patterns of what is left out, as in a .dockerignore file, relative to From. They come after those of
	// .dockerignore, and after what is always left out (.git, .venv and __pycache__): "!PATTERN" takes something in
	// again. Default: none.
	Ignore []string
}

// Step is a command of the user's own.
type Step struct {
	// Name names its layer. Unique, and none of the built-in layers' names.
	Name string
	// Run is a shell script, run with /bin/sh -eu.
	Run string
	// Needs are the names of the layers and earlier steps that it is built on,
	// in order. Default: all that come before it.
	Needs []string
	// Network lets the step reach the network, by one of its own. Default false.
	Network bool
	// HostNetwork gives the step the network of the builder's machine, its loopback too. Default false.
	HostNetwork bool
	// Secrets are ids of build secrets, mounted at /run/secrets/ID, sorted.
	Secrets []string
	// Limits of the step. Those that are not given are the recipe's. They change neither image nor lock.
	Limits llb.Limits
}

// ImageConfig is the configuration of the finished image.
type ImageConfig struct {
	// User is the name of the non-root user that is made, with fixed ids, and
	// that the image runs as; "root" makes none. Default "ray".
	User string
	// Workdir is absolute and clean. Default "/home/USER", or "/root".
	Workdir string
	// Env are environment variables on top of those of base and environment.
	Env map[string]string
	// Labels of the image configuration.
	Labels map[string]string
	// Annotations of the manifest.
	Annotations map[string]string
	// Entrypoint in exec form. Default nil.
	Entrypoint []string
	// Cmd in exec form. Default nil: the base's.
	Cmd []string
}
