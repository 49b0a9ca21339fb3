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
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Cache keeps files of upstream servers on disk. A file that is being fetched is served as far as
// it has come, so that who waits for 500 MB sees them arrive.
type Cache struct {
	// Dir is where the files lie. Processes may share it.
	Dir string
	// Client fetches. Default: http.DefaultClient.
	Client *http.Client

	mu      sync.Mutex
	fetches map[string]*growing // by place
}

// A StatusError is the status with which an upstream server refused.
type StatusError int

// Error says the status.
func (s StatusError) Error() string { return fmt.Sprintf("upstream answered %d", int(s)) }

// fetchLimit is how long one fetch may take: the largest wheel on a slow link.
const fetchLimit = 30 * time.Minute

// Unused is how long a file stays in a cache after its last use, see [Cache.Prune].
const Unused = 14 * 24 * time.Hour

// Open opens what upstream has at url. accept is the request's Accept header, and part of the
// file's name in the cache. A file older than fresh is fetched again, and served all the same where
// upstream does not answer; 0 is for files that never change.
func (c *Cache) Open(ctx context.Context, url, accept string, fresh time.Duration) (*File, error) {
	place := c.place(url + "\n" + accept)
	// Freshness goes by the cache's own mark: the file's mtime is upstream's Last-Modified.
	mark, err := os.Stat(place + ".at")
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if there && (fresh == 0 || time.Since(mark.ModTime()) < fresh) {
		if fresh == 0 && time.Since(mark.ModTime()) > Unused/4 {
			now := time.Now()
			_ = os.Chtimes(place+".at", now, now) // so that Prune keeps it; it serves as well without
		}
		return openWhole(place)
	}
	f, err := c.follow(ctx, url, accept, place)
	if there && err != nil && isNetwork(err) {
		return openWhole(place)
	}
	return f, err
}

// Prune removes the files that were not used for as long as [Unused] says.
func (c *Cache) Prune() error {
	marks, err := filepath.Glob(filepath.Join(c.Dir, "??", "*.at"))
	if err != nil {
		return err
	}
	for _, mark := range marks {
		info, err := os.Stat(mark)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process prunes
		}
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < Unused {
			continue
		}
		for _, name := range []string{mark, strings.TrimSuffix(mark, ".at")} {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("prune cache: %w", err)
			}
		}
	}
	return nil
}

// place is a file's path in the cache. Its name is a digest, so that no name of a server can be a directory of another.
func (c *Cache) place(key string) string {
	sum := sha256.Sum256([]byte(key))
	h := hex.EncodeToString(sum[:])
	return filepath.Join(c.Dir, h[:2], h[2:])
}

func isNetwork(err error) bool {
	status, ok := errors.AsType[StatusError](err)
	return !ok || status >= 500
}

func openWhole(place string) (*File, error) {
	f, err := os.Open(place)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	kind, err := os.ReadFile(place + ".at")
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f: f, Modified: info.ModTime(), Size: info.Size(), Type: string(kind)}, nil
}

// follow joins the fetch of a file that is under way, or begins it, and waits for upstream's answer.
func (c *Cache) follow(ctx context.Context, url, accept, place string) (*File, error) {
	c.mu.Lock()
	g := c.fetches[place]
	if g == nil {
		g = &growing{answered: make(chan struct{}), done: make(chan struct{})}
		g.more.L = &g.mu
		if c.fetches == nil {
			c.fetches = map[string]*growing{}
		}
		c.fetches[place] = g
		// A client that goes away must not lose the file for the next one.
		go func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, fetchLimit)
			defer cancel()
			err := c.fetch(ctx, g, url, accept, place)
			c.mu.Lock()
			delete(c.fetches, place)
			c.mu.Unlock()
			g.end(err)
		}(context.WithoutCancel(ctx))
	}
	c.mu.Unlock()
	select {
	case <-g.answered:
	case <-g.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := g.open()
	if errors.Is(err, fs.ErrNotExist) { // it has got its own name since
		<-g.done
		return openWhole(place)
	}
	return f, err
}

func (c *Cache) fetch(ctx context.Context, g *growing, url, accept, place string) error {
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask upstream: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return StatusError(resp.StatusCode)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(place), "tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	defer func() { _ = tmp.Close() }()
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified")) // the zero time is "now"
	kind := resp.Header.Get("Content-Type")
	g.begin(tmp.Name(), resp.ContentLength, modified, kind)
	n, err := io.Copy(io.MultiWriter(tmp, g), resp.Body)
	if err != nil {
		return fmt.Errorf("read from upstream: %w", err)
	}
	if resp.ContentLength >= 0 && n != resp.ContentLength {
		return fmt.Errorf("read from upstream: %d of %d bytes", n, resp.ContentLength)
	}
	if !modified.IsZero() {
		if err := os.Chtimes(tmp.Name(), modified, modified); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp.Name(), place); err != nil {
		return err
	}
	return os.WriteFile(place+".at", []byte(kind), 0o644)
}
