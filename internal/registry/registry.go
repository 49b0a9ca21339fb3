// Package registry is what raybuild itself says to an image registry: it pins references, asks whether a tag is up to
// date, tags by manifest, pushes, reads an image's parts, attaches and finds referrers, and serves a registry from a
// directory.
//
// References follow Docker's grammar (github.com/distribution/reference): "ray" means docker.io/library/ray:latest, and
// a first component with a dot, a colon, or the word localhost is a host.
//
// Credentials come from Docker's configuration and its helpers (DOCKER_CONFIG is honoured). Plain
// HTTP, and TLS whose certificate is not checked, are used with loopback hosts and with the hosts
// of [Options.Insecure], and with no others.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Options says how a [Client] reaches registries. The zero value works.
type Options struct {
	// Insecure names hosts ("host" or "host:port") that may be spoken to over plain HTTP or with a certificate that
	// nobody signed. Default: loopback hosts only, which are always in it.
	Insecure []string
	// Keychain finds credentials. Default: Docker's config.json and its credential helpers, as
	// docker login leaves them.
	Keychain authn.Keychain
	// Transport makes the requests. Default: one that honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY, with a limit on
	// silence of Timeout. Plain HTTP is refused for secure hosts also on a transport that is given here.
	Transport http.RoundTripper
	// Timeout is the longest that a registry may take to connect, or to say nothing. Default: 30 seconds.
	Timeout time.Duration
	// Log is told what holds small exchanges up that are tried again: tags, attachments, the
	// question whether a push is allowed. A push has a Log of its own. Default: nobody.
	Log func(format string, args ...any)
}

// Client speaks to registries. It is safe for concurrent use, reuses connections and tokens between
// calls, and asks for a manifest by its digest once.
type Client struct {
	o         Options
	transport http.RoundTripper
	puller    *remote.Puller
	pusher    *remote.Pusher
	push      http.RoundTripper // of pushes; made when first needed
	pushOnce  sync.Once
	responses *responseCache
	logins    *loginCache
	documents *documentCache
	err       error // options that the library refused; every call returns it
}

// New returns a client. It makes no request.
func New(o Options) *Client {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	c := &Client{o: o, responses: newResponseCache(), logins: newLoginCache(), documents: newDocumentCache()}
	c.transport = cachingTransport{c.guard(o.Transport), c.responses}
	opts := []remote.Option{
		remote.WithAuthFromKeychain(o.Keychain),
		remote.WithTransport(c.transport),
		remote.WithUserAgent("raybuild"),
		remote.WithJobs(jobs),
		remote.WithRetryBackoff(remote.Backoff{Duration: o.Timeout / 60, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
	if c.puller, c.err = remote.NewPuller(opts...); c.err == nil {
		c.pusher, c.err = remote.NewPusher(opts...)
	}
	return c
}

// jobs is how many requests run at once against one registry.
const jobs = 8

// parse reads a reference by Docker's grammar; one without tag and digest means ":latest".
func (c *Client) parse(ref string) (name.Reference, reference.Named, error) {
	if c.err != nil {
		return nil, nil, fmt.Errorf("set up registry client: %w", c.err)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, nil, fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	named = reference.TagNameOnly(named)
	var opts []name.Option
	if c.insecure(reference.Domain(named)) {
		opts = append(opts, name.Insecure)
	}
	parsed, err := name.ParseReference(named.String(), opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("parse image reference %q: %w", ref, err)
	}
	return parsed, named, nil
}

// Insecure tells whether the registry of ref may be spoken to over plain HTTP or with an unknown
// certificate. A reference that cannot be read is secure.
func (c *Client) Insecure(ref string) bool {
	host, err := Host(ref)
	return err == nil && c.insecure(host)
}

// insecure tells whether host, with or without a port, may be spoken to without verified TLS.
func (c *Client) insecure(host string) bool {
	bare := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		bare = h
	}
	if Loopback(bare) {
		return true
	}
	for _, h := range c.o.Insecure {
		if strings.EqualFold(h, host) || strings.EqualFold(h, bare) {
			return true
		}
	}
	return false
}

// Loopback tells whether host (a name or an address, without port) is this machine itself.
func Loopback(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Host is the registry of a reference, with its port: "docker.io", "127.0.0.1:5000".
func Host(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.Domain(named), nil
}

// Pin replaces what ref says after its name by a digest: "host/ray:1" and "sha256:…" give "host/ray@sha256:…". The name
// stays as it was written.
func Pin(ref, digest string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.FamiliarName(named) + "@" + digest, nil
}

// limited bounds an exchange of small documents, so that a registry that drips bytes cannot hold a command for ever.
func (c *Client) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 4*c.o.Timeout)
}
