// Package channel makes the conda part of the offline package world: two channels with real repodata
// and real .conda and .tar.bz2 archives, and Miniconda-like installers. Python, pip, setuptools, wheel
// and the certificates are real, out of Debian's packages and laid out as conda does; the conda program
// in the installers is a stand-in (internal/world/conda), and so are the small packages that exist to
// be awkward. Every package says in info/about.json what it is.
package channel

import "embed"

// sources are this package's own sources: what is made is cached under their digest.
//
//go:embed *.go installer.sh
var sources embed.FS

//go:embed installer.sh
var installerScript string
