package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/diskspace"
	"github.com/raybuild/raybuild/internal/wholefile"
)

const (
	lockPoll   = 50 * time.Millisecond // how often a lock held by another process is tried
	touchAfter = time.Hour             // a use within this time of the last noted one is not noted
)

// store is a directory of files named by their digest:
//
//	sha256/ab/<hex>     whole files; their mtime is when they were last used
//	partial/<hex>       unfinished downloads, written by whoever holds partial/<hex>.lock
//	tmp/                files whose digest is not known yet
//
// A file gets its final name by rename after fsync, so what has a final name is whole, unless the disk lost bytes;
// therefore each process hashes a file before it uses it for the first time.
type store struct {
	dir string

	mu   sync.Mutex
	good map[digest.Digest]int64 // size of files that this process has hashed
}

func openStore(dir string) (*store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact store %q: %w", dir, err)
	}
	s := &store{dir: abs, good: map[digest.Digest]int64{}}
	for _, sub := range []string{"sha256", "partial", "tmp"} {
		if err := os.MkdirAll(filepath.Join(abs, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open artifact store %q: %w", dir, err)
		}
	}
	if _, err := s.sweep(time.Now(), sweepAfter); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *store) path(d digest.Digest) string { return StoredFile(s.dir, d) }

// StoredFile is the file that an artifact has in the store in dir, if it was fetched.
func StoredFile(dir string, d digest.Digest) string {
	return filepath.Join(dir, "sha256", d.Encoded()[:2], d.Encoded())
}

func (s *store) partialPath(d digest.Digest) string {
	return filepath.Join(s.dir, "partial", d.Encoded())
}

func (s *store) has(d digest.Digest) bool {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return false
	}
	st, err := os.Stat(s.path(d))
	return err == nil && st.Mode().IsRegular()
}

// open returns a stored file at its start. The error is fs.ErrNotExist when it is missing, errCorrupt when its bytes
// are not those of the digest.
func (s *store) open(ctx context.Context, d digest.Digest) (*os.File, int64, error) {
	file, err := os.Open(s.path(d))
	if err != nil {
		return nil, 0, fmt.Errorf("open stored artifact: %w", err)
	}
	size, err := s.check(ctx, d, file)
	if err != nil {
		shut(file)
		return nil, 0, err
	}
	return file, size, nil
}

func (s *store) check(ctx context.Context, d digest.Digest, file *os.File) (int64, error) {
	st, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("open stored artifact: %w", err)
	}
	s.mu.Lock()
	size, ok := s.good[d]
	s.mu.Unlock()
	if !ok || size != st.Size() {
		h := sha256.New()
		if _, err := io.Copy(h, until(ctx, file)); err != nil {
			return 0, fmt.Errorf("read stored artifact: %w", err)
		}
		if got := digest.NewDigest(digest.SHA256, h); got != d {
			return 0, fmt.Errorf("read stored artifact %q: it is %s: %w", file.Name(), got, errCorrupt)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("read stored artifact: %w", err)
		}
		s.trust(d, st.Size())
	}
	if now := time.Now(); now.Sub(st.ModTime()) > touchAfter {
		// A store that cannot be written (a read-only mount) still serves.
		_ = os.Chtimes(file.Name(), now, now)
	}
	return st.Size(), nil
}

func (s *store) trust(d digest.Digest, size int64) {
	s.mu.Lock()
	s.good[d] = size
	s.mu.Unlock()
}

// drop removes a stored file that is not what its name says. The caller holds the digest's lock.
func (s *store) drop(d digest.Digest) error {
	s.mu.Lock()
	delete(s.good, d)
	s.mu.Unlock()
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove corrupt stored artifact: %w", err)
	}
	return nil
}

// lock makes this process the only one that downloads a digest, until unlock is called.
func (s *store) lock(ctx context.Context, d digest.Digest) (unlock func(), err error) {
	name := s.partialPath(d) + ".lock"
	for {
		l := flock.New(name)
		if ok, err := l.TryLockContext(ctx, lockPoll); err != nil || !ok {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, s.diskError(0, fmt.Errorf("lock artifact %s: %w", d, err))
		}
		// Whoever had the lock before may have removed the file between our open and our lock.
		mine, err1 := l.Stat()
		there, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return func() {
				_ = os.Remove(name) // while it is still ours; where an open file cannot be removed, sweep does it
				_ = l.Unlock()
			}, nil
		}
		_ = l.Unlock()
	}
}

// file is one that is being written: a partial download or a temporary file.
type file struct {
	s   *store
	f   *os.File
	n   int64
	sum hash.Hash
	own *flock.Flock // keeps a temporary file from being swept; nil for a partial one, whose digest is locked
}

// partial opens what an earlier download of the digest left, hashes it, and goes on at its end. The caller holds the
// digest's lock.
func (s *store) partial(ctx context.Context, d digest.Digest) (*file, error) {
	f, err := os.OpenFile(s.partialPath(d), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, s.diskError(0, fmt.Errorf("open partial artifact: %w", err))
	}
	p := &file{s: s, f: f, sum: sha256.New()}
	if p.n, err = io.Copy(p.sum, until(ctx, f)); err != nil {
		shut(f)
		return nil, fmt.Errorf("read partial artifact: %w", err)
	}
	return p, nil
}

func (s *store) temp() (*file, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "put-*")
	if err != nil {
		return nil, s.diskError(0, fmt.Errorf("make temporary file: %w", err))
	}
	own := flock.New(f.Name())
	if ok, err := own.TryLock(); err != nil || !ok {
		_ = f.Close()
		return nil, fmt.Errorf("lock temporary file %q: %w", f.Name(), err)
	}
	return &file{s: s, f: f, sum: sha256.New(), own: own}, nil
}

func (p *file) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.n += int64(n)
	p.sum.Write(b[:n])
	if err != nil {
		return n, p.s.diskError(0, fmt.Errorf("write artifact: %w", err))
	}
	return n, nil
}

// restart throws away what is there.
func (p *file) restart() error {
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("restart partial artifact: %w", err)
	}
	if err := p.f.Truncate(0); err != nil {
		return fmt.Errorf("restart partial artifact: %w", err)
	}
	p.n = 0
	p.sum.Reset()
	return nil
}

func (p *file) digest() digest.Digest { return digest.NewDigest(digest.SHA256, p.sum) }

// close leaves the bytes for the next run, and no file where there are none.
func (p *file) close() {
	if p.n == 0 {
		p.discard()
		return
	}
	_ = p.f.Close()
}

// discard removes the file; after keep there is nothing left under its name.
func (p *file) discard() {
	_ = p.f.Close()
	_ = os.Remove(p.f.Name())
	p.release()
}

func (p *file) release() {
	if p.own != nil {
		_ = p.own.Unlock()
	}
}

// keep gives a file that is known to have the digest its final name.
func (s *store) keep(p *file, d digest.Digest) error {
	err := p.f.Sync()
	p.release()
	if cerr := p.f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return s.diskError(p.n, fmt.Errorf("write artifact: %w", err))
	}
	to := s.path(d)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return s.diskError(0, fmt.Errorf("store artifact: %w", err))
	}
	if err := os.Chmod(p.f.Name(), 0o644); err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	if err := os.Rename(p.f.Name(), to); err != nil {
		return s.diskError(0, fmt.Errorf("store artifact: %w", err))
	}
	if err := wholefile.SyncDir(filepath.Dir(to)); err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	s.trust(d, p.n)
	return nil
}

// room fails when the store's disk cannot take need bytes.
func (s *store) room(need int64) error {
	if free := diskspace.Free(s.dir); free >= 0 && free < need {
		return &diskFullError{Path: s.dir, Free: free, Need: need, Err: errNoSpace}
	}
	return nil
}

// diskError says where and how much when the system says that the disk is full.
func (s *store) diskError(need int64, err error) error {
	if !isDiskFull(err) {
		return err
	}
	return &diskFullError{Path: s.dir, Free: diskspace.Free(s.dir), Need: need, Err: err}
}
