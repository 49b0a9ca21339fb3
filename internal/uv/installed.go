package uv

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// plainVersion matches the versions of PEP 440 that can stand in a wheel's name.
//
//nolint:gochecknoglobals // compiled once, when it is used
var plainVersion = lazy(`^([0-9]+!)?[0-9]+(\.[0-9]+)*([_.]?(a|b|c|rc|alpha|beta|pre|preview)[_.]?[0-9]*)?` +
	`([_.]?(post|rev|r)[_.]?[0-9]*)?([_.]?dev[_.]?[0-9]*)?(\+[a-z0-9]+([_.][a-z0-9]+)*)?$`)

// lazy compiles an expression when it is first used.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// stub makes a wheel that says that a package is installed, below dir, and returns its path. The wheel has metadata
// and nothing else. It is the same for the same package, so uv remembers it. The path is "" for a version that is none
// of PEP 440: no requirement can mean it.
func stub(dir string, p Installed) (string, error) {
	name, version := strings.ReplaceAll(normal(p.Name), "-", "_"), p.Version
	if !plainVersion().MatchString(version) {
		return "", nil
	}
	meta := p.Metadata
	if meta == nil {
		meta = fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", normal(p.Name), version)
	}
	sum := sha256.Sum256(meta)
	home := filepath.Join(dir, "installed", hex.EncodeToString(sum[:8]))
	path := filepath.Join(home, fmt.Sprintf("%s-%s-py3-none-any.whl", name, version))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	for _, f := range []struct{ name, text string }{
		{"METADATA", string(meta)},
		{"WHEEL", "Wheel-Version: 1.0\nGenerator: raybuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"RECORD", ""},
	} {
		w, err := z.Create(info + f.name)
		if err == nil {
			_, err = w.Write([]byte(f.text))
		}
		if err != nil {
			return "", fmt.Errorf("note installed package %q: %w", p.Name, err)
		}
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("note installed package %q: %w", p.Name, err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("note installed package %q: %w", p.Name, err)
	}
	return path, writeOnce(path, b.Bytes(), 0o600)
}
