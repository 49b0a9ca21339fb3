// Package builder finds the BuildKit that a build runs on: one that has a name or an address, the
// engine inside raybuild, or the Docker Engine's own.
package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

// The names of builders that are no address of their own.
const (
	Embedded = "embedded" // the engine inside raybuild
	Docker   = "docker"   // the Docker Engine's BuildKit
	Buildx   = "buildx"   // the builder that buildx itself would take
)

// Options say which builder is wanted.
type Options struct {
	// Name is [Docker], [Buildx], the name of one of buildx's builders, or an address with "://". Default: the value of
	// BUILDKIT_HOST, else of BUILDX_BUILDER, else the embedded engine, else the Docker Engine's BuildKit.
	Name string
	// Insecure are the hosts of registries that the embedded engine may speak to over plain HTTP.
	Insecure []string
	// Home gives raybuild's directory, which is there. It is called for the embedded engine alone. Required.
	Home func() (string, error)
	// Getenv gives the variables of the environment. Required.
	Getenv func(string) string
	// Notes gets what the embedded engine has to say while it starts. Default: nobody.
	Notes io.Writer
}

// Named is the name of the builder that somebody chose, by the options or the environment; "": nobody did.
func (o Options) Named() string {
	return cmp.Or(o.Name, o.Getenv("BUILDKIT_HOST"), o.Getenv("BUILDX_BUILDER"))
}

// Builder is a BuildKit that is connected.
type Builder struct {
	*llb.Builder
	// Engine is [Embedded], [Docker], or the address.
	Engine string
	// Unusable are the builders that come before it and could not be used, each with the reason.
	Unusable []string
	// Store is the Docker Engine whose image store takes what is built; nil where the builder exports by itself.
	Store *docker.Host

	home  string // of the embedded engine
	close func() error
}

// Close ends the connection. What was built stays.
func (b *Builder) Close() error { return b.close() }

// CPUs is how many the builder has; 0 where nobody knows.
func (b *Builder) CPUs() int {
	if b.Engine != Embedded {
		return 0
	}
	return runtime.GOMAXPROCS(0) // a container's limit is met
}

// Explain names the disk where a build on the embedded engine filled it. Another error it gives back as it is.
func (b *Builder) Explain(err error) error {
	if b.home != "" && llb.DiskFull(err) {
		return fmt.Errorf("%w; %w", err, engine.Full(b.home))
	}
	return err
}

// Connect connects to the builder that is named, else to the first that can be used: the embedded engine, or the Docker
// Engine's BuildKit. An error says why none can.
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
	addr, c, err := engine.Connect(ctx, engine.Options{Home: home, Exe: program, Insecure: o.Insecure, Notes: o.Notes})
	if err != nil {
		return nil, err
	}
	b := llb.Use(addr, c)
	return &Builder{Builder: b, Engine: Embedded, home: home, close: b.Close}, nil
}

// connectDocker reaches the BuildKit inside a Docker Engine, over the connections that its API
// hands out. addr is the Engine's; default: the local one.
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
