package llb

import (
	"context"
	"io"
	"net"

	digest "github.com/opencontainers/go-digest"
)

// ArtifactSource brings artifacts by digest. Open gives the bytes and their number (-1 when it is not known).
type ArtifactSource interface {
	Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error)
}

// Session is what a build may ask of the caller while it runs. Its zero value has nothing to give but credentials.
type Session struct {
	// Artifacts brings the bytes of [Artifact] stages that the builder does not have; default none.
	Artifacts ArtifactSource
	// Secrets gives the secret id; an error that is [ErrNoSecret] means that there is none. Default none.
	Secrets func(ctx context.Context, id string) ([]byte, error)
	// Sockets serves each connection that a step makes to the socket of that id, and closes it. Default none.
	Sockets map[string]func(net.Conn)
	// DockerConfig is the directory of Docker's config.json with credentials and helpers for registries; default
	// $DOCKER_CONFIG, else ~/.docker.
	DockerConfig string
}

func artifactURL(d digest.Digest) string { return "http://buildkit-session/" + d.Encoded() }
