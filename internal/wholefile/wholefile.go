// Package wholefile writes files that appear complete or not at all. It writes a temporary file in
// the same directory, and then renames it.
package wholefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// File is a file that is being written.
type File struct {
	*os.File
	// Lasting makes Finish wait until the file and its name are on the disk, so that a power cut takes neither. A
	// file without it may be empty after one. It costs some milliseconds, and is not needed for a cache.
	Lasting bool

	path   string
	closed bool
}

// Create starts to write the file path. The file's directory must exist. Call [File.Finish] at the end.
func Create(path string) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	return &File{File: f, path: path}, nil
}

// Close implements io.Closer. A second call does nothing.
func (f *File) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.File.Close()
}

// Finish gives the file its name and mode. If failed is not nil, the file's content is not complete,
// and Finish removes the file. The returned error names path, and does not contain failed.
func (f *File) Finish(mode os.FileMode, failed error) error {
	var err error
	if f.Lasting && failed == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if failed == nil && err == nil {
		if err = os.Chmod(f.Name(), mode); err == nil {
			err = os.Rename(f.Name(), f.path)
		}
		if err == nil && f.Lasting {
			return SyncDir(filepath.Dir(f.path))
		}
	}
	if failed != nil || err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", f.path, err)
	}
	return nil
}

// Write writes data to the file path.
func Write(path string, data []byte, mode os.FileMode) error { return write(path, data, mode, false) }

// WriteLasting writes data to the file path, and waits until it is on the disk.
func WriteLasting(path string, data []byte, mode os.FileMode) error {
	return write(path, data, mode, true)
}

func write(path string, data []byte, mode os.FileMode, lasting bool) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	f.Lasting = lasting
	_, failed := f.Write(data)
	if failed != nil {
		failed = fmt.Errorf("write %q: %w", path, failed)
	}
	return errors.Join(failed, f.Finish(mode, failed))
}
