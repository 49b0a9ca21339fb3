package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Serve serves the OCI distribution API on ln from the directory dir, which it makes if it is missing. When
// ctx ends, it lets running requests finish for two seconds and returns nil. Images survive a restart, a
// crash and a power cut: a file gets the name of its digest when it is complete and on the disk. Serve asks for no
// credentials, so ln should be on loopback. It then answers to names of this machine alone, and to hosts, for a proxy
// before it that keeps the name; and it answers no web page. A second registry on the same directory is an error.
func Serve(ctx context.Context, ln net.Listener, dir string, hosts ...string) error {
	handler, unlock, err := openServer(dir)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer unlock()
	return serveOn(ctx, ln, &guard{handler, hosts})
}

// serveOn serves until ctx ends.
func serveOn(ctx context.Context, ln net.Listener, handler http.Handler) error {
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			err = srv.Close()
			done <- err
			return
		}
		done <- nil
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve registry on %s: %w", ln.Addr(), err)
	}
	return <-done
}

// server routes requests. All of its state but open uploads is on disk, so a restart has nothing to
// read back. (The registry of go-containerregistry keeps manifests and whole uploads in memory, and
// takes one upload at a time: good for tests, not for images of gigabytes.)
type server struct {
	blobs     *blobStore
	manifests *manifestStore
}

// The grammar of repository names: OCI distribution specification 1.1, "Pulling manifests".
var repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// openServer opens dir, whose lock is held until the function that it gives is called.
func openServer(dir string) (http.Handler, func(), error) {
	for _, d := range []string{dir, filepath.Join(dir, "blobs"), filepath.Join(dir, "uploads"),
		filepath.Join(dir, "repos")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, nil, fmt.Errorf("make registry directory: %w", err)
		}
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	switch held, err := lock.TryLock(); {
	case err != nil:
		return nil, nil, fmt.Errorf("lock registry directory %q: %w", dir, err)
	case !held:
		return nil, nil, fmt.Errorf("lock registry directory %q: another registry serves it: stop that one, or use "+
			"another directory", dir)
	}
	unlock := func() { _ = lock.Unlock() }
	blobs, err := openBlobs(dir)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	manifests := &manifestStore{dir: filepath.Join(dir, "repos"), blobs: blobs}
	return &server{blobs: blobs, manifests: manifests}, unlock, nil
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	path, isV2 := strings.CutPrefix(r.URL.Path, "/v2/")
	if r.URL.Path == "/v2" || isV2 && path == "" {
		answer(w, http.StatusOK, "application/json", struct{}{})
		return
	}
	if path == "_catalog" && r.Method == http.MethodGet {
		s.manifests.catalog(w, r)
		return
	}
	repo, kind, rest, ok := split(path)
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NAME_INVALID", "no such address: "+r.URL.Path)
	case kind == "blobs":
		s.blobs.serve(w, r, repo, rest)
	case kind == "manifests":
		s.manifests.serve(w, r, repo, rest)
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method+" is not for "+kind)
	case kind == "tags" && rest == "list":
		s.manifests.tags(w, r, repo)
	case kind == "referrers":
		s.manifests.referrers(w, r, repo, rest)
	default:
		refuse(w, http.StatusNotFound, "UNSUPPORTED", "no such address: "+r.URL.Path)
	}
}

// split takes "library/ray/manifests/latest" apart. The repository's name is checked, as it becomes a path.
func split(path string) (repo, kind, rest string, ok bool) {
	elems := strings.Split(path, "/")
	for i := len(elems) - 2; i > 0; i-- {
		switch elems[i] {
		case "blobs", "manifests", "tags", "referrers":
			repo = strings.Join(elems[:i], "/")
			return repo, elems[i], strings.Join(elems[i+1:], "/"), len(repo) < 256 && repositoryName.MatchString(repo)
		}
	}
	return "", "", "", false
}

// refuse answers with an error as the OCI distribution specification words it.
func refuse(w http.ResponseWriter, status int, code, message string) {
	type diagnostic struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	answer(w, status, "application/json", struct {
		Errors []diagnostic `json:"errors"`
	}{[]diagnostic{{code, message}}})
}

// answer sends a JSON document.
func answer(w http.ResponseWriter, status int, mediaType string, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the connection may be gone; the client then has no use for the answer
}
