package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// outside is how resolving and building reach registries and mirrors: layers.Outside, made of the client of registries and
// the fetcher.
type outside struct {
	registry *registry.Client
	fetcher  *fetch.Fetcher
	client   *http.Client
	mirrors  []layers.Mirror
	logins   map[string]*url.Userinfo // by origin
	resolved time.Time
	read     atomic.Int64 // bytes of layers of an image that were read for the builder

	mu     sync.Mutex
	secure map[string]bool                    // hosts of canonical URLs that want https
	local  map[digest.Digest]layers.LocalFile // files of this machine
}

// outsideOptions say how the outside is reached.
type outsideOptions struct {
	store    string
	registry *registry.Client
	recipe   *layers.Recipe  // says which projects are on an index of their own
	mirrors  []layers.Mirror // in the order in which they are tried
	host     hostconf.Config // certificates and logins of this machine
	resolved time.Time       // of the lock, for the snapshot services
	warn     func(string)
}

func newOutside(o outsideOptions) (*outside, error) {
	out := &outside{registry: o.registry, mirrors: o.mirrors, logins: o.host.Logins, resolved: o.resolved,
		secure: map[string]bool{}, local: map[digest.Digest]layers.LocalFile{}}
	f, err := fetch.New(fetch.Options{
		Store:      o.store,
		HTTPSHosts: httpsHosts(),
		Logins:     o.host.Logins,
		Certs:      trusted(o.host),
		Warn:       o.warn,
		Candidates: func(canonical *url.URL) []fetch.Candidate {
			var all []fetch.Candidate
			for _, c := range o.recipe.Candidates(o.mirrors, out.canonical(canonical), o.resolved) {
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

// httpsHosts are the hosts of the official sources that are reached by https.
func httpsHosts() []string {
	var hosts []string
	official, _ := layers.Preset("official")
	for _, root := range []string{
		official.PipIndex, official.PipFiles, official.CondaPkgs, official.CondaCloud, official.Miniconda, official.Miniforge,
	} {
		if u, err := url.Parse(root); err == nil && u.Scheme == "https" {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// canonical gives a URL that came through the gateway, as plain http, its own scheme back.
func (o *outside) canonical(u *url.URL) *url.URL {
	o.mu.Lock()
	defer o.mu.Unlock()
	if u.Scheme != "http" || !o.secure[u.Host] {
		return u
	}
	secure := *u
	secure.Scheme = "https"
	return &secure
}

// Secure implements layers.Outside.
func (o *outside) Secure(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.secure[host] = true
}

// Pin implements layers.Outside.
func (o *outside) Pin(ctx context.Context, ref string, p llb.Platform) (layers.PinnedImage, error) {
	pinned, err := o.registry.Resolve(ctx, ref, p)
	if err != nil {
		return layers.PinnedImage{}, err
	}
	return layers.PinnedImage{Digest: pinned.Manifest, Config: pinned.Config}, nil
}

// Know implements layers.Outside.
func (o *outside) Know(artifacts []layers.Artifact, local []layers.LocalFile) {
	items := make([]fetch.Item, len(artifacts))
	for i, a := range artifacts {
		items[i] = fetch.Item{Digest: a.Digest(), Size: a.Size, Name: a.Filename(), URL: a.URL(), Rank: fetchRank(a)}
	}
	o.fetcher.Add(items...)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range local {
		o.local[f.Digest] = f
	}
}

// fetchRank orders downloads. Packages wait for the environment, whatever they are, so what that is made of comes first;
// then big wheels, whose layers take long to pack.
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
func (o *outside) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	o.mu.Lock()
	file, ok := o.local[d]
	o.mu.Unlock()
	if !ok {
		return o.fetcher.Open(ctx, d)
	}
	r, err := file.Open()
	if err != nil {
		return nil, 0, fmt.Errorf("open local file %q: %w", file.Name, err)
	}
	return r, file.Size, nil
}

// ServeConn implements layers.Outside.
func (o *outside) ServeConn(c net.Conn) { o.fetcher.ServeConn(c) }

// Client implements layers.Outside.
func (o *outside) Client() *http.Client { return o.client }

// gatewayTransport asks the gateway, in this process, as the resolvers in the sandbox do.
type gatewayTransport struct{ out *outside }

// RoundTrip implements http.RoundTripper.
func (t gatewayTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		t.out.Secure(req.URL.Host)
		req = req.Clone(req.Context())
		req.URL.Scheme = "http"
	}
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: "gateway"}),
		DisableKeepAlives: true, // the connection, and who serves it, end with the response
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go t.out.ServeConn(theirs)
			return ours, nil
		},
	}
	return tr.RoundTrip(req)
}

var _ layers.Outside = (*outside)(nil)

// bytes is what was fetched so far.
func (o *outside) bytes() int64 {
	if o == nil {
		return 0
	}
	return o.fetcher.Stats().Bytes + o.read.Load()
}

// notFetched explains an artifact that nobody has. Of one that nobody answered for it says nothing: another lock would not help.
func notFetched(err error) error {
	var missing *fetch.NotFoundError
	if errors.As(err, &missing) && missing.Withdrawn() {
		return fmt.Errorf("%w\nif its source has dropped it for a newer one: raybuild lock --update", err)
	}
	return err
}

// unanswered adds to the error of a resolver which mirrors did not answer it: it says itself only what it found nothing of.
func (o *outside) unanswered(err error) error {
	cause := o.fetcher.Trouble()
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

// fastest orders mirrors by how fast they answer from here; those that do not answer come last. The machine's own is first if
// it answers, however fast others are: what its owner chose may be all that has some packages, or all that is allowed.
func (a *app) fastest(ctx context.Context, mirrors []layers.Mirror) []layers.Mirror {
	a.say("measuring mirrors")
	probes := make([]fetch.Probe, len(mirrors))
	for i, m := range mirrors {
		probes[i] = fetch.Probe{Name: m.Name, URL: probeOf(m)}
	}
	c := a.host()
	speeds := fetch.Measure(ctx, probes, fetch.MeasureOptions{
		Timeout: 3 * time.Second, Parallel: len(probes), Logins: c.Logins, Certs: trusted(c),
	})
	order := make([]int, len(mirrors))
	for i := range order {
		order[i] = i
	}
	chosen := func(i int) bool {
		return mirrors[i].Name == layers.HostMirror && !mirrors[i].Own && speeds[i].Err == nil
	}
	slices.SortStableFunc(order, func(x, y int) int {
		if chosen(x) != chosen(y) {
			return map[bool]int{true: -1, false: 1}[chosen(x)]
		}
		return slower(speeds[x], speeds[y])
	})
	sorted := make([]layers.Mirror, len(mirrors))
	for i, from := range order {
		sorted[i] = mirrors[from]
	}
	if len(sorted) > 0 {
		a.say("fetching from %s first", sorted[0].Name)
	}
	return sorted
}

// slower orders speeds, best first.
func slower(x, y fetch.Speed) int {
	switch {
	case (x.Err == nil) != (y.Err == nil):
		if x.Err == nil {
			return -1
		}
		return 1
	case x.BytesPerSecond > y.BytesPerSecond:
		return -1
	case x.BytesPerSecond < y.BytesPerSecond:
		return 1
	}
	return 0
}
