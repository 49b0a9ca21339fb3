// Package pypi makes the Python part of the offline package world: real wheels (PEP 427) and an sdist,
// made of a table and deterministic to the byte, and a simple index over them (PEP 503, with PEP 658
// metadata). The wheels are stand-ins and say so in their Summary; pip, setuptools and wheel are the
// real ones, out of Debian's packages.
package pypi

import "embed"

// sources are this package's own sources: what is made is cached under their digest.
//
//go:embed *.go
var sources embed.FS
