package registry

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// responseCache keeps answers that a registry would give again: how it wants its clients to log in, and
// the manifest that a digest names. Over a slow link each repeated question costs a round trip.
type responseCache struct {
	mu    sync.Mutex
	byURL map[string]cachedResponse
	size  int // of all bodies, in bytes
}

func newResponseCache() *responseCache { return &responseCache{byURL: map[string]cachedResponse{}} }

// cachedResponse is an answer that a registry would give again.
type cachedResponse struct {
	status int
	header http.Header
	body   []byte
}

// response makes the answer to a request.
func (a cachedResponse) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: statusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Request: req,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}
}

// Limits of the cache, in bytes. It keeps no manifest that is longer, and no further one when it is full.
// Most manifests have some kilobytes.
const (
	maxCachedManifest  = 1 << 20
	maxCachedManifests = 32 << 20
)

// cachingTransport answers a request from the cache, or makes it and keeps the answer.
type cachingTransport struct {
	next http.RoundTripper
	*responseCache
}

// errNoHTTPS answers a request over HTTPS to a host that answered over plain HTTP.
var errNoHTTPS = errors.New("the registry was reached over plain HTTP")

// RoundTrip implements http.RoundTripper.
func (r cachingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ping, manifest := req.URL.Path == "/v2/", path.Base(path.Dir(req.URL.Path)) == "manifests"
	if path.Base(path.Dir(req.URL.Path)) == "referrers" {
		resp, err := r.next.RoundTrip(req)
		return referrersAnswer(resp), err
	}
	if req.Method != http.MethodGet || req.URL.RawQuery != "" || !ping && !manifest {
		return r.next.RoundTrip(req)
	}
	at := req.URL.String()
	cached, ok := r.get(at)
	if ok {
		return cached.response(req), nil
	}
	if plain, ok := strings.CutPrefix(at, "https://"); ok && ping {
		if _, ok := r.get("http://" + plain); ok {
			return nil, errNoHTTPS // the library tries both each time
		}
	}
	resp, err := r.next.RoundTrip(req)
	switch {
	case err != nil:
	case ping && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized):
		r.put(at, cachedResponse{status: resp.StatusCode,
			header: http.Header{"Www-Authenticate": resp.Header.Values("Www-Authenticate")}})
	case manifest && resp.StatusCode == http.StatusOK:
		err = r.keepManifest(at, resp)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// referrersAnswer makes the answers of registries without a referrers API alike. The OCI distribution specification
// asks for 404; others answer 403, 405 or 501, as they do to all that they do not know. A media type may have
// parameters (RFC 9110, 8.3.1), which the callers do not expect.
func referrersAnswer(resp *http.Response) *http.Response {
	if resp == nil {
		return nil
	}
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		resp.StatusCode, resp.Status = http.StatusNotFound, statusText(http.StatusNotFound)
	}
	if mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil {
		resp.Header.Set("Content-Type", mediaType)
	}
	return resp
}

// truncatedError says that the end of a manifest did not come.
type truncatedError struct{ err error }

func (e *truncatedError) Error() string { return e.err.Error() }
func (e *truncatedError) Unwrap() error { return e.err }

// keepManifest puts a manifest into the cache, and leaves the response as it was.
func (r cachingTransport) keepManifest(at string, resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxCachedManifest+1))
	if err != nil {
		_ = resp.Body.Close() // the caller gets the error of the read
		return &truncatedError{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	r.putManifest(at, resp.Header.Get("Content-Type"), data)
	return nil
}

// putManifest keeps a manifest under the URL of its digest. at is the URL under which it was read or
// written, by tag or by digest.
func (c *responseCache) putManifest(at, mediaType string, data []byte) {
	if len(data) > maxCachedManifest {
		return
	}
	d := digest.FromBytes(data).String()
	c.put(at[:strings.LastIndex(at, "/")+1]+d,
		cachedResponse{http.StatusOK, http.Header{"Content-Type": {mediaType}, "Docker-Content-Digest": {d}}, data})
}

func (c *responseCache) put(at string, a cachedResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := c.size + len(a.body) - len(c.byURL[at].body)
	if size > maxCachedManifests {
		return
	}
	c.byURL[at], c.size = a, size
}

func (c *responseCache) get(at string) (cachedResponse, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.byURL[at]
	return a, ok
}

// wantsTokens tells whether a registry takes the tokens of a token service. It is false if nobody asked
// the registry yet how to log in.
func (c *responseCache) wantsTokens(registry name.Registry) bool {
	for _, scheme := range []string{"https", "http"} {
		if a, ok := c.get(scheme + "://" + registry.RegistryStr() + "/v2/"); ok {
			return slices.ContainsFunc(a.header.Values("Www-Authenticate"), func(challenge string) bool {
				kind, _, _ := strings.Cut(challenge, " ")
				return strings.EqualFold(kind, "bearer")
			})
		}
	}
	return false
}
