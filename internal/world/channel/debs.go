package channel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pythonDebs are the interpreter and its library; headerDebs have what C extensions are compiled
// with; libDebs are the shared libraries that a minimal system lacks; wheelDebs carry Debian's
// wheels.
var (
	pythonDebs = []string{"python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "python3-distutils",
		"python3-lib2to3"}
	headerDebs = []string{"libpython3.11-dev"}
	libDebs    = []string{"libexpat1", "libssl3", "libffi8", "libsqlite3-0", "liblzma5", "libbz2-1.0", "zlib1g",
		"libuuid1", "libreadline8", "libncursesw6", "libtinfo6"}
	wheelDebs = []string{"python3-pip-whl", "python3-setuptools-whl", "python3-wheel-whl"}
)

// DebianPackages are the Debian packages that the channel is made of.
func DebianPackages() []string {
	var out []string
	for _, l := range [][]string{pythonDebs, headerDebs, libDebs, wheelDebs, {"patchelf", "ca-certificates"}} {
		out = append(out, l...)
	}
	return out
}

// readDeb reads the files and links of a Debian package; paths have no leading slash.
func readDeb(ctx context.Context, file string) ([]entry, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("unpack Debian package: %w: dpkg is needed", err)
	}
	var entries []entry
	tr := tar.NewReader(out)
	var readErr error
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			readErr = err
			break
		}
		e := entry{path: path.Clean(strings.TrimPrefix(h.Name, "./")), mode: h.Mode & 0o777}
		switch h.Typeflag {
		case tar.TypeReg:
			// A read that fails fails again at the next header, which ends the loop.
			e.data, readErr = io.ReadAll(tr)
		case tar.TypeSymlink:
			e.link = h.Linkname
		default:
			continue
		}
		entries = append(entries, e)
	}
	_, _ = io.Copy(io.Discard, out) // so that dpkg-deb ends
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		return nil, fmt.Errorf("unpack Debian package %q: %w", filepath.Base(file), err)
	}
	return entries, nil
}

// debs reads several packages into one list.
func debs(ctx context.Context, find func(string) (string, error), names []string) ([]entry, error) {
	var out []entry
	for _, n := range names {
		file, err := find(n)
		if err != nil {
			return nil, err
		}
		e, err := readDeb(ctx, file)
		if err != nil {
			return nil, err
		}
		out = append(out, e...)
	}
	return out, nil
}

// MachineCode is what Debian's Python and its libraries have of programs and libraries, one after
// the other: real machine code. find is as for [Make].
func MachineCode(ctx context.Context, find func(string) (string, error)) ([]byte, error) {
	entries, err := debs(ctx, find, append(slices.Clone(pythonDebs), libDebs...))
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, e := range entries {
		if bytes.HasPrefix(e.data, []byte("\x7fELF")) {
			out = append(out, e.data...)
		}
	}
	return out, nil
}
