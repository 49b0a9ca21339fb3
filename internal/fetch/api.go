package fetch

import (
	"context"
	"io"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
)

// Candidate is one place that may have the file of a canonical URL.
type Candidate struct {
	Mirror string // name for messages and Stats; default: the host of URL or Index
	URL    string // where the file is; may carry userinfo, which is sent to that host alone and never printed
	Index  string // PEP 503 project page on which the file name is looked up; used when URL is ""
}

// Item is an artifact: what it is (Digest, Size) and where its bytes are (Bytes, Path, Make or URL, in this
// order).
type Item struct {
	Digest digest.Digest // sha256; required
	Size   int64         // bytes; 0: not known
	Name   string        // file name; default: the last element of URL or Path
	URL    string        // canonical URL, handed to Options.Candidates
	Path   string        // a local file that is the artifact
	Bytes  []byte        // the artifact itself
	Make   Make          // makes its bytes, if neither store nor shelf has them
	// Rank orders the artifacts that wait for a connection to a mirror, the lowest first. While known
	// artifacts of rank 0 are missing, the others get only a few connections. Default: 0.
	Rank int
}

// Options says where artifacts come from and how patient the fetcher is. Only Store is required.
type Options struct {
	// Store is the directory of the artifact store; it is made when missing. Required.
	Store string
	// Candidates returns the places to try for a canonical URL, best first. If it returns none, nobody
	// serves the URL. Default: the canonical URL itself.
	Candidates func(canonical *url.URL) []Candidate
	// Source tells whether a URL is below the root of a source that the user has named, see Below. Clients of
	// the gateway may ask for such URLs, and for what index pages link. Logins are sent to such URLs, and to files
	// on the same server that their pages link. Servers at internal addresses are asked only if a source is
	// there or leads there. Default: all URLs are those of sources.
	Source func(u *url.URL) bool
	// HTTPSHosts are the hosts (with the port, if any) whose canonical URLs are https. The gateway gets
	// http://pypi.org/… and gives https://pypi.org/… to Candidates. Default: none.
	HTTPSHosts []string
	// Canonical does the same for other sources: it gives an http URL the scheme of its source. Default: it stays.
	Canonical func(u *url.URL) *url.URL

	// Logins are user names and passwords by origin, such as "https://pypi.example:443". They count as if
	// they stood in the URLs of this origin. They are sent nowhere else. Default: none.
	Logins map[string]*url.Userinfo
	// Certs are files or directories of PEM certificates to trust, beside those that Go finds. An unusable
	// one is a warning. Default: none.
	Certs []string
	// Credentials returns the user name and password for a URL without its own, whose host is not in the netrc file.
	// user is the name that is known; "": none is. Default: none.
	Credentials func(ctx context.Context, u *url.URL, user string) (username, password string, ok bool)
	// Netrc is the file with logins by host. Default: $NETRC, else ~/.netrc; "-" reads none.
	Netrc string

	// Shelf has artifacts beside the store. It is asked before any mirror. Default: there is none.
	Shelf Shelf

	// PerHost and Total limit the requests under way, to one host and in all. Defaults: 6 and 16.
	PerHost, Total int
	// Backoff is the pause before the second try of a candidate. It doubles each time, with jitter.
	// Default: 500ms.
	Backoff time.Duration
	// MaxRetryAfter is how long one artifact may wait in total because servers sent Retry-After. If a
	// server wants more, the next candidate is asked. Default: 60s.
	MaxRetryAfter time.Duration
	// DialTimeout limits connecting, and the TLS handshake after it. Default: 10s.
	DialTimeout time.Duration
	// HeaderTimeout limits the wait for a response's header. Default: 30s.
	HeaderTimeout time.Duration
	// StallTimeout ends a transfer that brings less than a kilobyte in this time. Default: 20s.
	StallTimeout time.Duration

	// Warn gets what a user should know although it did no harm, such as a mirror that sent wrong bytes.
	// The text holds no secrets. Several goroutines may call it. Default: dropped.
	Warn func(text string)
}

// Shelf has artifacts by digest, and needs no network: bundles. What it gives is compared with the digest.
type Shelf interface {
	// String names it in messages.
	String() string
	// Has tells whether it has an artifact.
	Has(d digest.Digest) bool
	// Open opens an artifact that it has.
	Open(ctx context.Context, d digest.Digest) (io.ReadCloser, error)
}

// Stats counts what a Fetcher has moved.
type Stats struct {
	Bytes     int64                  // body bytes received from all mirrors
	StoreHits int                    // artifacts that were in the store already
	Mirrors   map[string]MirrorStats // by Candidate.Mirror
}

// MirrorStats counts what one mirror did.
type MirrorStats struct {
	Bytes   int64 // body bytes received
	Resumes int   // requests that went on where another one ended
	Lies    int   // whole files whose digest was wrong
}

// Probe is a URL that Measure times.
type Probe struct{ Name, URL string }

// MeasureOptions limits a measurement. The zero value works.
type MeasureOptions struct {
	Bytes    int64         // how much of each body is read. Default: 1 MiB
	Timeout  time.Duration // for each probe. Default: 5s
	Parallel int           // probes at once. Default: 4
	// Logins, Certs, Credentials and Netrc are those of Options.
	Logins      map[string]*url.Userinfo
	Certs       []string
	Credentials func(ctx context.Context, u *url.URL, user string) (username, password string, ok bool)
	Netrc       string
}

// Speed is the result of one probe.
type Speed struct {
	Name, URL      string        // of the probe; without secrets
	Latency        time.Duration // from the start, connecting included, to the response's first byte
	Bytes          int64         // read of the body
	BytesPerSecond float64       // over the body
	Err            error         // why there is no figure; nil when there is one
}

// Use is how much disk space a store takes.
type Use struct {
	Artifacts    int   // whole, verified files
	Bytes        int64 // their size
	Partial      int   // unfinished downloads and temporary files
	PartialBytes int64 // their size
}

// Measure measures latency and throughput of the probes. It returns the results in the order of the probes.
func Measure(ctx context.Context, probes []Probe, o MeasureOptions) []Speed {
	return measure(ctx, probes, o)
}
