package llb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"sync"

	"github.com/docker/cli/cli/config"
	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/upload"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ArtifactSource brings artifacts by digest. Open gives the bytes and their number, or -1 if it is not known.
type ArtifactSource interface {
	Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error)
}

// Session has what a builder may ask of the caller during a build. Its zero value gives only credentials.
type Session struct {
	// Artifacts brings the bytes of [Artifact] stages that the builder does not have; default none.
	Artifacts ArtifactSource
	// Layers gives the layers of [GivenLayer] stages. Without Artifacts it gives only those that are there.
	// Default none.
	Layers LayerSource
	// Images has images at hand, so that the builder asks no registry for them. A builder that cannot read them asks
	// the registry. Default none.
	Images ImageSource
	// Secrets gives the value of the secret id, or the error [ErrNoSecret] if there is none. Default none.
	Secrets func(ctx context.Context, id string) ([]byte, error)
	// Sockets has a function for each id of a [Socket]. It serves one connection that a step makes to the socket. The
	// connection has CloseWrite, and it is closed when the function returns. Default none.
	Sockets map[string]func(net.Conn)
	// DockerConfig is the directory of Docker's config.json with credentials and helpers for registries; default
	// $DOCKER_CONFIG, else ~/.docker.
	DockerConfig string
}

// artifactURL is the address at which BuildKit asks the session for an artifact; the path is the digest in hex.
func artifactURL(d digest.Digest) string { return "http://buildkit-session/" + d.Encoded() }

// session serves a Session to BuildKit and keeps the errors that gRPC would turn into text.
type session struct {
	Session
	mu    sync.Mutex
	fetch *FetchError // the first
	names map[digest.Digest]string
	blobs map[digest.Digest]int64  // given layers, by blob, with their sizes
	docs  map[digest.Digest][]byte // of images of one given layer each
}

// attachables are the services that BuildKit calls back.
func (s *session) attachables() ([]bksession.Attachable, error) {
	cfg, err := config.Load(s.dockerConfig())
	if err != nil {
		return nil, fmt.Errorf("load registry credentials: %w", err)
	}
	return []bksession.Attachable{
		authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
			AuthConfigProvider: authprovider.LoadAuthConfig(cfg),
		}),
		secretsprovider.NewSecretProvider(secretStore{s.Secrets}),
		&sockets{serve: s.Sockets},
		s,
	}, nil
}

func (s *session) dockerConfig() string {
	if s.DockerConfig != "" {
		return s.DockerConfig
	}
	return os.Getenv("DOCKER_CONFIG")
}

// Register makes s the upload server.
func (s *session) Register(server *grpc.Server) { upload.RegisterUploadServer(server, s) }

// Pull sends an artifact to BuildKit.
func (s *session) Pull(stream upload.Upload_PullServer) error {
	ctx := stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	var name string
	if v := md.Get("urlpath"); len(v) > 0 {
		name = path.Base(v[0])
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, name)
	if err := d.Validate(); err != nil {
		return status.Errorf(codes.InvalidArgument, "artifact %q: %v", name, err)
	}
	if r := s.givenBlob(d); r != nil {
		defer r.Close()
		return s.send(stream, d, r)
	}
	if s.Artifacts == nil {
		return s.failed(ctx, d, errors.New("the builder does not have it, and nothing was given that could bring it"))
	}
	r, _, err := s.Artifacts.Open(ctx, d)
	if err != nil {
		return s.failed(ctx, d, err)
	}
	defer r.Close()
	return s.send(stream, d, r)
}

// send copies r to the stream in messages below gRPC's limit of 4 MiB. A builder that takes no more
// has ended the fetch, and says itself why; a failure of the artifact is one of r alone.
func (s *session) send(stream upload.Upload_PullServer, d digest.Digest, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := stream.SendMsg(&upload.BytesMessage{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return s.failed(stream.Context(), d, err)
		}
	}
}

// failed keeps the first error that is one: BuildKit cancels the other fetches after it.
func (s *session) failed(ctx context.Context, d digest.Digest, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return err
	}
	fe := &FetchError{Digest: d, Name: s.names[d], Err: err}
	if s.fetch == nil {
		s.fetch = fe
	}
	return status.Error(codes.Unavailable, fe.Error())
}

func (s *session) fetchError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetch == nil {
		return nil
	}
	return s.fetch
}

// name remembers what artifacts are called.
func (s *session) name(d digest.Digest, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[digest.Digest]string{}
	}
	s.names[d] = name
}

type secretStore struct {
	get func(ctx context.Context, id string) ([]byte, error)
}

// GetSecret gives a secret to BuildKit.
func (s secretStore) GetSecret(ctx context.Context, id string) ([]byte, error) {
	if s.get == nil {
		return nil, fmt.Errorf("secret %q: %w", id, secrets.ErrNotFound)
	}
	dt, err := s.get(ctx, id)
	if errors.Is(err, ErrNoSecret) {
		return nil, fmt.Errorf("secret %q: %w", id, secrets.ErrNotFound)
	}
	return dt, err
}
