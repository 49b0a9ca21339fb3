package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/opencontainers/go-digest"
)

// has tells whether an artifact is here, so that no mirror is asked for it.
func (f *Fetcher) has(d digest.Digest) bool { return f.store.has(d) || f.onShelf(d) }

func (f *Fetcher) onShelf(d digest.Digest) bool { return f.o.Shelf != nil && f.o.Shelf.Has(d) }

// wheelOnShelf tells whether the wheel is there that a metadata file belongs to.
func (f *Fetcher) wheelOnShelf(side *url.URL) bool {
	it, known := f.known(wheelOf(side))
	return known && f.onShelf(it.Digest)
}

// takeFromShelf copies an artifact from the shelf into the store. The caller holds the digest's lock. Wrong bytes are
// an error, also if a mirror has the right ones: who damaged or changed a shelf should be noticed.
func (f *Fetcher) takeFromShelf(ctx context.Context, it Item) error {
	r, err := f.o.Shelf.Open(ctx, it.Digest)
	if err != nil {
		return fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	t, err := f.store.temp()
	if err != nil {
		return errors.Join(fmt.Errorf("fetch artifact %q: %w", it.Name, err), r.Close())
	}
	_, err = io.Copy(t, until(ctx, r))
	if got := t.digest(); err == nil && got != it.Digest {
		err = fmt.Errorf("%s has other bytes (%s) for %s: copy it again", f.o.Shelf, got, it.Digest)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		t.discard()
		return fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	return f.store.keep(t, it.Digest)
}

// notOnShelf adds to the error of a download that the shelf does not have the artifact either.
func (f *Fetcher) notOnShelf(err error) error {
	if err == nil || f.o.Shelf == nil {
		return err
	}
	return fmt.Errorf("%w\n%s does not have it: make the bundle again from this lock, where there is a network: "+
		"raybuild bundle -o DIR", err, f.o.Shelf)
}
