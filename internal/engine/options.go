package engine

import (
	"io"
	"time"
)

// DefaultIdle is how long an engine stays when nobody is connected.
const DefaultIdle = 10 * time.Minute

// Options says which engine is wanted. Only Home is required.
type Options struct {
	// Home is raybuild's state directory; the engine's state lies below it
	// in engine/INSTANCE. It is made (mode 0700) when it is not there.
	Home string
	// Exe is the program that is re-executed as the engine.
	// Default: the running program.
	Exe string
	// Args are Exe's arguments in front of the ones that [ParseServeArgs]
	// reads. Default: "engine-serve".
	Args []string
	// Idle ends the engine when nobody has been connected for that long.
	// Default: DefaultIdle.
	Idle time.Duration
	// CacheLimit is the disk space in bytes above which the engine removes
	// what was not used for the longest time.
	// Default: 50 GB, or half of the disk if that is less.
	CacheLimit int64
	// Insecure names the registries ("host" or "host:port") that are spoken
	// to over plain HTTP or over TLS with a certificate that nobody checks.
	// Registries on loopback are always spoken to over plain HTTP.
	// It chooses the instance. Default: none.
	Insecure []string
	// Env is the engine's environment as "KEY=VALUE", beside PATH, HOME and
	// what Go and BuildKit need for themselves. It chooses the instance.
	// Default (nil): HTTP_PROXY, HTTPS_PROXY, NO_PROXY, ALL_PROXY (both
	// spellings), SSL_CERT_FILE and SSL_CERT_DIR of the running program.
	Env []string
	// StartTimeout bounds the wait for an engine that starts or ends.
	// Default: 30 s.
	StartTimeout time.Duration
	// MinFree is the disk space in bytes that Home must have to start.
	// Default: 1 GB.
	MinFree int64
	// Notes gets one line for each thing that a user should know: a state
	// directory moved aside, a wait for another engine. Default: discarded.
	Notes io.Writer
}

// ServeOptions are what the hidden subcommand is told by Ensure.
type ServeOptions struct {
	// Dir is the state directory of the instance; required.
	Dir string
	// Socket is the path of the unix socket; required, at most 107 bytes.
	Socket string
	// Idle is as in Options.
	Idle time.Duration
	// CacheLimit is as in Options.
	CacheLimit int64
	// Insecure is as in Options.
	Insecure []string
	// ReadyFD is a file descriptor to which one line is written when the
	// engine answers ("ready") or cannot start ("error: …"). Default 0: none.
	ReadyFD int
	// stage is how far the process has come into namespaces of its own.
	stage stage
}

// Finding is one line of what `raybuild doctor` says about this machine.
type Finding struct {
	// Name is what was looked at: "runc", "overlayfs", "disk".
	Name string `json:"name"`
	// OK is false when a build in the embedded engine cannot work, or only badly.
	OK bool `json:"ok"`
	// Detail is what was found.
	Detail string `json:"detail"`
	// Fix is the command or the change that mends it; empty when OK.
	Fix string `json:"fix,omitempty"`
}
