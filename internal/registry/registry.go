// Package registry talks to image registries. It pins references, tags, pushes, reads the parts of
// an image, attaches documents and finds them. It also serves a registry from a directory.
//
// References follow Docker's grammar (github.com/distribution/reference): "ray" means
// docker.io/library/ray:latest. A first component with a dot, a colon, or the word localhost is a
// host.
//
// Credentials come from Docker's configuration and its helpers; DOCKER_CONFIG counts. Only loopback
// hosts and the hosts of [Options.Insecure] are reached over plain HTTP, or over TLS without a
// check of the certificate.
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
	// Insecure names hosts ("host" or "host:port") that may be reached over plain HTTP, or with a
	// certificate that nobody signed. Loopback hosts always may. Default: none.
	Insecure []string
	// CertDirs are directories with a directory HOST or HOST:PORT for a registry. As Docker does, the client trusts its
	// *.crt beside the system's authorities, and shows the registry its *.cert, whose keys are in *.key. See
	// [CertDirs]. They count for the default Transport. Default: none.
	CertDirs []string
	// Keychain finds credentials. Default: Docker's config.json and its credential helpers, as docker login
	// leaves them.
	Keychain authn.Keychain
	// Transport makes the requests. A plain HTTP request to a secure host is refused before it. Default: a
	// transport that honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and ends silent connections after
	// Timeout.
	Transport http.RoundTripper
	// Timeout is the longest that connecting, or silence of the registry, may take. Default: 30 seconds.
	Timeout time.Duration
	// Bases are images at hand. Resolve, Head, Inspect, Manifest and OpenBlob take what these have from them, and
	// ask no registry. Resolve alone takes tags from them. Default: none.
	Bases Images
	// Mirrors gives the mirrors of a registry ("docker.io"), which are asked first. Resolve, Head, Inspect, Manifest
	// and OpenBlob use them. What is named by digest is checked; a mirror is believed in what a tag names. Mirrors is
	// called often. Default: there are none.
	Mirrors func(registry string) []Mirror
	// Log gets what delays small exchanges that are repeated: tags, attachments, the question whether a
	// push is allowed. A push has its own Log. Default: nobody gets it.
	Log func(format string, args ...any)
}

// Client talks to registries. It is safe for concurrent use. It reuses connections and tokens between
// calls, and reads the manifest of a digest only once.
type Client struct {
	o         Options
	transport http.RoundTripper
	puller    *remote.Puller
	pusher    *remote.Pusher
	hand      *remote.Puller    // of Options.Bases; nil: there are none
	push      http.RoundTripper // of pushes; made when first needed
	pushOnce  sync.Once
	responses *responseCache
	logins    *loginCache
	documents *documentCache
	mirrors   mirrorState
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
	if o.Bases != nil && c.err == nil {
		c.hand, c.err = pullerAtHand(o.Bases)
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

// Insecure tells whether the client may use plain HTTP, or an unknown certificate, for the registry of ref.
// A reference that cannot be parsed is secure.
func (c *Client) Insecure(ref string) bool {
	host, err := Host(ref)
	return err == nil && c.insecure(host)
}

// insecure tells whether the client may reach host, with or without a port, without verified TLS.
func (c *Client) insecure(host string) bool {
	bare := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		bare = h
	}
	if Loopback(bare) {
		return true
	}
	if c.insecureMirror(host) {
		return true
	}
	for _, h := range c.o.Insecure {
		if strings.EqualFold(h, host) || strings.EqualFold(h, bare) {
			return true
		}
	}
	return false
}

// Loopback tells whether host (a name or an address, without a port) is this machine.
func Loopback(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Host returns the registry of a reference, with its port: "docker.io", "127.0.0.1:5000".
func Host(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.Domain(named), nil
}

// Pin replaces the tag or digest of ref by digest: "host/ray:1" and "sha256:…" give "host/ray@sha256:…".
// The name stays as the user wrote it.
func Pin(ref, digest string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.FamiliarName(named) + "@" + digest, nil
}

// limited bounds an exchange of small documents, so that a registry that sends single bytes cannot block a
// command for ever.
func (c *Client) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 4*c.o.Timeout)
}
