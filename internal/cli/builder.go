package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

// builder is the BuildKit that a build runs on.
type builder struct {
	*llb.Builder
	engine string       // "embedded", "docker", or the address
	over   []string     // what was there before it in the order and could not be used, with the reason
	store  *docker.Host // the Docker Engine whose image store takes what is built, where the builder exports nowhere else
	close  func() error
}

// cpus is how many the builder has; 0 where nobody knows.
func (b *builder) cpus() int {
	if b.engine != "embedded" {
		return 0
	}
	return runtime.GOMAXPROCS(0) // a container's limit is met
}

// dockerEngine is the name of the Docker Engine's BuildKit, in messages and for --builder.
const dockerEngine = "docker"

// namedBuilder is the builder that somebody named: by the flag, by BuildKit's variable, by buildx's.
func (a *app) namedBuilder(o builderOptions) string {
	return first(o.builder, a.getenv("BUILDKIT_HOST"), a.getenv("BUILDX_BUILDER"))
}

// connect takes the first builder that is there: the one that was named, the embedded engine, Docker's own.
func (a *app) connect(ctx context.Context, o builderOptions) (*builder, error) {
	addr := a.namedBuilder(o)
	switch {
	case addr == "":
	case addr == dockerEngine:
		return connectDocker(ctx, "")
	case !strings.Contains(addr, "://"):
		return a.connectBuildx(ctx, addr)
	default:
		b, err := llb.Connect(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("connect to builder %q: %w", addr, err)
		}
		return &builder{Builder: b, engine: addr, close: b.Close}, nil
	}
	embedded, err := a.connectEmbedded(ctx, o)
	if err == nil || ctx.Err() != nil {
		return embedded, err
	}
	theirs, dockerErr := connectDocker(ctx, "")
	if dockerErr == nil {
		theirs.over = []string{"embedded engine: " + err.Error()}
		return theirs, nil
	}
	return nil, fmt.Errorf("no builder: %w", errors.Join(
		err, fmt.Errorf("docker engine: %w", dockerErr), errors.New(`name another one with --builder, or see "raybuild doctor"`)))
}

func (a *app) connectEmbedded(ctx context.Context, o builderOptions) (*builder, error) {
	home, err := a.makeHome()
	if err != nil {
		return nil, err
	}
	addr, c, err := engine.Connect(ctx, engine.Options{Home: home, Insecure: o.insecure, Notes: a.stderr})
	if err != nil {
		return nil, err
	}
	b := llb.Use(addr, c)
	return &builder{Builder: b, engine: "embedded", close: b.Close}, nil
}

// explain names the disk where a build on this machine filled it.
func (b *builder) explain(a *app, err error) error {
	if home, homeErr := a.home(); homeErr == nil && b.engine == "embedded" && llb.DiskFull(err) {
		return fmt.Errorf("%w; %w", err, engine.Full(home))
	}
	return err
}

// connectDocker reaches the BuildKit inside a Docker Engine, over the connections that its API hands out. addr is the Engine's;
// default: the local one.
func connectDocker(ctx context.Context, addr string) (*builder, error) {
	host, err := docker.Dial(ctx, docker.Target{Local: true, Engine: addr}, docker.Options{})
	if err != nil {
		return nil, err
	}
	info, err := host.Info(ctx)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	client := host.Docker()
	b, err := llb.ConnectDialer(ctx, dockerEngine, llb.Dialer{
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
	out := &builder{Builder: b, engine: dockerEngine, close: func() error { return errors.Join(b.Close(), host.Close()) }}
	if info.GraphDriver {
		out.store = host
	}
	return out, nil
}
