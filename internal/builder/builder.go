// Package builder finds the BuildKit that a build uses: one with a name or an address, the engine
// inside raybuild, or the Docker Engine's BuildKit.
package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

// Names of builders that are not addresses.
const (
	Embedded = "embedded" // the engine inside raybuild
	Docker   = "docker"   // the Docker Engine's BuildKit
	Buildx   = "buildx"   // the builder that buildx itself would use
)

// Options say which builder to use.
type Options struct {
	// Name is [Docker], [Buildx], the name of one of buildx's builders, or an address with "://". Default: the value of
	// BUILDKIT_HOST, else of BUILDX_BUILDER, else the embedded engine, else the Docker Engine's BuildKit.
	Name string
	// Insecure are the hosts of registries that the embedded engine may reach over plain HTTP.
	Insecure []string
	// CertDirs are directories with certificates of registries, as Docker has them, for the embedded engine. Default:
	// none.
	CertDirs []string
	// Home returns raybuild's directory, and creates it if it is missing. It is called only for the
	// embedded engine. Required.
	Home func() (string, error)
	// Trees is the directory below Home whose directories the embedded engine's steps may use as layers. Default: none.
	Trees string
	// Getenv returns environment variables. Required.
	Getenv func(string) string
	// Notes gets messages of the embedded engine's start. Default: they are dropped.
	Notes io.Writer
}

// Named returns the builder's name from the options or the environment. "": neither names a builder.
func (o Options) Named() string {
	return cmp.Or(o.Name, o.Getenv("BUILDKIT_HOST"), o.Getenv("BUILDX_BUILDER"))
}

// Builder is a connected BuildKit.
type Builder struct {
	*llb.Builder
	// Engine is [Embedded], [Docker], or the address.
	Engine string
	// Unusable lists the builders that would be used first but cannot be used, each with the reason.
	Unusable []string
	// Store is the Docker Engine whose image store gets the built image; nil: the builder exports images itself.
	Store *docker.Host

	home  string // of the embedded engine
	close func() error
}

// Close closes the connection. It removes nothing that was built.
func (b *Builder) Close() error { return b.close() }

// CPUs returns how many CPUs the builder has; 0: unknown.
func (b *Builder) CPUs() int {
	if b.Engine != Embedded {
		return 0
	}
	return runtime.GOMAXPROCS(0) // GOMAXPROCS respects a container's limit
}

// Explain adds the full disk to an error if a build on the embedded engine filled it. It returns
// other errors as they are.
func (b *Builder) Explain(err error) error {
	if b.home != "" && llb.DiskFull(err) {
		return fmt.Errorf("%w; %w", err, engine.Full(b.home))
	}
	return err
}

// Connect connects to the named builder. If none is named, it connects to the first that works: the
// embedded engine, or the Docker Engine's BuildKit. If none works, the error gives the reason for each.
func Connect(ctx context.Context, o Options) (*Builder, error) {
	addr := o.Named()
	switch {
	case addr == "":
	case addr == Docker:
		return connectDocker(ctx, "")
	case !strings.Contains(addr, "://"):
		return connectBuildx(ctx, o.Getenv, addr)
	default:
		b, err := llb.Connect(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("connect to builder %q: %w", addr, err)
		}
		return &Builder{Builder: b, Engine: addr, close: b.Close}, nil
	}
	embedded, err := connectEmbedded(ctx, o)
	if err == nil || ctx.Err() != nil {
		return embedded, err
	}
	theirs, dockerErr := connectDocker(ctx, "")
	if dockerErr == nil {
		theirs.Unusable = []string{"embedded engine: " + err.Error()}
		return theirs, nil
	}
	return nil, fmt.Errorf("no builder: %w", errors.Join(
		err, fmt.Errorf("docker engine: %w", dockerErr),
		errors.New(`name another one with --builder, or see "raybuild doctor"`)))
}

func connectEmbedded(ctx context.Context, o Options) (*Builder, error) {
	home, err := o.Home()
	if err != nil {
		return nil, err
	}
	program, err := engineProgram()
	if err != nil {
		return nil, err
	}
	eo := engine.Options{Home: home, Exe: program, Insecure: o.Insecure, CertDirs: o.CertDirs, Notes: o.Notes}
	if o.Trees != "" {
		eo.Trees = filepath.Join(home, o.Trees)
	}
	addr, c, err := engine.Connect(ctx, eo)
	if err != nil {
		return nil, err
	}
	b := llb.Use(addr, c)
	return &Builder{Builder: b, Engine: Embedded, home: home, close: b.Close}, nil
}

// connectDocker connects to the BuildKit inside a Docker Engine, through the Engine's API. addr is
// the Engine's address; "": the local Engine.
func connectDocker(ctx context.Context, addr string) (*Builder, error) {
	host, err := docker.Dial(ctx, docker.Target{Local: true, Engine: addr}, docker.Options{})
	if err != nil {
		return nil, err
	}
	info, err := host.Info(ctx)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	client := host.Docker()
	b, err := llb.ConnectDialer(ctx, Docker, llb.Dialer{
		Control: func(ctx context.Context, _ string) (net.Conn, error) {
			return client.DialHijack(ctx, "/grpc", "h2c", nil)
		},
		Session: func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return client.DialHijack(ctx, "/session", proto, meta)
		},
		Store: info.GraphDriver,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the Docker Engine's BuildKit: %w", err), host.Close())
	}
	out := &Builder{Builder: b, Engine: Docker, close: func() error { return errors.Join(b.Close(), host.Close()) }}
	if info.GraphDriver {
		out.Store = host
	}
	return out, nil
}
