// Package world is the offline package world: everything that raybuild fetches from outside, on
// loopback, for tests, the quickstart and benchmarks where the real sources cannot be reached.
// Where a real Python index answers, it is a part of the world as well, behind a cache.
//
// What is real: the Debian packages (the machine's own Debian mirror behind a cache), pip, setuptools
// and wheel (from Debian's own wheels), uv (from the real Python index, if it answers), the Python
// interpreter (Debian's, laid out as conda does) and
// all formats: OCI images, PEP 503/658 indexes, wheels, repodata.json, .conda and .tar.bz2 archives.
// What is a stand-in, and says so in its own metadata: the Miniconda-like installers, the conda program
// in them, ray, and the wheels of other projects. raybuild itself has no code for any of this: the
// world is one more set of mirrors.
package world

import (
	"context"
	"io"
	"time"

	"github.com/raybuild/raybuild/internal/world/channel"
	"github.com/raybuild/raybuild/internal/world/debian"
	"github.com/raybuild/raybuild/internal/world/mirror"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

// RayOld and RayNew are the two versions of the stand-in ray that the world's index carries.
const (
	RayOld = "2.59.0"
	RayNew = "2.60.0"
)

// Options says how a world is made. The zero value is a small world whose files lie in a temporary
// directory and in the user's cache directory.
type Options struct {
	// Dir holds what belongs to this world alone: the registry's blobs. Default: a new temporary
	// directory, removed by Close.
	Dir string
	// Cache holds made artifacts and the Debian mirror's files; worlds of several processes share it.
	// Default: $RAYBUILD_WORLD_CACHE, else raybuild-world in os.UserCacheDir.
	Cache string
	// Scale is the size of the big stand-in wheels. Default: pypi.Small.
	Scale pypi.Scale
	// Variants is how many further versions there are of what a benchmark changes again and again:
	// Ray, torch, the channel's Python, and the Miniconda-like installer. Default: none.
	Variants int
	// Index is the real Python index that part "real" of both mirrors caches, without a slash at its end. Default:
	// the machine's, see [Index].
	Index string
	// Fresh is how long that part serves an index page before it asks for it again. Default: 1 hour.
	Fresh time.Duration
	// Addrs are the listen addresses of mirror A, mirror B and the registry. Default: free ports on
	// 127.0.0.1.
	Addrs [3]string
	// Log gets one line for each thing that is made. Default: nowhere.
	Log io.Writer
}

// A Mirror is one of the two servers of the same content, as the roots that a recipe's mirrors.fetch
// names.
type Mirror struct {
	// URL is the server's root, without a slash at its end.
	URL string
	// Apt, Conda, Pip and Installer are the values of mirrors.fetch. Debian's security archive is at
	// Apt + "-security".
	Apt, Conda, Pip, Installer string
	// Extra is the simple index of an own (private) index with the project world-extra; Miniforge is
	// the root of the Miniforge-named installers (Miniforge/<version>/<file>).
	Extra, Miniforge string
	// Real is the real Python index behind a cache, see [World.NotReal].
	Real string

	server *mirror.Server
}

// Fault makes the mirror slow, broken or lying from now on; see mirror.Fault. An error is a bad
// pattern or an unknown mode.
func (m Mirror) Fault(f mirror.Fault) error { return m.server.Fault(f) }

// Stats is what the mirror has served since its start or the last ResetStats.
func (m Mirror) Stats() mirror.Stats { return m.server.Stats() }

// ResetStats sets the mirror's counters and its log of requests to nothing.
func (m Mirror) ResetStats() { m.server.ResetStats() }

// Start makes what is not made yet and serves the world from this process until Close or until ctx
// ends. Errors name what could not be made and the command that installs what is missing.
func Start(ctx context.Context, o Options) (*World, error) { return start(ctx, o) }

// World is a running world.
type World struct {
	// A and B are two mirrors of the same content.
	A, B Mirror
	// Registry is host:port of a registry on loopback (plain HTTP).
	Registry string
	// Base and BasePatched are references of the base image and of its security-patched successor:
	// the same release and the same packages, one of them with other bytes.
	Base, BasePatched string
	// Installers are the installers that Installer and Miniforge carry.
	Installers []Installer
	// NotReal tells why the real Python index cannot be used; nil where it answered.
	NotReal error `json:"-"`
	// Dir is Options.Dir, or the temporary directory.
	Dir string

	close  func() error
	images *debian.Made
}

// Installer is a Miniconda-like installer of the world.
type Installer = channel.Installer

// Close ends the world's servers and removes a temporary Dir.
func (w *World) Close() error { return w.close() }
