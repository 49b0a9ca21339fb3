package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Fetcher fetches artifacts by digest. It is safe for concurrent use. Several processes may share its
// store.
type Fetcher struct {
	o      Options
	store  *store
	client *http.Client
	logins logins
	reach  *reach
	hosts  *hosts
	counts counts
	pages  pages

	trouble trouble

	mu      sync.Mutex
	items   map[digest.Digest]Item
	byURL   map[string]digest.Digest // canonical key -> the artifact that a page or Add said is there
	learned map[string]Candidate     // canonical key -> where the page that linked it has it
	made    map[string]bool          // canonical keys of files whose page says that there is no metadata file
	secure  map[string]bool          // hosts, with their port if any, whose canonical URLs are https
	flights map[digest.Digest]*flight
	urgent  map[digest.Digest]bool // items of rank 0 that are missing
	waiting bool                   // forgetUnwanted will be called
}

// New returns a Fetcher on the store in o.Store. It makes the store if it is missing, and removes old
// temporary files.
func New(o Options) (*Fetcher, error) {
	if o.Store == "" {
		return nil, fmt.Errorf("open artifact store: no directory given: set Options.Store")
	}
	o = o.defaults()
	st, err := openStore(o.Store)
	if err != nil {
		return nil, err
	}
	l, err := readLogins(o)
	if err != nil {
		return nil, err
	}
	f := &Fetcher{
		o: o, store: st, logins: l, reach: newReach(o.Source), hosts: newHosts(o.PerHost, o.Total),
		items: map[digest.Digest]Item{}, byURL: map[string]digest.Digest{}, learned: map[string]Candidate{},
		made: map[string]bool{}, secure: map[string]bool{}, flights: map[digest.Digest]*flight{},
		urgent: map[digest.Digest]bool{},
	}
	for _, h := range o.HTTPSHosts {
		f.secure[strings.ToLower(h)] = true
	}
	f.client = newClient(o, f.reach)
	return f, nil
}

func (o Options) defaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if o.PerHost <= 0 {
		o.PerHost = 6
	}
	if o.Total <= 0 {
		o.Total = 16
	}
	set(&o.Backoff, 500*time.Millisecond)
	set(&o.MaxRetryAfter, time.Minute)
	set(&o.DialTimeout, 10*time.Second)
	set(&o.HeaderTimeout, 30*time.Second)
	set(&o.StallTimeout, 20*time.Second)
	if o.Candidates == nil {
		o.Candidates = func(u *url.URL) []Candidate { return []Candidate{{URL: u.String()}} }
	}
	if o.Canonical == nil {
		o.Canonical = func(u *url.URL) *url.URL { return u }
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return o
}

// Add registers items: Open then finds them by digest, and the gateway finds them by URL. A later item
// replaces an earlier one with the same digest. Their URLs count as those of sources, because nothing is handed out
// that does not have the digest.
func (f *Fetcher) Add(items ...Item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		f.items[it.Digest] = it
		if u, err := url.Parse(it.URL); err == nil && u.Host != "" {
			f.byURL[key(u)] = it.Digest
			f.reach.trust(u)
			f.reach.give(u)
			if it.Rank == 0 && !f.has(it.Digest) {
				f.urgent[it.Digest] = true
			}
		}
	}
	f.hosts.missing(len(f.urgent))
}

// urgentGrace is how long after the first question items of rank 0 that nobody asks for hold others
// up: a builder asks at once for all that it lacks.
const urgentGrace = 5 * time.Second

// forgetUnwanted lets items of rank 0 that nobody waits for hold up nothing.
func (f *Fetcher) forgetUnwanted() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = false
	maps.DeleteFunc(f.urgent, func(d digest.Digest, _ bool) bool { return f.flights[d] == nil })
	f.hosts.missing(len(f.urgent))
}

// Open returns the artifact's bytes and their number. It looks into the store first, and then asks the
// candidates of the item's URL in their order. A download is handed out only when it is complete and has
// the digest. Of a local file or memory, only the last byte waits for this check. If the same digest is
// opened twice at the same time, by this or another process, it is downloaded once.
//
// The error is a *NotFoundError if no candidate has it.
func (f *Fetcher) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	it, err := f.item(d)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case it.Bytes != nil:
		r := &checked{r: bytes.NewReader(it.Bytes), left: int64(len(it.Bytes)), item: it, sum: digest.SHA256.Digester()}
		return io.NopCloser(r), r.left, nil
	case it.Path != "":
		return openLocal(it)
	}
	file, size, err := f.open(ctx, it)
	if err != nil {
		return nil, 0, err
	}
	return file, size, nil
}

// Secure tells whether canonical URLs of a host (with the port, if any) are https, as far as options and pages say.
func (f *Fetcher) Secure(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.secure[strings.ToLower(host)]
}

// Trouble returns why mirrors failed to serve clients of the gateway. Such a client itself reports less. It
// is nil if no mirror failed; a file that no mirror has is no failure.
func (f *Fetcher) Trouble() error { return f.trouble.err() }

// Stats returns what the fetcher has moved so far.
func (f *Fetcher) Stats() Stats { return f.counts.snapshot() }

// item returns the item of a digest; one that nobody added is looked for in the store alone.
func (f *Fetcher) item(d digest.Digest) (Item, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return Item{}, fmt.Errorf("open artifact %q: not a sha256 digest", d)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	it, ok := f.items[d]
	if !ok {
		it = Item{Digest: d}
	}
	if it.Name == "" {
		it.Name = string(d)
		if u, err := url.Parse(it.URL); err == nil && u.Path != "" {
			it.Name = path.Base(u.Path)
		} else if it.Path != "" {
			it.Name = filepath.Base(it.Path)
		}
	}
	return it, nil
}

// candidates are the places to ask for a canonical URL.
func (f *Fetcher) candidates(raw string) ([]Candidate, *url.URL, error) {
	if raw == "" {
		return nil, nil, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, fmt.Errorf("parse canonical url %q: want http or https with a host", redactString(raw))
	}
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	if c = *f.o.Canonical(&c); f.Secure(c.Host) {
		c.Scheme = "https"
	}
	f.mu.Lock()
	first, known := f.learned[key(&c)]
	f.mu.Unlock()

	cands := slices.Clone(f.o.Candidates(&c))
	if known {
		cands = slices.DeleteFunc(cands, func(o Candidate) bool { return o.URL == first.URL })
		cands = slices.Insert(cands, 0, first)
	}
	for i := range cands {
		if cands[i].Mirror == "" {
			cands[i].Mirror = hostOf(cands[i])
		}
	}
	return cands, &c, nil
}

// key names a canonical URL whatever its scheme: resolvers see http where the origin has https.
func key(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if p := u.Port(); p != "" && p != "80" && p != "443" {
		host += ":" + p
	}
	return host + u.Path + "?" + u.RawQuery
}

func hostOf(c Candidate) string {
	for _, s := range []string{c.URL, c.Index} {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return "unnamed mirror"
}

// openLocal opens the file of an item with Path.
func openLocal(it Item) (io.ReadCloser, int64, error) {
	file, err := os.Open(it.Path)
	if err != nil {
		return nil, 0, fmt.Errorf("open artifact %q: %w", it.Name, err)
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: it.Path, Err: fmt.Errorf("not a regular file")}
	}
	if err != nil {
		shut(file)
		return nil, 0, fmt.Errorf("open artifact %q: %w", it.Name, err)
	}
	r := &checked{r: file, left: st.Size(), item: it, sum: digest.SHA256.Digester()}
	return struct {
		io.Reader
		io.Closer
	}{r, file}, r.left, nil
}

// checked hands out a reader's bytes, and the last of them only when all have the digest.
type checked struct {
	r    io.Reader
	left int64
	item Item
	sum  digest.Digester
	err  error
	done bool
}

func (c *checked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 && !c.done {
		c.check()
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.sum.Hash().Write(p[:n])
	c.left -= int64(n)
	if c.left == 0 {
		if c.check(); !errors.Is(c.err, io.EOF) {
			return 0, c.err
		}
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("read artifact %q: it became shorter while it was read", c.item.Name)
	}
	c.err = err
	return n, err
}

func (c *checked) check() {
	c.done, c.err = true, io.EOF
	if got := c.sum.Digest(); got != c.item.Digest {
		c.err = fmt.Errorf("read artifact %q: %w: it is %s, the lock says %s: lock again if it was changed on purpose",
			c.item.Name, errWrong, got, c.item.Digest)
	}
}

// until returns a reader that stops when the context ends.
func until(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// shut closes what was only read, or has an error to tell already: what Close says does not matter then.
func shut(c io.Closer) { _ = c.Close() }
