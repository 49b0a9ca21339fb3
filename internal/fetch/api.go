package fetch

import (
	"context"
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

// Item is an artifact: what it is (Digest, Size) and where its bytes are (Bytes, Path or URL, in this order).
type Item struct {
	Digest digest.Digest // sha256; required
	Size   int64         // bytes; 0: not known
	Name   string        // file name; default: the last element of URL or Path
	URL    string        // canonical URL, handed to Options.Candidates
	Path   string        // a local file that is the artifact
	Bytes  []byte        // the artifact itself
	// Rank orders those that wait for a place at a mirror, the lowest first. Default 0: others have a few places only
	// while known artifacts of rank 0 are missing.
	Rank int
}

// Options says where artifacts come from and how patient to be. The zero value of every field but Store works.
type Options struct {
	// Store is the directory of the artifact store; it is made when missing. Required.
	Store string
	// Candidates returns the places to try for a canonical URL, best first; none means that nobody serves it.
	// Default: the canonical URL itself.
	Candidates func(canonical *url.URL) []Candidate
	// HTTPSHosts are the hosts (with the port, if any) whose canonical URLs are https: the gateway
	// sees http://pypi.org/… and hands https://pypi.org/… to Candidates. Default: none.
	HTTPSHosts []string
	// IndexPage tells the gateway which URLs are PEP 503/691 pages, whose links it rewrites, beside those that
	// the client's Accept header shows to be one. Default: none.
	IndexPage func(canonical *url.URL) bool

	// Logins are user names and passwords by origin, such as "https://pypi.example:443". They count as if they stood in
	// the URLs of that origin, and are sent nowhere else. Default: none.
	Logins map[string]*url.Userinfo
	// Certs are files or directories of PEM certificates that are trusted beside those that Go finds by itself. One
	// that cannot be used is a warning. Default: none.
	Certs []string
	// Credentials returns the user name and password for a URL that has none of its own and is not in the netrc
	// file. Default: none.
	Credentials func(u *url.URL) (username, password string, ok bool)
	// Netrc is the file with logins by host. Default: $NETRC, else ~/.netrc; "-" reads none.
	Netrc string

	// PerHost and Total limit the requests under way, to one host and in all. Defaults: 6 and 16.
	PerHost, Total int
	// Tries is how often a candidate is tried when its failure may pass (cut, stall, 5xx, 429); a try that brought
	// bytes does not count, up to twenty. Default: 2, and 4 where there is only one candidate.
	Tries int
	// Backoff is the pause before a candidate is tried again, doubled each time and jittered. Default: 500ms.
	Backoff time.Duration
	// MaxRetryAfter is how long one artifact may wait in all because servers asked for it by Retry-After; a
	// server that asks for more is left for the next candidate. Default: 60s.
	MaxRetryAfter time.Duration
	// DialTimeout limits connecting, and the TLS handshake after it. Default: 10s.
	DialTimeout time.Duration
	// HeaderTimeout limits the wait for a response's header. Default: 30s.
	HeaderTimeout time.Duration
	// StallTimeout ends a transfer that brings less than a kilobyte in this time. Default: 20s.
	StallTimeout time.Duration
	// MaxSize refuses artifacts of unknown size that turn out larger, in bytes. Default: 64 GiB.
	MaxSize int64

	// Warn is told what a user should know though it did no harm, such as a mirror that sent wrong bytes. The
	// text has no secrets. It may be called from several goroutines. Default: dropped.
	Warn func(text string)
	// OnProgress is told how far downloads are, from several goroutines. Default: nobody.
	OnProgress func(Progress)
}

// Progress is the state of one download.
type Progress struct {
	Digest       digest.Digest
	Name, Mirror string
	Bytes, Total int64 // Total is 0 while it is not known
}

// Stats counts what a Fetcher has moved so far.
type Stats struct {
	Bytes     int64                  // body bytes received from all mirrors
	Requests  int                    // requests sent to all mirrors
	StoreHits int                    // artifacts that were in the store already
	Mirrors   map[string]MirrorStats // by Candidate.Mirror
}

// MirrorStats counts what one mirror did.
type MirrorStats struct {
	Bytes    int64 // body bytes received
	Requests int   // requests sent
	Retries  int   // requests that repeat an earlier one for the same file
	Resumes  int   // requests that went on where another one ended
	Failures int   // requests that brought no usable answer
	Lies     int   // whole files whose digest was wrong
}

// Probe is a URL whose speed Measure takes.
type Probe struct{ Name, URL string }

// MeasureOptions bounds a measurement. The zero value works.
type MeasureOptions struct {
	Bytes    int64         // how much of each body is read. Default: 1 MiB
	Timeout  time.Duration // for each probe. Default: 5s
	Parallel int           // probes at once. Default: 4
	// Logins, Certs, Credentials and Netrc are those of Options.
	Logins      map[string]*url.Userinfo
	Certs       []string
	Credentials func(u *url.URL) (username, password string, ok bool)
	Netrc       string
}

// Speed is what Measure found for one probe.
type Speed struct {
	Name, URL      string        // of the probe; without secrets
	Latency        time.Duration // from the start, connecting included, to the response's first byte
	Bytes          int64         // read of the body
	BytesPerSecond float64       // over the body
	Err            error         // why there is no figure; nil when there is one
}

// Use is how much of the disk a store takes.
type Use struct {
	Artifacts    int   // whole, verified files
	Bytes        int64 // their size
	Partial      int   // unfinished downloads and temporary files
	PartialBytes int64 // their size
}

// Measure takes latency and throughput of each probe, and returns them in the order of the probes.
func Measure(ctx context.Context, probes []Probe, o MeasureOptions) []Speed {
	return measure(ctx, probes, o)
}
