package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials are the login of a registry. If all fields are empty, the registry is asked anonymously.
type Credentials struct {
	Username, Password string
	IdentityToken      string // an OAuth2 refresh token, as some registries have in place of a password
}

// Credentials finds the credentials for a registry ("registry.example:5000"; "docker.io" is Docker Hub) in
// the same place as the client's own. A caller hands them to an engine that pulls by itself. It is an error
// if host is not the name of a registry, or if Docker's configuration or its helper cannot be read. To have
// no credentials is no error.
func (c *Client) Credentials(ctx context.Context, host string) (Credentials, error) {
	reg, err := name.NewRegistry(host)
	if err != nil {
		return Credentials{}, fmt.Errorf("read registry %q: %w", host, err)
	}
	auth, err := authn.Resolve(ctx, c.o.Keychain, reg)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials for %s from Docker's configuration: %w", host, err)
	}
	got, err := authn.Authorization(ctx, auth)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials for %s from Docker's configuration: %w", host, err)
	}
	return Credentials{Username: got.Username, Password: got.Password, IdentityToken: got.IdentityToken}, nil
}
