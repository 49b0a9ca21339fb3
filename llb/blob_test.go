package llb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// store is a blob of a builder that answers until ctx ends.
type store struct {
	*bytes.Reader
	ctx  context.Context //nolint:containedctx // as the reader of containerd's client has it
	hang int64           // reads from there on answer when ctx ends only; 0: none does
}

func (s *store) ReadAt(p []byte, at int64) (int, error) {
	if s.hang > 0 && at >= s.hang {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return s.Reader.ReadAt(p, at)
}

func (s *store) Close() error { return nil }

func openStored(t *testing.T, size int, offset, hang int64) (*blob, []byte) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	ctx, cancel := context.WithCancel(t.Context())
	b, err := newBlob(&store{bytes.NewReader(data), ctx, hang}, offset, cancel)
	if err != nil {
		t.Fatal(err)
	}
	return b, data[offset:]
}

func TestBlobsAreReadFromAnyOffset(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, readSize, readSize + 1, 7*readSize + 3} {
		for _, offset := range []int{0, size / 2, size} {
			b, want := openStored(t, size, int64(offset), 0)
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("a blob of %d bytes from %d: %d bytes, %v; want the %d that there are", size, offset, len(got),
					err, len(want))
			}
			if err := errors.Join(b.Close(), b.Close()); err != nil {
				t.Errorf("close a blob of %d bytes twice: %v", size, err)
			}
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("read a closed blob: %v, want %v", err, os.ErrClosed)
			}
		}
	}
}

// net/http closes a body that it still reads where a request ends early; the builder may be slow to answer then.
func TestBlobIsClosedWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 9 * readSize} {
		b, _ := openStored(t, size, 0, int64(size/2))
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, b)
			done <- err
		}()
		time.Sleep(20 * time.Millisecond) // the read has come to where nobody answers, or will
		closed := make(chan error, 1)
		go func() { closed <- b.Close() }()
		for what, c := range map[string]chan error{"the read": done, "the close": closed} {
			select {
			case err := <-c:
				if what == "the close" && err != nil {
					t.Errorf("close a blob of %d bytes while it is read: %v", size, err)
				}
				if what == "the read" && size > readSize && !errors.Is(err, context.Canceled) &&
					!errors.Is(err, os.ErrClosed) {
					t.Errorf("read a blob of %d bytes that is closed: %v", size, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("a blob of %d bytes is closed while it is read: %s does not end", size, what)
			}
		}
	}
}
