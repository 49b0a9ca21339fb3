package channel

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// withByteCode adds the byte code of Python's library, as conda's packages of Python have it:
// without it every start of a program in the environment would compile what it imports. It depends
// on the sources alone: the interpreter of the package makes it, one file after the other. Files
// with the prefix in them have none, for theirs would have another prefix.
func withByteCode(ctx context.Context, python []entry) ([]entry, error) {
	dir, err := os.MkdirTemp("", "raybuild-world-")
	if err != nil {
		return nil, fmt.Errorf("compile Python's library: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, e := range python {
		if e.prefix != "" && strings.HasSuffix(e.path, ".py") {
			continue
		}
		if err := writeEntry(dir, e); err != nil {
			return nil, fmt.Errorf("compile Python's library: %w", err)
		}
	}
	library := filepath.Join(dir, filepath.FromSlash(pyLib))
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "bin/python3.11"), "-S", "-m", "compileall", "-q", "-s", dir,
		"--invalidation-mode", "unchecked-hash",
		"-x", "lib2to3/tests|bad_", library)
	cmd.Env = []string{"PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile Python's library: %w\n%s", err, out)
	}
	out := python
	err = filepath.WalkDir(library, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".pyc") {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		out = append(out, entry{path: filepath.ToSlash(name), data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the byte code of Python's library: %w", err)
	}
	return out, nil
}

func writeEntry(dir string, e entry) error {
	file := filepath.Join(dir, filepath.FromSlash(e.path))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if e.link != "" {
		return os.Symlink(e.link, file)
	}
	mode := fs.FileMode(e.mode)
	if mode == 0 {
		mode = 0o644
	}
	return os.WriteFile(file, e.data, mode)
}
