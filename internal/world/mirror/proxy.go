package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Proxy serves an apt archive out of a cache on disk that it fills from the archive's real mirror.
type Proxy struct {
	// Upstream is the real mirror's root, Dir the cache.
	Upstream, Dir string
	// Fresh is how long an index without a digest in its name (InRelease, …) is served from the
	// cache; older ones are asked for again, and served all the same where the mirror doesn't answer.
	// Default: 1 hour.
	Fresh time.Duration
	// Client. Default: http.DefaultClient.
	Client *http.Client

	locks sync.Map // path to *sync.Mutex: one fetch of a file at a time
}

// ServeHTTP serves files below the archive's root.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	name := path.Clean("/" + r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") {
		http.NotFound(w, r)
		return
	}
	file, err := p.file(r.Context(), name)
	var status statusError
	switch {
	case errors.As(err, &status):
		http.Error(w, err.Error(), int(status))
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	f, err := os.Open(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("the Debian mirror answered %d", int(s)) }

// cachePath is a file's place in the cache. Its name is a digest, so that no name of the archive can be
// a directory of another.
func (p *Proxy) cachePath(name string) string {
	sum := sha256.Sum256([]byte(p.Upstream + name))
	h := hex.EncodeToString(sum[:])
	return filepath.Join(p.Dir, h[:2], h[2:])
}

func fixed(name string) bool {
	return strings.HasPrefix(name, "/pool/") || strings.Contains(name, "/by-hash/")
}

// file is the path of the cached file, fetched if it is not there or stale.
func (p *Proxy) file(ctx context.Context, name string) (string, error) {
	mu, _ := p.locks.LoadOrStore(name, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	defer mu.(*sync.Mutex).Unlock()
	file := p.cachePath(name)
	fresh := p.Fresh
	if fresh == 0 {
		fresh = time.Hour
	}
	// Freshness goes by the cache's own mark: the file's mtime is the mirror's Last-Modified.
	mark, err := os.Stat(file + ".at")
	switch {
	case err == nil && (fixed(name) || time.Since(mark.ModTime()) < fresh):
		return file, nil
	case err == nil:
		if err := p.fetch(ctx, name, file); err == nil || !isNetwork(err) {
			return file, err
		}
		return file, nil
	case errors.Is(err, fs.ErrNotExist):
		return file, p.fetch(ctx, name, file)
	}
	return "", err
}

func isNetwork(err error) bool {
	var status statusError
	return !errors.As(err, &status) || status >= 500
}

func (p *Proxy) fetch(ctx context.Context, name, file string) error {
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	// A client that goes away must not lose the file for the next one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Upstream+name, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the Debian mirror: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	defer func() { _ = tmp.Close() }()
	n, err := io.Copy(tmp, resp.Body)
	if err != nil {
		return fmt.Errorf("read from the Debian mirror: %w", err)
	}
	if resp.ContentLength >= 0 && n != resp.ContentLength {
		return fmt.Errorf("read from the Debian mirror: %d of %d bytes", n, resp.ContentLength)
	}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		if err := os.Chtimes(tmp.Name(), t, t); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return os.WriteFile(file+".at", nil, 0o644)
}
