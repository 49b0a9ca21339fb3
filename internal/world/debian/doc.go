// Package debian takes what the offline package world needs from the machine's own Debian mirror: base
// images, made with mmdebstrap, and packages that other parts of the world are made of.
package debian

import "embed"

// sources are this package's own sources: what is made is cached under their digest.
//
//go:embed *.go
var sources embed.FS
