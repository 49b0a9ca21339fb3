// Package engine is raybuild's embedded build engine: BuildKit's controller,
// its runc worker and the overlayfs snapshotter, linked into the binary and
// run as a re-executed hidden subcommand.
//
// [Connect] gives a connection to a running engine and starts one if there is
// none, [Ensure] its address; [Serve] is the main of that subcommand; [Check]
// says what a machine lacks. The engine is a process of its own, so that a
// crash or a signal stays out of the command line, parallel builds share one,
// and it ends by itself when nobody has been connected for a while.
//
// The state of an engine is one directory, Home/engine/INSTANCE. Settings that
// BuildKit can only take per process (registries without TLS, proxies) choose
// the instance, so that one caller's settings never become the next one's.
//
// It is the only package that imports BuildKit's server packages, and it works
// on Linux only; elsewhere its functions return [ErrUnsupported].
package engine
