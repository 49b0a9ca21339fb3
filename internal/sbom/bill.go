// Package sbom lists what an image is made of, as a software bill of materials in SPDX 2.3 and CycloneDX 1.6. It finds
// packages in layers by what their own package systems wrote there: dpkg's status, conda-meta, and the dist-info of
// Python packages. It knows no registry, no lock and no builder.
package sbom

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Rules is the version of the rules by which a bill is made. Equal images have equal bills by the same rules.
const Rules = 1

// Artifact types of the two forms: the media types that IANA lists for them.
const (
	SPDXType      = "application/spdx+json"
	CycloneDXType = "application/vnd.cyclonedx+json"
)

// Kinds of parts.
const (
	Deb       = "deb"       // a Debian package
	Conda     = "conda"     // a conda package
	Python    = "python"    // a Python distribution
	Base      = "base"      // the image below
	Installer = "installer" // a conda installer
	File      = "file"      // a file that the recipe names
	Step      = "step"      // all that a step of the recipe made
	Config    = "config"    // what raybuild itself wrote: the user, mirrors, profiles
)

// Packages are the kinds that package systems know.
func Packages() []string { return []string{Deb, Conda, Python} }

// Part is a package, or another thing with a name, in a layer.
type Part struct {
	// Kind is one of the kinds above.
	Kind string `json:"kind"`
	// Name and Version as the package system writes them. A file's name is its path in the image.
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Arch is a Debian package's architecture, Distro its "ID-VERSION_ID" of os-release, such as "debian-12".
	Arch   string `json:"arch,omitempty"`
	Distro string `json:"distro,omitempty"`
	// Source and SourceVersion are the Debian source package, if they differ from Name and Version.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"source_version,omitempty"`
	// Channel, Subdir and Build are a conda package's.
	Channel string `json:"channel,omitempty"`
	Subdir  string `json:"subdir,omitempty"`
	Build   string `json:"build,omitempty"`
	// License as the package's metadata has it; "": it says none that can be read.
	License string `json:"license,omitempty"`
	// URL is where the artifact came from, without users, passwords and tokens; "": this is not known.
	URL string `json:"url,omitempty"`
	// SHA256 of the artifact or file, in hex; "": it is not known.
	SHA256 string `json:"sha256,omitempty"`
	// Path is the file in the image by which the part was found, without a leading slash. Python packages in
	// the same directory belong to one environment. "": it was not found by a file.
	Path string `json:"path,omitempty"`
}

// key identifies a part within an image.
func (p Part) key() string {
	return strings.Join([]string{p.Kind, p.Name, p.Version, p.Arch, p.Subdir, p.Build, p.Path, p.SHA256}, "\x00")
}

// compare orders parts as people look for them.
func (p Part) compare(q Part) int {
	c := cmp.Or(cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.Name, q.Name), cmp.Compare(p.Version, q.Version))
	if c == 0 {
		c = cmp.Compare(p.key(), q.key())
	}
	return c
}

// Layer is a layer of an image with what it holds.
type Layer struct {
	// Digest of the blob, as the registry stores it.
	Digest digest.Digest
	// Title says what the layer is: "base", "apt", "pip-1", or the text of the image's history.
	Title string
	// Parts that the layer brings.
	Parts []Part
}

// Platform is the image of one platform.
type Platform struct {
	// Name is os/arch: "linux/amd64".
	Name string
	// Digest of its manifest.
	Digest digest.Digest
	// Layers, lowest first.
	Layers []Layer
	// Unowned are the files that belong to no part, if somebody asked for them.
	Unowned []string
}

// Bill lists what an image is made of.
type Bill struct {
	// Digest of the image's manifest or index.
	Digest digest.Digest
	// Created is the image's time.
	Created time.Time
	// Platforms in the image's order.
	Platforms []Platform
}

// Prepare does what the first bill of a process costs: encoding/json looks at all types of both forms. A program that
// waits for something calls it meanwhile.
func Prepare() {
	none := Bill{Digest: digest.FromString("")}
	_, _ = none.SPDX() // an empty bill can be written
	_, _ = none.CycloneDX()
}

// Listed is a part with the layers that hold it.
type Listed struct {
	Part
	// Platform is the image that has it, by its place in [Bill.Platforms].
	Platform int
	// Layers by their places in [Platform.Layers]. A large wheel is in several.
	Layers []int
}

// List gives all parts of an image, each once for each platform, sorted by kind, name and version.
func (b *Bill) List() []Listed {
	var out []Listed
	for i, p := range b.Platforms {
		at := map[string]int{}
		var here []Listed
		for n, l := range p.Layers {
			for _, part := range l.Parts {
				k := part.key()
				if j, ok := at[k]; ok {
					if held := here[j].Layers; held[len(held)-1] != n {
						here[j].Layers = append(held, n)
					}
					continue
				}
				at[k] = len(here)
				here = append(here, Listed{part, i, []int{n}})
			}
		}
		slices.SortFunc(here, func(a, b Listed) int { return a.compare(b.Part) })
		out = append(out, here...)
	}
	return out
}
