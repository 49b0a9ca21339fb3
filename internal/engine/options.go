package engine

import (
	"io"
	"time"
)

// defaultIdle is how long an engine stays when nobody is connected.
const defaultIdle = 10 * time.Minute

// Options says which engine is wanted. Only Home is required.
type Options struct {
	// Home is raybuild's state directory. The engine's state is below it, in
	// engine/INSTANCE. It is made with mode 0700 if it is missing.
	Home string
	// Exe is the program that runs as the engine. Default: the running program.
	Exe string
	// Args are Exe's arguments before those that [ParseServeArgs] reads. Default:
	// "engine-serve".
	Args []string
	// Idle ends the engine when nobody has been connected for that long.
	// Default: 10 minutes.
	Idle time.Duration
	// CacheLimit is the disk space in bytes above which the engine removes the least
	// recently used data. Default: 50 GB, or half of the disk if that is less.
	CacheLimit int64
	// Insecure names the registries ("host" or "host:port") that the engine reaches over
	// plain HTTP, or over TLS without a check of the certificate. It always reaches
	// registries on loopback over plain HTTP. It chooses the instance. Default: none.
	Insecure []string
	// CertDirs are directories with a directory HOST or HOST:PORT for a registry, as Docker's /etc/docker/certs.d: its
	// *.crt are authorities that the engine trusts, its *.cert and *.key what it shows. The engine reads them whenever
	// it asks a registry. One that runs already keeps the directories that it was started with. Default: none.
	CertDirs []string
	// Env is the engine's environment as "KEY=VALUE", beside PATH, HOME and what Go and
	// BuildKit need. It chooses the instance. Default (nil): HTTP_PROXY, HTTPS_PROXY,
	// NO_PROXY, ALL_PROXY (both spellings), SSL_CERT_FILE and SSL_CERT_DIR of the running
	// program.
	Env []string
	// StartTimeout limits the wait for an engine that starts or ends. Default: 30 s.
	StartTimeout time.Duration
	// MinFree is the free disk space in bytes that an engine needs to start. Default: 1
	// GB.
	MinFree int64
	// Trees is a directory. Steps may lay its directories over their roots, when the engine runs as root. An engine
	// that runs already keeps the one that it was started with. Default: none.
	Trees string
	// Notes gets one line for each thing that a user should know, for example that a
	// state directory was moved aside, or that it waits for another engine. Default:
	// discarded.
	Notes io.Writer
}

// ServeOptions are what Ensure tells the hidden subcommand.
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
	// CertDirs is as in Options.
	CertDirs []string
	// Trees is as in Options.
	Trees string
	// ReadyFD is a file descriptor. The engine writes one line to it: "ready" when it
	// answers, or "error: …" if it cannot start. Default: 0, none.
	ReadyFD int
	// stage is how far the process has come into namespaces of its own.
	stage stage
}

// Finding is one line that `raybuild doctor` prints about this machine.
type Finding struct {
	// Name is what was checked: "runc", "overlayfs", "disk".
	Name string `json:"name"`
	// OK is false if a build in the embedded engine cannot work, or works badly.
	OK bool `json:"ok"`
	// Detail is what the check found.
	Detail string `json:"detail"`
	// Fix is the command or the change that repairs it; empty if OK.
	Fix string `json:"fix,omitempty"`
}
