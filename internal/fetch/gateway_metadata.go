package fetch

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// OfferMetadata is a header of requests for index pages. With any value, the gateway's page says of each wheel that
// its metadata is at URL.metadata (PEP 658), whether or not the mirror has it there: the gateway then reads it out of
// the wheel. A client that knows the trick saves itself the whole wheels, and remembers one place for all mirrors.
const OfferMetadata = "Raybuild-Offer-Metadata"

const (
	metadataSuffix = ".metadata"
	// maxMetadata limits a wheel's METADATA, in bytes.
	maxMetadata = 16 << 20
	// smallWheel is the size up to which a wheel is fetched whole: that is one request, and its bytes are wanted later.
	smallWheel = 1 << 20
)

// isWheelMetadata tells whether a URL is that of a wheel's metadata.
func isWheelMetadata(u *url.URL) bool { return strings.HasSuffix(u.Path, ".whl"+metadataSuffix) }

// wheelOf is the URL of the wheel that a metadata file belongs to.
func wheelOf(side *url.URL) *url.URL {
	u := *side
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, metadataSuffix), strings.TrimSuffix(u.RawPath, metadataSuffix)
	return &u
}

// metadata answers with a wheel's METADATA: the mirrors' file, else what is in the wheel.
func (g gateway) metadata(w http.ResponseWriter, r *http.Request, cands []Candidate, canonical *url.URL) {
	var data []byte
	var tried []Attempt
	if !g.f.isMade(canonical) && !g.f.wheelOnShelf(canonical) {
		tried = g.each(r.Context(), cands, func(ctx context.Context, c Candidate) (err error) {
			data, err = g.f.small(ctx, c, canonical)
			return err
		})
	}
	if data == nil {
		var err error
		if data, err = g.fromWheel(r.Context(), canonical); err != nil {
			if status(err) != http.StatusNotFound {
				tried = nil // that there is no metadata file does not say that there is no wheel
			}
			tried = append(tried, Attempt{Mirror: "the wheel", URL: redactURL(canonical), Status: status(err),
				Err: redacted{err}})
			g.fail(w, canonical, tried)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) // the client's going is its own matter
	}
}

// isMade tells whether a page said of a wheel that the mirror has no metadata file.
func (f *Fetcher) isMade(side *url.URL) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[key(wheelOf(side))]
}

// small reads a small file of a candidate whole.
func (f *Fetcher) small(ctx context.Context, c Candidate, canonical *url.URL) ([]byte, error) {
	u, err := f.locate(ctx, c, Item{}, canonical)
	if err != nil {
		return nil, err
	}
	h := http.Header{"Accept-Encoding": {"identity"}}
	resp, err := f.do(ctx, request{method: http.MethodGet, mirror: c.Mirror, url: u, header: h})
	if err != nil {
		return nil, err
	}
	defer shut(resp.Body)
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err == nil && len(data) > maxMetadata {
		err = &failure{err: fmt.Errorf("metadata is larger than %d bytes", maxMetadata)}
	}
	return data, err
}

// fromWheel reads the metadata out of the wheel: of the store's, of a small one that is fetched for it, or of parts of
// a large one at a mirror. Such parts have no digest to be checked by.
func (g gateway) fromWheel(ctx context.Context, side *url.URL) ([]byte, error) {
	cands, canonical, err := g.f.candidates(wheelOf(side).String())
	if err != nil {
		return nil, err
	}
	it, known := g.f.known(canonical)
	if known && (g.f.has(it.Digest) || it.Size > 0 && it.Size <= smallWheel) {
		return g.fromWhole(ctx, it)
	}
	var data []byte
	tried := g.each(ctx, cands, func(ctx context.Context, c Candidate) error {
		u, err := g.f.locate(ctx, c, it, canonical)
		if err != nil {
			return err
		}
		far := &remote{ctx: ctx, f: g.f, mirror: c.Mirror, url: u, size: it.Size}
		data, err = far.metadata()
		return err
	})
	switch {
	case tried == nil:
		return data, nil
	case known:
		return g.fromWhole(ctx, it)
	}
	return nil, tried[len(tried)-1].Err
}

// fromWhole reads the metadata of an artifact.
func (g gateway) fromWhole(ctx context.Context, it Item) ([]byte, error) {
	file, size, err := g.f.open(ctx, it)
	if err != nil {
		return nil, err
	}
	defer shut(file)
	return wheelMetadata(file, size)
}

// wheelMetadata reads the one METADATA of a wheel.
func wheelMetadata(r io.ReaderAt, size int64) ([]byte, error) {
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, &failure{err: fmt.Errorf("read the wheel's directory: %w", err)}
	}
	var found *zip.File
	for _, f := range z.File {
		dir, ok := strings.CutSuffix(f.Name, ".dist-info/METADATA")
		if !ok || strings.Contains(dir, "/") {
			continue
		}
		if found != nil {
			return nil, &failure{err: errors.New("the wheel has more than one METADATA")}
		}
		found = f
	}
	if found == nil || found.UncompressedSize64 > maxMetadata {
		return nil, &failure{err: errors.New("the wheel has no METADATA of a sensible size")}
	}
	body, err := found.Open()
	if err != nil {
		return nil, &failure{err: fmt.Errorf("read the wheel's METADATA: %w", err)}
	}
	defer shut(body)
	data, err := io.ReadAll(io.LimitReader(body, maxMetadata))
	if err != nil {
		return nil, &failure{err: fmt.Errorf("read the wheel's METADATA: %w", err)}
	}
	return data, nil
}

// remote is a file at a mirror of which parts are read.
type remote struct {
	ctx    context.Context //nolint:containedctx // io.ReaderAt has none
	f      *Fetcher
	mirror string
	url    *url.URL
	size   int64  // 0: not known yet
	parts  []part // in the order of their offsets
	read   int64
}

type part struct {
	off  int64
	data []byte
}

const (
	// tailSize is what is read of a wheel's end first: the end of its directory, and all of a small one.
	tailSize = 64 << 10
	// maxDirectory is how long a directory may be to be read at once, in bytes.
	maxDirectory = 16 << 20
	// maxParts limits what is read of one file by parts, in bytes.
	maxParts = 64 << 20
)

// metadata reads the end of the wheel, and then what it needs.
func (f *remote) metadata() ([]byte, error) {
	span := fmt.Sprintf("bytes=-%d", tailSize)
	if f.size > 0 {
		span = fmt.Sprintf("bytes=%d-%d", max(f.size-tailSize, 0), f.size-1)
	}
	if err := f.fetch(span); err != nil {
		return nil, err
	}
	if start, tail := f.directory(), f.parts[0].off; start < tail && tail-start <= maxDirectory {
		if err := f.fetch(fmt.Sprintf("bytes=%d-%d", start, tail-1)); err != nil {
			return nil, err
		}
	}
	return wheelMetadata(f, f.size)
}

// directory is where the zip's directory begins, by the record at its end; the file's size where that does not say
// (a zip64).
func (f *remote) directory() int64 {
	tail := f.parts[0].data
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < 22 {
		return f.size
	}
	return int64(binary.LittleEndian.Uint32(tail[at+16:]))
}

// ReadAt implements io.ReaderAt.
func (f *remote) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= f.size {
			return n, io.EOF
		}
		i := slices.IndexFunc(f.parts, func(b part) bool { return at >= b.off && at < b.off+int64(len(b.data)) })
		if i >= 0 {
			n += copy(p[n:], f.parts[i].data[at-f.parts[i].off:])
			continue
		}
		end := min(at+max(int64(len(p)-n), tailSize), f.size)
		if i := slices.IndexFunc(f.parts, func(b part) bool { return b.off > at }); i >= 0 {
			end = min(end, f.parts[i].off)
		}
		if err := f.fetch(fmt.Sprintf("bytes=%d-%d", at, end-1)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// fetch reads one range.
func (f *remote) fetch(span string) error {
	h := http.Header{"Range": {span}, "Accept-Encoding": {"identity"}}
	resp, err := f.f.do(f.ctx, request{method: http.MethodGet, mirror: f.mirror, url: f.url, header: h})
	if err != nil {
		return err
	}
	defer shut(resp.Body)
	start, all, ok := contentRange(resp.Header.Get("Content-Range"))
	if resp.StatusCode != http.StatusPartialContent || !ok || f.size > 0 && all != f.size {
		return &failure{err: errors.New("the mirror sends no parts of files")}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxParts))
	if err != nil {
		return err
	}
	f.size, f.read = all, f.read+int64(len(data))
	if len(data) == 0 || f.read > maxParts || start+int64(len(data)) > all {
		return &failure{err: errors.New("the mirror sends wrong parts of files")}
	}
	f.parts = append(f.parts, part{start, data})
	slices.SortFunc(f.parts, func(a, b part) int { return int(a.off - b.off) })
	return nil
}
