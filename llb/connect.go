package llb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	// Each import adds an address scheme that client.New can dial.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
)

// connectTimeout is how long a builder may take to answer.
const connectTimeout = 10 * time.Second

// Builder is a connection to a BuildKit daemon. It may be used by several goroutines at once.
type Builder struct {
	addr  string
	c     *client.Client
	store bool // see [Dialer.Store]

	// over is the directory below which a step's mounts are laid over its root; "": the builder cannot do that.
	over string
	// trees is the directory whose directories can lie over a step's root; "": there is none.
	trees   string
	askOver sync.Once
}

// Info says what a builder is and can do.
type Info struct {
	Version   string            // of BuildKit, as "v0.34.2"; empty where the builder does not say
	Platforms []Platform        // that it runs steps for, its own first
	Merge     bool              // can merge and diff stages; where not, images are laid out as a line
	Labels    map[string]string // of its first worker, such as "org.mobyproject.buildkit.worker.snapshotter"
}

// Connect dials the builder at addr and waits, at most 10 seconds, until it answers. addr is what BuildKit's client
// dials: unix:///path, tcp://host:port, ssh://user@host, docker-container://name, podman-container://name,
// nerdctl-container://name or kube-pod://pod?namespace=…. For TLS, tcp takes ?cacert=FILE&cert=FILE&key=FILE and
// &servername=NAME.
func Connect(ctx context.Context, addr string) (*Builder, error) {
	target, opts, err := tlsOptions(addr)
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, target, opts...)
	if err != nil {
		return nil, unreachable(addr, err)
	}
	return ping(ctx, addr, c)
}

// Dialer reaches a builder by the caller's own connections, such as those of the Docker Engine's API.
type Dialer struct {
	Control func(ctx context.Context, addr string) (net.Conn, error)
	// Session dials the connection on which the builder calls back; default: over Control.
	Session func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error)
	// Store says that the builder can export images only into its own store, as a Docker Engine on a
	// graph driver does. Default: it exports as BuildKit does.
	Store bool
}

// ConnectDialer is [Connect] over the connections of d. Errors name the builder by name.
func ConnectDialer(ctx context.Context, name string, d Dialer) (*Builder, error) {
	opts := []client.ClientOpt{client.WithContextDialer(d.Control)}
	if d.Session != nil {
		opts = append(opts, client.WithSessionDialer(d.Session))
	}
	c, err := client.New(ctx, "", opts...)
	if err != nil {
		return nil, unreachable(name, err)
	}
	b, err := ping(ctx, name, c)
	if err != nil {
		return nil, err
	}
	b.store = d.Store
	return b, nil
}

// tlsOptions takes the TLS settings out of a tcp address.
func tlsOptions(addr string) (string, []client.ClientOpt, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Scheme == "" {
		return "", nil, fmt.Errorf("connect builder %q: want an address such as unix:///run/buildkit/buildkitd.sock "+
			"or tcp://host:1234", addr)
	}
	if u.Scheme != "tcp" || u.RawQuery == "" {
		return addr, nil, nil
	}
	q := u.Query()
	for k := range q {
		switch k {
		case "cacert", "cert", "key", "servername":
		default:
			return "", nil, fmt.Errorf("connect builder %q: unknown setting %q: want cacert, cert, key or servername",
				addr, k)
		}
	}
	name := q.Get("servername")
	if name == "" {
		name = u.Hostname()
	}
	server := client.WithServerConfig(name, q.Get("cacert"))
	if q.Get("cacert") == "" {
		server = client.WithServerConfigSystem(name)
	}
	u.RawQuery = ""
	return u.String(), []client.ClientOpt{server, client.WithCredentials(q.Get("cert"), q.Get("key"))}, nil
}

// Use returns a builder for a client that is already connected to addr. The builder must export as
// BuildKit does (see [Dialer.Store]). Close closes c.
func Use(addr string, c *client.Client) *Builder { return &Builder{addr: addr, c: c} }

func ping(ctx context.Context, addr string, c *client.Client) (*Builder, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	if _, err := c.ListWorkers(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(unreachable(addr, err), c.Close())
	}
	return Use(addr, c), nil
}

func unreachable(addr string, err error) error {
	return fmt.Errorf("connect builder %q: %w (check that buildkitd runs there and that you may use it, or name "+
		"another builder)", addr, err)
}

// Close ends the connection.
func (b *Builder) Close() error { return b.c.Close() }

// Info asks the builder for its version, platforms and abilities.
func (b *Builder) Info(ctx context.Context) (Info, error) {
	workers, err := b.c.ListWorkers(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("inspect builder %q: %w", b.addr, err)
	}
	if len(workers) == 0 {
		return Info{}, fmt.Errorf("inspect builder %q: it has no worker; see its log for why none started", b.addr)
	}
	info := Info{Version: workers[0].BuildkitVersion.Version, Platforms: workers[0].Platforms,
		Labels: workers[0].Labels}
	_, err = b.c.Build(ctx, client.SolveOpt{Internal: true}, "",
		func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
			info.Merge = canMerge(gw.BuildOpts().LLBCaps)
			return gateway.NewResult(), nil
		}, nil)
	if err != nil {
		return Info{}, fmt.Errorf("inspect builder %q: %w", b.addr, err)
	}
	return info, nil
}

// overRoot is the label of raybuild's own engine for its directory of mounts that are laid over a step's root.
const overRoot = "raybuild.engine.over-root"

// treesLabel is its label for the directory of trees, and treesVariable a step's variable that names some of them.
const (
	treesLabel    = "raybuild.engine.trees"
	treesVariable = "RAYBUILD_OVER_ROOT"
)

// overDir is the directory below which the builder lays a step's mounts over its root; "": it cannot do that.
func (b *Builder) overDir(ctx context.Context) string {
	b.askOver.Do(func() {
		if workers, err := b.c.ListWorkers(ctx); err == nil && len(workers) == 1 {
			b.over, b.trees = workers[0].Labels[overRoot], workers[0].Labels[treesLabel]
		}
	})
	return b.over
}

// treesDir is the directory of this machine whose directories the builder lays over a step's root; "": it has none.
func (b *Builder) treesDir(ctx context.Context) string {
	b.overDir(ctx)
	return b.trees
}

func canMerge(caps apicaps.CapSet) bool {
	return caps.Supports(pb.CapMergeOp) == nil && caps.Supports(pb.CapDiffOp) == nil
}
