package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Images are images that are at hand, and need no registry: those of bundles. All bytes that they give have the digest
// that they were asked for.
type Images interface {
	// Repositories lists the repositories and their tags.
	Repositories() map[string][]string
	// Manifest gives what target, a tag or a digest, names in a repository. false: there is none.
	Manifest(repository, target string) (ocispecs.Descriptor, []byte, bool)
	// Blob opens a blob, and gives its size. The error is os.ErrNotExist if the repository has none such.
	Blob(ctx context.Context, repository string, d digest.Digest) (io.ReadSeekCloser, int64, error)
	// Referrers lists what is attached to a manifest.
	Referrers(repository string, subject digest.Digest) []ocispecs.Descriptor
}

// ServeImages serves images at hand on ln, as a registry that can only be read, until ctx ends. The rest is as for
// [Serve].
func ServeImages(ctx context.Context, ln net.Listener, images Images, hosts ...string) error {
	return serveOn(ctx, ln, &guard{shelf{images: images}, hosts})
}

// shelf is a registry of images at hand.
type shelf struct {
	images Images
	hosts  bool // repositories have the host of the request
}

// ServeHTTP implements http.Handler.
func (s shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	path, isV2 := strings.CutPrefix(r.URL.Path, "/v2/")
	repo, kind, rest, ok := split(path)
	if s.hosts {
		repo = hubName(r.URL.Host) + "/" + repo
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "these images can only be read")
	case r.URL.Path == "/v2" || isV2 && path == "":
		answer(w, http.StatusOK, "application/json", struct{}{})
	case path == "_catalog":
		all := slices.Sorted(maps.Keys(s.images.Repositories()))
		answer(w, http.StatusOK, "application/json", map[string][]string{"repositories": page(w, r, all)})
	case !ok:
		refuse(w, http.StatusNotFound, "NAME_INVALID", "no such address: "+r.URL.Path)
	case kind == "manifests":
		s.manifest(w, r, repo, rest)
	case kind == "blobs":
		s.blob(w, r, repo, digest.Digest(rest))
	case kind == "tags" && rest == "list":
		s.tags(w, r, repo)
	case kind == "referrers":
		index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispecs.MediaTypeImageIndex, Manifests: s.images.Referrers(repo, digest.Digest(rest))}
		answer(w, http.StatusOK, ocispecs.MediaTypeImageIndex, index)
	default:
		refuse(w, http.StatusNotFound, "UNSUPPORTED", "no such address: "+r.URL.Path)
	}
}

func (s shelf) manifest(w http.ResponseWriter, r *http.Request, repo, target string) {
	d, data, ok := s.images.Manifest(repo, target)
	if !ok {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
		return
	}
	w.Header().Set("Docker-Content-Digest", d.Digest.String())
	w.Header().Set("Content-Type", d.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) // the connection may be gone
	}
}

func (s shelf) blob(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest) {
	body, _, err := s.images.Blob(r.Context(), repo, d)
	if errors.Is(err, os.ErrNotExist) {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
		return
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	defer func() { _ = body.Close() }()
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, body)
}

func (s shelf) tags(w http.ResponseWriter, r *http.Request, repo string) {
	tags, ok := s.images.Repositories()[repo]
	if !ok {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such repository")
		return
	}
	answer(w, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{repo, page(w, r, tags)})
}

// hubName is a registry's host as references have it.
func hubName(host string) string {
	if host == name.DefaultRegistry {
		return DockerHub
	}
	return host
}

// pullerAtHand reads images at hand, and reaches no network.
func pullerAtHand(images Images) (*remote.Puller, error) {
	return remote.NewPuller(remote.WithAuth(authn.Anonymous), remote.WithTransport(handled{shelf{images, true}}))
}

// from is the puller for a reference: that of images at hand if they have its digest, or its tag if tags count.
func (c *Client) from(named reference.Named, tags bool) *remote.Puller {
	if c.hand == nil {
		return c.puller
	}
	target := ""
	if d, ok := named.(reference.Digested); ok {
		target = d.Digest().String()
	} else if t, ok := named.(reference.Tagged); ok && tags {
		target = t.Tag()
	}
	if _, _, ok := c.o.Bases.Manifest(named.Name(), target); !ok {
		return c.puller
	}
	return c.hand
}

// handled answers requests by a handler of this process.
type handled struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h handled) RoundTrip(req *http.Request) (*http.Response, error) {
	out, in := io.Pipe()
	w := &pipedAnswer{header: http.Header{}, body: in, begun: make(chan struct{})}
	go func() {
		h.ServeHTTP(w, req)
		w.WriteHeader(http.StatusOK)
		_ = in.Close()
	}()
	<-w.begun
	size, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	if err != nil {
		size = -1
	}
	return &http.Response{Status: statusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Header: w.header, Body: out, ContentLength: size, Request: req}, nil
}

// pipedAnswer is an answer whose body is read while it is written.
type pipedAnswer struct {
	header http.Header
	status int
	body   *io.PipeWriter
	begun  chan struct{}
}

// Header implements http.ResponseWriter.
func (w *pipedAnswer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *pipedAnswer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		close(w.begun)
	}
}

// Write implements io.Writer.
func (w *pipedAnswer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	n, err := w.body.Write(p)
	if err != nil {
		return n, fmt.Errorf("send answer: %w", err)
	}
	return n, nil
}
