package llb

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/moby/buildkit/session/upload"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// taker is a builder that asks for one artifact, and takes it or not.
type taker struct {
	upload.Upload_PullServer
	ctx   context.Context //nolint:containedctx // a stream has one
	takes error
}

func (s taker) Context() context.Context { return s.ctx }
func (s taker) SendMsg(any) error        { return s.takes }

// has is a source of one artifact.
type has struct{ r io.Reader }

func (h has) Open(context.Context, digest.Digest) (io.ReadCloser, int64, error) {
	return io.NopCloser(h.r), -1, nil
}

// A builder whose disk is full closes the session while artifacts are on their way: that is not the
// artifacts' failure, and must not stand before what the builder says.
func TestSessionBlamesTheArtifactForItsOwnFailureOnly(t *testing.T) {
	t.Parallel()
	d := digest.FromString("artifact")
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("urlpath", "/"+d.Encoded()))
	broken := errors.New("mirror is gone")
	for name, c := range map[string]struct {
		source io.Reader
		takes  error
		blamed bool
	}{
		"whole": {strings.NewReader("artifact"), nil, false},
		"builder takes none": {strings.NewReader("artifact"),
			status.Error(codes.Unavailable, "transport is closing"), false},
		"source breaks":        {iotest.ErrReader(broken), nil, true},
		"source breaks midway": {io.MultiReader(strings.NewReader("arti"), iotest.ErrReader(broken)), nil, true},
	} {
		s := &session{Session: Session{Artifacts: has{c.source}}}
		err := s.Pull(taker{ctx: ctx, takes: c.takes})
		if fe := s.fetchError(); (fe != nil) != c.blamed || (err != nil) != (c.blamed || c.takes != nil) ||
			c.blamed && !errors.Is(fe, broken) {
			t.Errorf("%s: the call ended with %v, the artifact is blamed for %v", name, err, fe)
		}
	}
}
