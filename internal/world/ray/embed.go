// Package ray holds the Python sources of the stand-in ray: a small program with the documented command
// line, ports and HTTP answers of Ray, which goes into the world's ray wheels. It is not Ray.
package ray

import "embed"

// Files are the sources as they lie in the wheel's package directory ray/. ray/_version.py is not among
// them: the wheel's maker writes it, for each version its own.
//
//go:embed all:*
var Files embed.FS
