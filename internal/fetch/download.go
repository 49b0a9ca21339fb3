package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxProgressTries limits the tries of one candidate that brought bytes and then failed.
const maxProgressTries = 20

// earlier stands for the unknown source of the bytes that a former run left.
const earlier = "an earlier run"

// download brings one artifact into its partial file, from whichever candidates it takes.
type download struct {
	f     *Fetcher
	it    Item
	url   *url.URL
	part  *file
	watch *watch

	queue []*source
	weak  map[string]int // failures of each mirror that may pass
	from  []string       // who wrote the bytes that part has
	pure  bool           // bytes of different sources gave a wrong digest: do not mix them again
	tried []Attempt
	slept time.Duration // because servers asked for it
}

// maxTries is how often a candidate is tried if its failure may pass (cut, stall, 5xx, 429), and twice that
// for an only candidate. A try that brought bytes does not count, up to twenty of them.
const maxTries = 2

// maxSize is the largest artifact of unknown size that is accepted, in bytes.
const maxSize = 64 << 30

// source is a candidate in the queue.
type source struct {
	Candidate
	fails, tries int
	ready        time.Time // not to be asked before
	etag         string    // strong validator of what it sent
}

// run tries the candidates until the file is in the store. A candidate that failed goes on later if that may help,
// while the others are asked.
func (d *download) run(ctx context.Context, cands []Candidate) (err error) {
	defer func() {
		if _, full := errors.AsType[*diskFullError](err); full {
			d.part.discard() // it takes the room that is missing
			return
		}
		d.part.close()
	}()
	if err := d.room(); err != nil {
		return err
	}
	if done, err := d.finish(earlier); done || err != nil && !errors.Is(err, errRestart) {
		return err
	}
	for _, c := range d.f.hosts.byHealth(cands) {
		d.queue = append(d.queue, &source{Candidate: c})
	}
	tries := maxTries
	if len(d.queue) == 1 {
		tries = 2 * maxTries
	}
	for {
		s, err := d.next(ctx)
		if err != nil {
			return fmt.Errorf("fetch artifact %q: %w", d.it.Name, err)
		}
		if s == nil {
			return &NotFoundError{Name: d.it.Name, Digest: d.it.Digest, Tried: d.tried}
		}
		before := d.part.n
		done, err := d.try(ctx, s)
		if done {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch artifact %q: %w", d.it.Name, context.Cause(ctx))
		}
		d.note(s, err)
		d.requeue(s, err, d.part.n >= before+stallBytes, tries)
	}
}

// room fails early when the disk cannot take what is still to come.
func (d *download) room() error {
	if d.it.Size > d.part.n {
		return d.f.store.room(d.it.Size - d.part.n)
	}
	return nil
}

// next returns the first source that may be asked, after waiting for it if need be; nil when none
// is left. A mirror that stalled or broke off comes after those that did not: it is not asked
// again, nor asked in another way, before them.
func (d *download) next(ctx context.Context) (*source, error) {
	for len(d.queue) > 0 {
		now := time.Now()
		wait := func(s *source) time.Duration { return max(s.ready.Sub(now), d.pause(s), 0) }
		s := slices.MinFunc(d.queue, func(a, b *source) int {
			return cmp.Or(cmp.Compare(wait(a), wait(b)), cmp.Compare(d.weak[a.Mirror], d.weak[b.Mirror]))
		})
		if d.pause(s) > 0 {
			if d.slept+wait(s) > d.f.o.MaxRetryAfter {
				d.note(s, fmt.Errorf("asked to wait for %s, which is too long", wait(s).Round(time.Second)))
				d.drop(s)
				continue
			}
			d.slept += wait(s)
		}
		if wait(s) == 0 {
			return s, nil
		}
		if err := sleep(ctx, wait(s)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// pause is how long a source's server asked to be left alone.
func (d *download) pause(s *source) time.Duration {
	if u := candidateURL(s.Candidate); u != nil {
		return d.f.hosts.get(u).pause()
	}
	return 0
}

// backoff is the pause after that many failures; part between 0.5 and 1 spreads it.
func (d *download) backoff(fails int, part float64) time.Duration {
	return time.Duration(float64(d.f.o.Backoff<<min(max(fails-1, 0), 6)) * part)
}

func (d *download) requeue(s *source, err error, moved bool, tries int) {
	switch {
	case errors.Is(err, errRestart): // the partial file is empty now: once more from the start
		return
	case !passing(err):
		d.drop(s)
		return
	case !moved:
		s.fails++
	}
	d.weak[s.Mirror]++
	if s.fails >= tries || s.tries >= maxProgressTries {
		d.drop(s)
		return
	}
	s.ready = time.Now().Add(d.backoff(max(s.fails, 1), 0.5+rand.Float64()/2))
}

func (d *download) drop(s *source) {
	d.queue = slices.DeleteFunc(d.queue, func(o *source) bool { return o == s })
}

func (d *download) note(s *source, err error) {
	at := s.URL
	if at == "" {
		at = s.Index
	}
	d.tried = append(d.tried, Attempt{Mirror: s.Mirror, URL: redactString(at), Status: status(err), Err: redacted{err}})
}

// try asks one source for what is missing. done says that the artifact is in the store, or that nobody can help.
func (d *download) try(ctx context.Context, s *source) (done bool, err error) {
	u, err := d.f.locate(ctx, s.Candidate, d.it, d.url)
	if err != nil {
		s.tries++
		return false, err
	}
	if d.pure && !slices.Equal(d.from, []string{s.Mirror}) {
		if err := d.restart(); err != nil {
			return true, err
		}
	}
	h := http.Header{}
	if d.part.n > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", d.part.n))
		if s.etag != "" {
			h.Set("If-Range", s.etag)
		}
	}
	s.tries++
	resp, err := d.f.do(ctx, request{method: http.MethodGet, mirror: s.Mirror, url: u, header: h, rank: d.it.Rank})
	if status(err) == http.StatusRequestedRangeNotSatisfiable && d.part.n > 0 {
		if err := d.restart(); err != nil {
			return true, err
		}
		return false, errRestart
	}
	if err != nil {
		return false, err
	}
	defer shut(resp.Body)
	total, err := d.accept(resp, s)
	if err != nil {
		_, full := errors.AsType[*diskFullError](err)
		return full, err
	}
	if err := d.receive(resp.Body, s, total); err != nil {
		_, full := errors.AsType[*diskFullError](err)
		return full, err
	}
	return d.finish(s.Mirror)
}

// accept checks a response's header, makes the partial file fit it, and returns the artifact's whole size; 0 when it
// is not known.
func (d *download) accept(resp *http.Response, s *source) (int64, error) {
	var total int64
	switch resp.StatusCode {
	case http.StatusOK:
		if d.part.n > 0 {
			if err := d.restart(); err != nil {
				return 0, err
			}
		}
		total = max(resp.ContentLength, 0)
	case http.StatusPartialContent:
		start, all, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != d.part.n || d.part.n == 0 {
			if err := d.restart(); err != nil {
				return 0, err
			}
			return 0, &failure{err: fmt.Errorf("answered with another range than asked for"), passing: true}
		}
		total = all
	default:
		return 0, &statusError{code: resp.StatusCode}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return 0, &failure{err: fmt.Errorf("%w: content encoding %q was not asked for", errWrong, enc)}
	}
	if d.it.Size > 0 && total > 0 && total != d.it.Size {
		return 0, d.lied(s.Mirror, fmt.Sprintf("%d bytes, want %d", total, d.it.Size))
	}
	if total > maxSize {
		return 0, &failure{err: fmt.Errorf("%d bytes are more than the limit of %d", total, maxSize)}
	}
	if e := resp.Header.Get("ETag"); !strings.HasPrefix(e, "W/") {
		s.etag = e
	}
	if d.it.Size > 0 {
		total = d.it.Size
	} else if err := d.f.store.room(total - d.part.n); err != nil {
		return 0, err
	}
	return total, nil
}

// receive appends a body to the partial file, and fails when it ends before the file is whole.
func (d *download) receive(r io.Reader, s *source, total int64) error {
	limit := int64(maxSize)
	if total > 0 {
		limit = total
	}
	if !slices.Contains(d.from, s.Mirror) {
		d.from = append(d.from, s.Mirror)
	}
	d.see(total)
	buf := make([]byte, 128<<10)
	for {
		n, rerr := r.Read(buf)
		if d.part.n+int64(n) > limit {
			if d.it.Size > 0 || total > 0 {
				return d.lied(s.Mirror, fmt.Sprintf("more than %d bytes", limit))
			}
			return &failure{err: fmt.Errorf("more bytes than the limit of %d", limit)}
		}
		if _, err := d.part.Write(buf[:n]); err != nil {
			if full, ok := errors.AsType[*diskFullError](err); ok && total > 0 {
				full.Need = total - d.part.n
			}
			return err
		}
		if n > 0 {
			d.see(total)
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return rerr
		}
	}
	if total > 0 && d.part.n < total {
		return &failure{err: fmt.Errorf("%w: %d of %d bytes", errCut, d.part.n, total), passing: true}
	}
	return nil
}

func (d *download) see(total int64) {
	d.watch.set(func() { d.watch.path, d.watch.n, d.watch.total = d.part.f.Name(), d.part.n, total })
}

// finish puts the partial file into the store if it is whole and right. A file that one mirror alone sent and that
// is wrong is a lie of that mirror; of one with several sources nobody can tell whose bytes are wrong.
func (d *download) finish(mirror string) (done bool, err error) {
	if d.part.n == 0 && d.it.Size != 0 || d.part.n < d.it.Size || len(d.from) == 0 {
		return false, nil
	}
	got := d.part.digest()
	if got == d.it.Digest {
		if err := d.f.store.keep(d.part, got); err != nil {
			return true, fmt.Errorf("fetch artifact %q: %w", d.it.Name, err)
		}
		return true, nil
	}
	if d.it.Size == 0 && mirror == earlier {
		return false, nil // not wrong, only not whole
	}
	if mirror != earlier && slices.Equal(d.from, []string{mirror}) {
		return false, d.lied(mirror, got.String())
	}
	d.pure = len(d.from) > 1
	if err := d.restart(); err != nil {
		return true, err
	}
	return false, errRestart
}

// lied throws away what a mirror sent and tells who it was.
func (d *download) lied(mirror, what string) error {
	d.f.counts.lie(mirror)
	d.f.o.Warn(fmt.Sprintf("mirror %s sent wrong bytes for %s: %s instead of %s; they were thrown away",
		mirror, d.it.Name, what, d.it.Digest))
	if err := d.restart(); err != nil {
		return err
	}
	return &failure{err: fmt.Errorf("%w: %s", errWrong, what)}
}

func (d *download) restart() error {
	d.from = nil
	if err := d.part.restart(); err != nil {
		return fmt.Errorf("fetch artifact %q: %w", d.it.Name, err)
	}
	d.watch.set(func() { d.watch.n, d.watch.era = 0, d.watch.era+1 })
	return nil
}

// contentRange reads "bytes 5-9/10"; all is 0 when it is not known.
func contentRange(s string) (start, all int64, ok bool) {
	s, found := strings.CutPrefix(s, "bytes ")
	span, size, found2 := strings.Cut(s, "/")
	first, _, found3 := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if !found || !found2 || !found3 || err != nil || start < 0 {
		return 0, 0, false
	}
	if size == "*" {
		return start, 0, true
	}
	all, err = strconv.ParseInt(size, 10, 64)
	return start, all, err == nil && all > start
}

// sleep waits, but not longer than its context lives.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
