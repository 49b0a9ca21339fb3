package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// sending is one blob on its way into a repository.
type sending struct {
	t        *target
	d        ocispecs.Descriptor
	mounts   []name.Repository // not tried yet
	location string            // of the open upload; "": there is none
	offset   int64             // how much of the blob the registry has, as far as is known
	doubt    bool              // the registry must say how far the upload is
	named    bool              // it was sent whole and with its digest, so that it may be there
	resumed  bool              // offset is the registry's word
	best     int64             // the furthest that offset came
	sent     atomic.Int64      // bytes that went out, whatever came of them
	mounted  bool
}

// run sends the blob. Each failed step is repeated as long as the push allows. Progress at the registry
// renews this patience.
func (u *sending) run(ctx context.Context) error {
	// a document is new and small: sending it is as fast as trying a mount
	if u.t.p.documents[u.d.Digest] == nil {
		u.mounts = u.t.mounts
	}
	tries := &tries{t: u.t}
	for done := false; !done; {
		var err error
		if done, err = u.step(ctx); err != nil {
			done, u.doubt = false, true
			if err = tries.again(ctx, err); err != nil {
				return err
			}
			continue
		}
		if u.offset > u.best {
			u.best = u.offset
			tries.reset()
		}
	}
	u.t.p.o.Progress(u.d, u.d.Size, u.mounted)
	return nil
}

func (u *sending) step(ctx context.Context) (done bool, err error) {
	switch {
	case u.location == "":
		return u.begin(ctx)
	case u.doubt:
		return u.resume(ctx)
	case u.offset == 0 && u.d.Size < askFirst && !u.resumed:
		u.named = true
		return true, u.commit(ctx, u.rest())
	case u.offset < u.d.Size:
		return false, u.send(ctx)
	}
	return true, u.commit(ctx, textBody(nil))
}

// begin mounts the blob from a repository that may have it, or opens an upload.
func (u *sending) begin(ctx context.Context) (bool, error) {
	u.offset, u.resumed, u.named = 0, false, false
	query := ""
	if len(u.mounts) > 0 {
		query = "?" + url.Values{"mount": {u.d.Digest.String()}, "from": {u.mounts[0].RepositoryStr()}}.Encode()
	}
	resp, err := u.t.ask(ctx, request{method: http.MethodPost, url: u.t.url("/blobs/uploads/" + query),
		want: []int{http.StatusAccepted, http.StatusCreated}})
	if err != nil {
		return false, err
	}
	if resp.status == http.StatusCreated {
		u.mounted = true
		return true, nil
	}
	u.doubt = false
	if len(u.mounts) > 1 { // the upload that this one opened is forgotten by the registry in time
		u.mounts = u.mounts[1:]
		return false, nil
	}
	u.mounts = nil
	return false, u.at(resp)
}

// at reads where the upload goes on.
func (u *sending) at(resp *reply) error {
	location, err := resp.url.Parse(resp.header.Get("Location"))
	if err != nil || resp.header.Get("Location") == "" {
		return fmt.Errorf("read answer of %s: it does not say where the upload goes on", u.t.repo.RegistryStr())
	}
	u.location = location.String()
	return nil
}

// resume asks how far a broken upload came. If the registry has forgotten it, a new upload begins.
func (u *sending) resume(ctx context.Context) (bool, error) {
	if u.offset >= u.d.Size || u.named { // the answer to the last request may be all that was lost
		if has, err := u.t.has(ctx, u.d); err != nil || has {
			return has, err
		}
	}
	resp, err := u.t.ask(ctx, request{method: http.MethodGet, url: u.location,
		want: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}})
	if status := statusOf(err); status >= 400 &&
		status < 500 && !temporary(status) && status != http.StatusUnauthorized {
		u.location, u.doubt = "", false
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if resp.header.Get("Location") != "" {
		if err := u.at(resp); err != nil {
			return false, err
		}
	}
	u.offset, u.doubt, u.resumed = min(received(resp, 0), u.d.Size), false, true
	return false, nil
}

// received is how many bytes the registry says that it has; unsaid if it says nothing. Registries write
// "0-0" for no byte and for one byte.
func received(resp *reply, unsaid int64) int64 {
	var from, to int64
	text := strings.TrimPrefix(resp.header.Get("Range"), "bytes=")
	if _, err := fmt.Sscanf(text, "%d-%d", &from, &to); err != nil || from != 0 || to < 0 {
		return unsaid
	}
	if to == 0 {
		return 0
	}
	return to + 1
}

// rest is the part that the registry lacks.
func (u *sending) rest() *body {
	b := newBody(u.d.Size-u.offset, func(ctx context.Context) (io.ReadCloser, error) {
		return u.t.p.open(ctx, u.d, u.offset)
	})
	b.moved = func(n int) {
		u.t.p.o.Progress(u.d, u.d.Size-b.left.Load(), false)
		u.sent.Add(int64(n))
	}
	return b
}

// send sends the missing part in one request. Some registries refuse a blob in several parts, so there are
// several only after a failure.
func (u *sending) send(ctx context.Context) error {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if u.offset > 0 {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.d.Size-1))
	}
	resp, err := u.t.ask(ctx, request{method: http.MethodPatch, url: u.location, header: header, body: u.rest(),
		want: []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated}})
	if err != nil {
		if statusOf(err) == http.StatusRequestedRangeNotSatisfiable ||
			statusOf(err) == http.StatusNotFound && u.resumed {
			u.location = "" // what the registry said of the upload does not hold
			return &lostError{err}
		}
		return err
	}
	if err := u.at(resp); err != nil {
		return err
	}
	u.offset = min(received(resp, u.d.Size), u.d.Size)
	if u.d.Size == 1 {
		u.offset = 1
	}
	return nil
}

// commit ends the upload under the blob's digest, which the registry checks. rest is all of a small blob,
// which saves a round trip, and else nothing.
func (u *sending) commit(ctx context.Context, rest *body) error {
	at, err := url.Parse(u.location)
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", u.t.repo.RegistryStr(), err)
	}
	query := at.Query()
	query.Set("digest", u.d.Digest.String())
	at.RawQuery = query.Encode()
	_, err = u.t.ask(ctx, request{method: http.MethodPut, url: at.String(), body: rest,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		want:   []int{http.StatusCreated, http.StatusNoContent, http.StatusOK}})
	switch status := statusOf(err); {
	case status == http.StatusNotFound, status == http.StatusBadRequest && u.resumed:
		u.location = "" // the upload is gone, or its parts do not make the blob: once more, whole
		return &lostError{err}
	}
	return err
}
