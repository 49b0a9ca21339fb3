package layers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// LoadFiles reads environment.yml, the requirements files, the files that these include, and the lock of
// another tool. It fills in EnvFile, Required, Constraints and PythonLock, also Env.Channels and Env.Python if only
// environment.yml has them, and Ray's version and extras if only one of the files has them. All problems come at
// once, as a *RecipeError with file and line.
func (r *Recipe) LoadFiles() error {
	if !r.readsFiles() {
		return nil
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("open the recipe's directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	var t recipeReader
	req := requirementsReader{root: root, reader: &t}
	if r.Env.File != "" {
		t.loadEnvFile(root, r, &req)
	}
	for _, name := range r.Pip.Requirements {
		req.file(name, "pip.requirements", requirementsFrom{})
	}
	req.end()
	r.Required, r.Constraints = req.found, req.constraints
	if r.Pip.Pylock.File != "" {
		t.loadPylock(root, r)
	}
	t.settleRay(r, req.ray)
	return recipeError(t.Err())
}

// readLocal reads a regular file below root of at most limit bytes. Links may
// not lead out of root, and a pipe or device does not hang or fill anything.
func readLocal(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	if err != nil {
		return nil, err
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if strings.HasPrefix(string(data), mark) {
			return nil, fmt.Errorf("read %s: %w", name, errUTF16)
		}
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil // editors of Windows begin files with it
}

// errUTF16 says how a file is written.
var errUTF16 = errors.New("it is written as UTF-16, as PowerShell's > does")

// unreadable turns the error of readLocal into a problem.
func unreadable(name string, err error) (message, fix string) {
	var pe *fs.PathError
	switch {
	case errors.Is(err, errUTF16):
		return fmt.Sprintf("cannot read %q: %v", name, errUTF16), "save it as UTF-8"
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %q beside the recipe", name),
			"paths are relative to the recipe's directory"
	case errors.As(err, &pe) && strings.Contains(pe.Err.Error(), "escapes"):
		return fmt.Sprintf("%q leads out of the recipe's directory", name), "keep the file beside or below the recipe"
	case errors.As(err, &pe):
		return fmt.Sprintf("cannot read %q: %v", name, pe.Err), "check the file and its permissions"
	}
	return fmt.Sprintf("cannot read %q: %v", name, err), "name a plain file"
}

const localLimit = 1 << 20
