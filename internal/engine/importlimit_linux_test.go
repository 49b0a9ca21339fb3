package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/moby/buildkit/util/contentutil"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// stream is a cache whose layers can be read from their beginning alone, as BuildKit's of Azure is.
type stream struct{ text string }

// Fetch implements remotes.Fetcher.
func (s stream) Fetch(context.Context, ocispecs.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(s.text))), nil
}

// A layer of which another build has taken a part, or all, is read from there on, whatever the
// cache's own reader can do.
func TestReadingALayerOfACacheResumes(t *testing.T) {
	t.Parallel()
	const text = "the bytes of a layer"
	for _, off := range []int64{0, 1, 10, int64(len(text)) - 1, int64(len(text))} {
		r, err := contentutil.FromFetcher(stream{text}).ReaderAt(t.Context(),
			ocispecs.Descriptor{Size: int64(len(text))})
		if err != nil {
			t.Fatal(err)
		}
		l := &limitedReader{ReaderAt: r, why: func(err error) error { return err }, end: func() {}}
		got, err := io.ReadAll(io.NewSectionReader(l, off, int64(len(text))-off))
		if err != nil || string(got) != text[off:] {
			t.Errorf("from byte %d: %q, %v", off, got, err)
		}
		if n, err := l.ReadAt(make([]byte, 1), int64(len(text))); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %d bytes, %v", n, err)
		}
	}
}
