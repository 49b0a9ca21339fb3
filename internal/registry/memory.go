package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
)

// memory is what registries have told a client for good: how each wants its clients to log in, the
// manifest that a digest names, the credentials that it has given out, and the documents that it
// took. Over a slow link it is each time a round trip.
type memory struct {
	mu      sync.Mutex
	answers map[string]said   // by URL
	held    int               // bytes of them
	logins  map[string]*login // by registry and scopes
	brought map[string]bool   // documents, by repository and digest
	lasts   time.Duration     // what a login is good for
}

// A token is good for 60 seconds at least (distribution's token authentication specification,
// expires_in). One that ended while an image was built would be refused to each of the requests
// with which a push begins.
func newMemory() *memory {
	return &memory{answers: map[string]said{}, logins: map[string]*login{}, brought: map[string]bool{},
		lasts: 50 * time.Second}
}

// said is an answer that a registry would give again.
type said struct {
	status int
	header http.Header
	body   []byte
}

// reply is the answer to a request.
func (a said) reply(req *http.Request) *http.Response {
	return &http.Response{
		Status: statusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Request: req,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}
}

// What is kept of manifests, in bytes: a longer one is not, and none more once there are so many.
// Most have some kilobytes.
const (
	maxRemembered = 1 << 20  // of one
	allRemembered = 32 << 20 // of all
)

// remembering is a transport that asks what is remembered once.
type remembering struct {
	next http.RoundTripper
	*memory
}

// errNoHTTPS is the answer of a host that was reached over plain HTTP.
var errNoHTTPS = errors.New("the registry was reached over plain HTTP")

// RoundTrip implements http.RoundTripper.
func (r remembering) RoundTrip(req *http.Request) (*http.Response, error) {
	ping, manifest := req.URL.Path == "/v2/", path.Base(path.Dir(req.URL.Path)) == "manifests"
	if req.Method != http.MethodGet || req.URL.RawQuery != "" || !ping && !manifest {
		return r.next.RoundTrip(req)
	}
	at := req.URL.String()
	known, ok := r.recall(at)
	if ok {
		return known.reply(req), nil
	}
	if plain, ok := strings.CutPrefix(at, "https://"); ok && ping {
		if _, ok := r.recall("http://" + plain); ok {
			return nil, errNoHTTPS // the library tries both each time
		}
	}
	resp, err := r.next.RoundTrip(req)
	switch {
	case err != nil:
	case ping && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized):
		r.keep(at, said{status: resp.StatusCode,
			header: http.Header{"Www-Authenticate": resp.Header.Values("Www-Authenticate")}})
	case manifest && resp.StatusCode == http.StatusOK:
		err = r.read(at, resp)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// cutError is a manifest whose end did not come.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// read keeps a manifest, and leaves the response as it was.
func (r remembering) read(at string, resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxRemembered+1))
	if err != nil {
		_ = resp.Body.Close() // what broke is told
		return &cutError{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	r.manifest(at, resp.Header.Get("Content-Type"), data)
	return nil
}

// manifest keeps what the URL of a manifest, by tag or digest, was found or made to be.
func (m *memory) manifest(at, mediaType string, data []byte) {
	if len(data) > maxRemembered {
		return
	}
	d := digest.FromBytes(data).String()
	m.keep(at[:strings.LastIndex(at, "/")+1]+d,
		said{http.StatusOK, http.Header{"Content-Type": {mediaType}, "Docker-Content-Digest": {d}}, data})
}

func (m *memory) keep(at string, a said) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.held + len(a.body) - len(m.answers[at].body)
	if held > allRemembered {
		return
	}
	m.answers[at], m.held = a, held
}

func (m *memory) recall(at string) (said, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.answers[at]
	return a, ok
}

// wantsTokens tells whether a registry said, when it was asked how to log in, that a token service
// gives out what it takes.
func (m *memory) wantsTokens(registry name.Registry) bool {
	for _, scheme := range []string{"https", "http"} {
		if a, ok := m.recall(scheme + "://" + registry.RegistryStr() + "/v2/"); ok {
			return slices.ContainsFunc(a.header.Values("Www-Authenticate"), func(challenge string) bool {
				kind, _, _ := strings.Cut(challenge, " ")
				return strings.EqualFold(kind, "bearer")
			})
		}
	}
	return false
}

// login is a client with credentials; several requests may wait for it.
type login struct {
	turn   chan struct{} // of size 1: a lock that can be waited for as long as a context lasts
	client *http.Client  // nil: to be made
	made   time.Time
}

// login is a client with credentials to push to repo and to read from others of its registry.
func (c *Client) login(ctx context.Context, repo name.Repository, read []name.Repository) (*http.Client, error) {
	scopes := []string{repo.Scope(transport.PushScope)}
	for _, r := range read {
		scopes = append(scopes, r.Scope(transport.PullScope))
	}
	key := strings.Join(append([]string{repo.RegistryStr()}, scopes...), " ")
	c.known.mu.Lock()
	l := c.known.logins[key]
	if l == nil {
		l = &login{turn: make(chan struct{}, 1)}
		c.known.logins[key] = l
	}
	c.known.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.client != nil && time.Since(l.made) < c.known.lasts {
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

// forget drops credentials that a registry takes no longer.
func (m *memory) forget(old *http.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, l := range m.logins {
		select {
		case l.turn <- struct{}{}:
			if l.client == old {
				delete(m.logins, key)
			}
			<-l.turn
		default: // one that is being made is not the old one
		}
	}
}

// took remembers that a repository has documents.
func (m *memory) took(repo name.Repository, documents map[digest.Digest][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range documents {
		m.brought[repo.String()+"@"+d.String()] = true
	}
}

// has tells whether a repository is known to have a document.
func (m *memory) has(repo name.Repository, d digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.brought[repo.String()+"@"+d.String()]
}
