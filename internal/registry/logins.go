package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// loginCache keeps the credentials that registries have given out.
type loginCache struct {
	mu       sync.Mutex
	byScopes map[string]*login // by registry and scopes
	lifetime time.Duration     // of a login
}

// A token lives for 60 seconds or longer (distribution's token authentication specification, expires_in).
// The client renews it after 50, so that no push begins with a token that is about to end.
func newLoginCache() *loginCache {
	return &loginCache{byScopes: map[string]*login{}, lifetime: 50 * time.Second}
}

// login is a client with credentials. Several requests may wait for it.
type login struct {
	turn   chan struct{} // of size 1: a lock whose wait ends with a context
	client *http.Client  // nil: not made yet
	made   time.Time
}

// login gives a client with credentials to push to repo and to read from others of its registry.
func (c *Client) login(ctx context.Context, repo name.Repository, read []name.Repository) (*http.Client, error) {
	scopes := []string{repo.Scope(transport.PushScope)}
	for _, r := range read {
		scopes = append(scopes, r.Scope(transport.PullScope))
	}
	key := strings.Join(append([]string{repo.RegistryStr()}, scopes...), " ")
	c.logins.mu.Lock()
	l := c.logins.byScopes[key]
	if l == nil {
		l = &login{turn: make(chan struct{}, 1)}
		c.logins.byScopes[key] = l
	}
	c.logins.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.client != nil && time.Since(l.made) < c.logins.lifetime {
		return l.client, nil
	}
	began := time.Now()
	auth, err := authn.Resolve(ctx, c.o.Keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("read credentials for %s from Docker's configuration: %w", repo.RegistryStr(), err)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, c.patient(), scopes)
	if err != nil {
		return nil, err
	}
	l.client, l.made = &http.Client{Transport: rt}, began
	return l.client, nil
}

// forget drops credentials that a registry refuses.
func (c *loginCache) forget(old *http.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, l := range c.byScopes {
		select {
		case l.turn <- struct{}{}:
			if l.client == old {
				delete(c.byScopes, key)
			}
			<-l.turn
		default: // somebody is making this one now, so it is not the old one
		}
	}
}
