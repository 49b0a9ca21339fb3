// Package fakebuilder is a BuildKit that runs nothing: a server of BuildKit's API, for tests of code
// that uses a builder, without root, kernel or network. It follows a graph as BuildKit does, remembers
// its results, pulls the configs and layers of base images, makes a layer of each operation, and writes
// manifests as BuildKit does. But the layer of a step has only the step's name and the files that the
// test gives it. It exports images into its content store, and files to the caller. It packs with
// gzip, pushes images of one platform, and writes no archives and no caches.
package fakebuilder

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/containerd/log"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc"
)

// Options say what a builder can do. The zero value is a builder without limits.
type Options struct {
	// Linear says that it cannot merge layers.
	Linear bool
	// NoContent says that its content cannot be read. Then it has to push by itself.
	NoContent bool
	// Run is called for each step that runs, with its title: "[ray] install wheels". It returns the
	// files that the step makes, by path, or the error by which the step fails. Default: no files.
	Run func(title string) (map[string]string, error)
	// Pull returns the base image of a reference. Default: it is pulled from its registry.
	Pull func(ctx context.Context, ref string, p v1.Platform) (v1.Image, error)
}

// Builder is a running builder.
type Builder struct {
	o        Options
	addr     string
	sessions *session.Manager
	store    content.Store

	mu     sync.Mutex
	built  map[output]files  // all results so far
	builds map[string]*build // builds that run
	ran    []string          // titles of steps
}

// Start starts a builder. The test fails if it cannot.
func Start(t testing.TB, o Options) *Builder {
	t.Helper()
	b, stop, err := Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("serve the fake builder: %v", err)
		}
	})
	return b
}

// Serve starts a builder for an example, which has no [testing.TB]. The caller ends it with stop.
func Serve(o Options) (b *Builder, stop func() error, err error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, nil, err
	}
	if err := log.SetLevel("error"); err != nil { // it warns of a filesystem without fs-verity
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "fb") // a socket's path has to be short
	if err != nil {
		return nil, nil, err
	}
	store, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	b = &Builder{o: o, addr: "unix://" + socket, sessions: sessions, store: store, built: map[output]files{},
		builds: map[string]*build{}}
	server := grpc.NewServer()
	controlapi.RegisterControlServer(server, &control{b: b})
	gateway.RegisterLLBBridgeServer(server, &bridge{b: b})
	if !o.NoContent {
		api.RegisterContentServer(server, contentserver.New(store))
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	return b, func() error {
		server.Stop()
		return errors.Join(<-done, os.RemoveAll(dir))
	}, nil
}

// Addr is its address, as [llb.Connect] takes it.
func (b *Builder) Addr() string { return b.addr }

// Ran gives the titles of the steps that ran since the last call, in the order in which they ran.
func (b *Builder) Ran() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	ran := b.ran
	b.ran = nil
	return ran
}

// Forget removes all results, as if the builder had built nothing.
func (b *Builder) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.built = map[output]files{}
}

// build gives the build of an id, whichever of its calls comes first.
func (b *Builder) build(id string) *build {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.builds[id] == nil {
		b.builds[id] = newBuild(b)
	}
	return b.builds[id]
}

// platforms are those that it says that it runs steps for.
func platforms() []*pb.Platform {
	return []*pb.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
}

// control is BuildKit's control API.
type control struct {
	controlapi.UnimplementedControlServer
	b *Builder
}

// ListWorkers implements controlapi.ControlServer.
func (c *control) ListWorkers(context.Context,
	*controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{{
		ID: "fake", Platforms: platforms(), BuildkitVersion: &apitypes.BuildkitVersion{Package: "fake",
			Version: "v0.0.0"},
	}}}, nil
}
