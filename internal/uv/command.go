package uv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxSaid limits what is kept of uv's messages, in bytes.
const maxSaid = 1 << 20

// tail keeps the last bytes that were written to it.
type tail struct{ b bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n, err := t.b.Write(p)
	if extra := t.b.Len() - maxSaid; extra > 0 {
		t.b.Next(extra)
	}
	return n, err
}

// command runs uv in the directory of a run, and returns what it said.
func (r *Resolver) command(ctx context.Context, dir, python string, p *proxy) (said string, err error) {
	args := []string{
		"pip", "compile", filepath.Join(dir, requirementsFile),
		"--format", "pylock.toml", "--output-file", filepath.Join(dir, lockFile), "--python", python,
		"--default-index", p.index.String(), "--no-build-isolation", "--no-header", "--no-annotate", "--no-sources",
		"--no-progress", "--color", "never",
	}
	if constraints := filepath.Join(dir, constraintsFile); exists(constraints) {
		args = append(args, "--constraints", constraints)
	}
	if overrides := filepath.Join(dir, overridesFile); exists(overrides) {
		args = append(args, "--overrides", overrides)
	}
	for try := 0; ; try++ {
		cmd := exec.CommandContext(ctx, r.o.Program, args...)
		out := &tail{}
		cmd.Dir, cmd.Stderr = dir, out
		cmd.Env = append(r.env(dir), p.env()...)
		cmd.WaitDelay = 5 * time.Second
		err := cmd.Run()
		said := out.b.String()
		// A program that was just written is busy while another child of this process, forked meanwhile, still has
		// the file open (https://go.dev/issue/22315).
		busy := errors.Is(err, syscall.ETXTBSY) || err != nil && strings.Contains(said, "Text file busy")
		if !busy || try >= 10 || ctx.Err() != nil {
			return said, err
		}
		time.Sleep(time.Duration(try+1) * 10 * time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// env is the whole environment of uv but the proxy: nothing of this machine's settings reaches it. There is no PATH,
// so it finds no git and no Python.
func (r *Resolver) env(dir string) []string {
	return []string{
		"HOME=" + dir, "TMPDIR=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir, "PATH=" + dir, "LC_ALL=C",
		"UV_CACHE_DIR=" + filepath.Join(r.o.Dir, "cache-"+Version),
		"UV_NO_CONFIG=1", "UV_NO_ENV_FILE=1", "UV_PYTHON_DOWNLOADS=never", "UV_KEYRING_PROVIDER=disabled",
		"UV_NO_PROGRESS=1", "NO_COLOR=1",
		"UV_HTTP_RETRIES=0",   // the gateway tries again, and at another mirror
		"UV_HTTP_TIMEOUT=600", // and it knows which of them do not answer
	}
}

// runsKept is how long the directory of a run stays that was killed.
const runsKept = 24 * time.Hour

// runDir makes a directory for one run. It removes those of runs that were killed.
func (r *Resolver) runDir() (string, error) {
	runs := filepath.Join(r.o.Dir, "runs")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return "", fmt.Errorf("make directory for uv: %w", err)
	}
	if entries, err := os.ReadDir(runs); err == nil {
		for _, e := range entries {
			if i, err := e.Info(); err == nil && time.Since(i.ModTime()) > runsKept {
				_ = os.RemoveAll(filepath.Join(runs, e.Name())) // another process may do so at the same time
			}
		}
	}
	dir, err := os.MkdirTemp(runs, "run-")
	if err != nil {
		return "", fmt.Errorf("make directory for uv: %w", err)
	}
	return dir, nil
}
