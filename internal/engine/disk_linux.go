package engine

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	defaultMinFree    = int64(1e9)
	defaultCacheLimit = int64(50e9)
	// minInodes is about what one conda environment unpacks to.
	minInodes = 50_000
)

// disk is the state of the file system that holds a path.
type disk struct {
	total, free int64  // bytes
	inodes      uint64 // all; 0 when the file system does not count them (btrfs)
	freeInodes  uint64
}

// diskOf looks at the file system of path, or of its nearest parent that is there.
func diskOf(path string) (disk, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	for err == unix.ENOENT && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		err = unix.Statfs(path, &st)
	}
	if err != nil {
		return disk{}, fmt.Errorf("look at the disk of %q: %w", path, err)
	}
	bs := int64(st.Bsize) //nolint:unconvert // int32 on some architectures
	return disk{total: bs * int64(st.Blocks), free: bs * int64(st.Bavail), inodes: st.Files, freeInodes: st.Ffree}, nil
}

// room reports ErrNoSpace when path's disk has fewer than need bytes, or too
// few inodes, which the engine's own clean-up does not look at.
func room(path string, need int64) error {
	d, err := diskOf(path)
	if err != nil {
		return err
	}
	if d.free < need {
		return &Error{Kind: ErrNoSpace, Detail: fmt.Sprintf("%s has %s free, %s needed", path, size(d.free),
			size(need)), Fix: fixSpace}
	}
	if d.inodes > 0 && d.freeInodes < minInodes {
		return &Error{Kind: ErrNoSpace, Detail: fmt.Sprintf("%s has %d inodes free, %d needed", path, d.freeInodes,
			minInodes), Fix: fixSpace}
	}
	return nil
}

// Full returns an error that says how full the disk of home is and what to do. It is for
// a build that failed because the disk is full.
func Full(home string) error {
	detail := home
	if d, err := diskOf(home); err == nil {
		detail = fmt.Sprintf("%s has %s free, %s needed to go on", home, size(d.free), size(defaultMinFree))
	}
	return &Error{Kind: ErrNoSpace, Detail: detail, Fix: fixSpace}
}

// cacheLimit gives the limit in bytes: what was asked for, or the default for
// the disk of path.
func cacheLimit(asked int64, path string) int64 {
	if asked > 0 {
		return asked
	}
	if d, err := diskOf(path); err == nil && d.total/2 < defaultCacheLimit {
		return d.total / 2
	}
	return defaultCacheLimit
}

// size writes bytes as people read them.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
