// Package engine is raybuild's embedded build engine: BuildKit's controller, its runc worker and
// the overlayfs snapshotter. They are linked into the binary, which runs itself again with a hidden
// subcommand.
//
// [Connect] gives a connection to a running engine, and starts one if there is none. [Ensure] gives
// its address. [Serve] is the main function of the subcommand. [Check] says what a machine lacks.
// The engine is a process of its own. So a crash or a signal does not reach the command line,
// parallel builds share one engine, and it ends when nobody has been connected for a while.
//
// The state of an engine is one directory, Home/engine/INSTANCE. BuildKit can take some settings
// only once per process: registries without TLS, and proxies. Such settings choose the instance, so
// that each caller gets the settings that it asked for.
//
// Only this package imports BuildKit's server packages. It works on Linux only; elsewhere its
// functions return [ErrUnsupported].
package engine
