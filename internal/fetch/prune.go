package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// sweepAfter is the age at which an unfinished file that nobody is writing is garbage.
const sweepAfter = 7 * 24 * time.Hour

// entry is a file of the store.
type entry struct {
	path string
	size int64
	used time.Time
}

// Prune removes the least recently used artifacts until the store in dir takes at most maxBytes. It also
// removes unfinished files that nobody writes: all of them if maxBytes is 0, else those older than a week.
// It returns what it removed. Artifacts that somebody reads stay readable.
func Prune(ctx context.Context, dir string, maxBytes int64) (Use, error) {
	s := &store{dir: dir}
	age := sweepAfter
	if maxBytes <= 0 {
		age = 0
	}
	gone, err := s.sweep(time.Now(), age)
	if err != nil {
		return gone, err
	}
	whole, err := s.list("sha256")
	if err != nil {
		return gone, err
	}
	rest, err := s.unfinished()
	if err != nil {
		return gone, err
	}
	var total int64
	for _, e := range slices.Concat(whole, rest) {
		total += e.size
	}
	slices.SortFunc(whole, func(a, b entry) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	for _, e := range whole {
		if total <= maxBytes {
			break
		}
		if err := context.Cause(ctx); err != nil {
			return gone, fmt.Errorf("prune artifact store %q: %w", dir, err)
		}
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, fmt.Errorf("prune artifact store %q: %w", dir, err)
		}
		total -= e.size
		gone.Artifacts++
		gone.Bytes += e.size
	}
	return gone, nil
}

// sweep removes unfinished files of that age that nobody is writing.
func (s *store) sweep(now time.Time, age time.Duration) (gone Use, err error) {
	rest, err := s.unfinished()
	if err != nil {
		return gone, err
	}
	for _, e := range rest {
		if now.Sub(e.used) < age || !s.remove(e.path) {
			continue
		}
		gone.Partial++
		gone.PartialBytes += e.size
	}
	locks, err := s.list("partial")
	if err != nil {
		return gone, err
	}
	for _, e := range locks {
		if strings.HasSuffix(e.path, ".lock") && now.Sub(e.used) >= age {
			s.removeLocked(e.path, e.path)
		}
	}
	return gone, nil
}

func (s *store) remove(path string) bool {
	if filepath.Base(filepath.Dir(path)) == "tmp" {
		return s.removeLocked(path, path)
	}
	return s.removeLocked(path, path+".lock")
}

// removeLocked removes path if nobody holds the lock.
func (s *store) removeLocked(path, lock string) bool {
	l := flock.New(lock)
	if ok, err := l.TryLock(); err != nil || !ok {
		return false
	}
	err := os.Remove(path)
	if lock != path {
		_ = os.Remove(lock)
	}
	_ = l.Unlock()
	return err == nil
}

// unfinished lists partial downloads and temporary files.
func (s *store) unfinished() ([]entry, error) {
	part, err := s.list("partial")
	if err != nil {
		return nil, err
	}
	tmp, err := s.list("tmp")
	if err != nil {
		return nil, err
	}
	part = slices.DeleteFunc(part, func(e entry) bool { return strings.HasSuffix(e.path, ".lock") })
	return slices.Concat(part, tmp), nil
}

// list returns the regular files under a directory of the store, in the order of their names.
func (s *store) list(sub string) ([]entry, error) {
	var out []entry
	err := filepath.WalkDir(filepath.Join(s.dir, sub), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.Type().IsRegular() {
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) { // removed by another process in the meantime
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, entry{path: path, size: info.Size(), used: info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list artifact store %q: %w", s.dir, err)
	}
	return out, nil
}
