// Package sources gets the inputs of images: images from registries, and artifacts from mirrors.
package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Sources reach registries and mirrors for resolving and building. They implement [layers.Sources]
// with a registry client and a fetcher. They are safe for use by several goroutines.
type Sources struct {
	registry *registry.Client
	fetcher  *fetch.Fetcher
	client   *http.Client
	mirrors  []layers.Mirror
	logins   map[string]*url.Userinfo // by origin
	bundles  bundle.Set
	resolved time.Time
	bases    baseImages
	read     atomic.Int64 // bytes of image layers that were read for the builder

	mu     sync.Mutex
	roots  map[string]*url.URL                // of sources, by their text
	secure map[string]bool                    // hosts of canonical URLs that need https
	local  map[digest.Digest]layers.LocalFile // local files
}

// Options say how to reach registries and mirrors.
type Options struct {
	// Store is the directory of fetched artifacts. Required.
	Store string
	// Registry is the client of registries. Required.
	Registry *registry.Client
	// Recipe says which Python projects come from another index. Required.
	Recipe *layers.Recipe
	// Mirrors are tried in this order.
	Mirrors []layers.Mirror
	// Host has the certificates and logins of this machine. Default: none.
	Host hostconf.Config
	// Bundles have artifacts and base images, and are asked before any mirror. Default: there are none.
	Bundles bundle.Set
	// Resolved is the time of the lock, for snapshot services.
	Resolved time.Time
	// Warn gets one line for each mirror that fails. Default: warnings are dropped.
	Warn func(string)
}

// New makes the sources. It sends no request.
func New(o Options) (*Sources, error) {
	out := &Sources{registry: o.Registry, mirrors: o.Mirrors, logins: o.Host.Logins, resolved: o.Resolved,
		bundles: o.Bundles, roots: map[string]*url.URL{}, secure: map[string]bool{},
		local: map[digest.Digest]layers.LocalFile{}}
	for _, root := range o.Recipe.Roots(o.Mirrors) {
		out.Allow(root)
	}
	var shelf fetch.Shelf
	if len(o.Bundles) > 0 {
		shelf = o.Bundles
	}
	f, err := fetch.New(fetch.Options{
		Store:       o.Store,
		Shelf:       shelf,
		HTTPSHosts:  httpsHosts(),
		Source:      out.named,
		Canonical:   out.Canonical,
		Logins:      o.Host.Logins,
		Certs:       Certs(o.Host),
		Credentials: keyringOf(o.Host),
		Warn:        o.Warn,
		Candidates: func(canonical *url.URL) []fetch.Candidate {
			var all []fetch.Candidate
			for _, c := range o.Recipe.Candidates(o.Mirrors, canonical, o.Resolved) {
				all = append(all, fetch.Candidate{Mirror: c.Mirror, URL: c.URL, Index: c.Index})
			}
			return all
		},
	})
	if err != nil {
		return nil, err
	}
	out.fetcher = f
	out.client = &http.Client{Transport: gatewayTransport{out}}
	return out, nil
}

// httpsHosts returns the hosts of the official sources that need https.
func httpsHosts() []string {
	var hosts []string
	official, _ := layers.Preset("official")
	for _, root := range []string{
		official.PipIndex, official.PipFiles, official.CondaPkgs, official.CondaCloud, official.Miniconda,
		official.Miniforge,
	} {
		if u, err := url.Parse(root); err == nil && u.Scheme == "https" {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// Canonical implements layers.Sources. In the gateway all URLs are plain http.
func (s *Sources) Canonical(u *url.URL) *url.URL {
	if u.Scheme != "http" || !s.needsTLS(u) {
		return u
	}
	https := *u
	https.Scheme = "https"
	return &https
}

// needsTLS tells whether an http URL of the gateway is https: the root that is the nearest above it says so, else
// what is known of its host.
func (s *Sources) needsTLS(u *url.URL) bool {
	near, secure := s.above(u)
	switch {
	case near != nil:
		return near.Scheme == "https"
	case secure:
		return true
	}
	return s.fetcher.Secure(u.Host) // without the lock: the fetcher asks for roots under its own
}

// above is the root of a source that is the nearest above a URL; nil: there is none. secure tells whether the URLs of
// its host are known to be https.
func (s *Sources) above(u *url.URL) (near *url.URL, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, root := range s.roots {
		if strings.EqualFold(root.Host, u.Host) && fetch.BelowPath(root.Path, u.Path) &&
			(near == nil || len(root.Path) > len(near.Path) ||
				len(root.Path) == len(near.Path) && root.Scheme == "https") {
			near = root
		}
	}
	return near, s.secure[strings.ToLower(u.Host)]
}

// Allow implements layers.Sources.
func (s *Sources) Allow(root *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[root.String()] = root
}

// secureHost says that URLs of a host are https, but those below a root that says otherwise.
func (s *Sources) secureHost(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure[strings.ToLower(host)] = true
}

// named tells whether a URL is below the root of a source.
func (s *Sources) named(u *url.URL) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, root := range s.roots {
		if fetch.Below(root, u) {
			return true
		}
	}
	return false
}

// Pin implements layers.Sources.
func (s *Sources) Pin(ctx context.Context, ref string, p llb.Platform) (layers.PinnedImage, error) {
	pinned, err := s.registry.Resolve(ctx, ref, p)
	if err != nil {
		return layers.PinnedImage{}, err
	}
	s.KnowBase(ref, pinned.Manifest)
	return layers.PinnedImage{Digest: pinned.Manifest, Config: pinned.Config, Layers: pinned.Layers}, nil
}

// Know implements layers.Sources.
func (s *Sources) Know(artifacts []layers.Artifact, local []layers.LocalFile) {
	items := make([]fetch.Item, len(artifacts))
	for i, a := range artifacts {
		made, commit, err := s.made(a)
		if err == nil && commit {
			items[i] = fetch.Item{Digest: a.Digest(), Size: a.Size, Name: a.Filename(), Make: made, Rank: fetchRank(a)}
			continue
		}
		at := a.URL()
		if u, err := url.Parse(at); err == nil && u.Scheme == "https" {
			s.secureHost(u.Host)
		} else if err == nil {
			at = s.Canonical(u).String()
		}
		items[i] = fetch.Item{Digest: a.Digest(), Size: a.Size, Name: a.Filename(), URL: at, Rank: fetchRank(a)}
	}
	s.fetcher.Add(items...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range local {
		s.local[f.Digest] = f
	}
}

// fetchRank orders downloads. All Python packages need the environment, so artifacts of the
// environment come first. Then come big wheels, because their layers take long to pack.
func fetchRank(a layers.Artifact) int {
	switch {
	case a.Kind != layers.KindWheel && a.Kind != layers.KindSdist:
		return 0
	case a.Size >= 16<<20:
		return 1
	}
	return 2
}

// Open implements llb.ArtifactSource.
func (s *Sources) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	file, ok := s.local[d]
	s.mu.Unlock()
	if !ok {
		return s.fetcher.Open(ctx, d)
	}
	r, err := file.Open()
	if err != nil {
		return nil, 0, fmt.Errorf("open local file %q: %w", file.Name, err)
	}
	return r, file.Size, nil
}

// ServeConn implements layers.Sources.
func (s *Sources) ServeConn(c net.Conn) { s.fetcher.ServeConn(c) }

// Client implements layers.Sources.
func (s *Sources) Client() *http.Client { return s.client }

// gatewayTransport sends requests to the gateway in this process, as the resolvers in the sandbox do.
type gatewayTransport struct{ sources *Sources }

// RoundTrip implements http.RoundTripper.
func (t gatewayTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		t.sources.secureHost(req.URL.Host)
		req = req.Clone(req.Context())
		req.URL.Scheme = "http"
	}
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: "gateway"}),
		DisableKeepAlives: true, // the connection and its server end with the response
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go t.sources.ServeConn(theirs)
			return ours, nil
		},
	}
	return tr.RoundTrip(req)
}

var (
	_ layers.Sources  = (*Sources)(nil)
	_ llb.ImageSource = (*Sources)(nil)
)

// Bytes returns how many bytes were fetched so far, including bytes that [Sources.Count] has
// counted. It is 0 for nil sources.
func (s *Sources) Bytes() int64 {
	if s == nil {
		return 0
	}
	return s.fetcher.Stats().Bytes + s.read.Load()
}

// Explain adds advice to an error about an artifact that no mirror has any more. If no mirror
// answered, it adds nothing, because another lock would not help.
func Explain(err error) error {
	var missing *fetch.NotFoundError
	if errors.As(err, &missing) && missing.Withdrawn() {
		return fmt.Errorf("%w\nif its source has dropped it for a newer one: raybuild lock --update", err)
	}
	return err
}

// Unanswered adds to a resolver's error which mirrors failed, because the resolver only says what it did not find.
func (s *Sources) Unanswered(err error) error {
	cause := s.fetcher.Trouble()
	if cause == nil {
		return err
	}
	var (
		authority *fetch.UntrustedError
		login     *fetch.ProxyLoginError
		missing   *fetch.NotFoundError
		hint      string
	)
	if !errors.As(cause, &authority) && !errors.As(cause, &login) && !errors.As(cause, &missing) {
		hint = ": look at the mirrors with raybuild mirrors, and run again; what was fetched is kept"
	}
	return fmt.Errorf("%w\nmirrors failed meanwhile: %w%s", err, cause, hint)
}

// Count returns a reader that adds the bytes that are read to [Sources.Bytes].
func (s *Sources) Count(r io.ReadCloser) io.ReadCloser { return &counted{r, &s.read} }

type counted struct {
	io.ReadCloser
	read *atomic.Int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// Places returns the URLs of each artifact, best first, for a builder that fetches itself. It
// leaves out URLs that only an index page can tell, and URLs with a login or a token, because a
// builder must not see these.
func (s *Sources) Places(artifacts []layers.Artifact) map[digest.Digest][]string {
	all := map[digest.Digest][]string{}
	for _, a := range artifacts {
		canonical, err := url.Parse(a.URL())
		if _, commit := a.Commit(); err != nil || commit {
			continue // the builder cannot fetch it; if it asks for it here, the error names it
		}
		for _, c := range layers.Candidates(s.mirrors, canonical, s.resolved) {
			if u, err := url.Parse(c.URL); err == nil && c.URL != "" && !s.secret(u) {
				all[a.Digest()] = append(all[a.Digest()], c.URL)
			}
		}
	}
	return all
}

// secret tells whether only this machine may fetch a URL: it has a user and password, or a token,
// which a builder must not see.
func (s *Sources) secret(u *url.URL) bool {
	return u.User != nil || s.logins[hostconf.Origin(u)] != nil || fetch.Redacted(u.String()) != u.String()
}
