package sbom

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// Store keeps what layers and artifacts say of themselves, in a directory:
//
//	layers/<hex>     what a layer says, by the digest of its bytes
//	artifacts/<hex>  what an artifact says, by its digest
//
// Nothing in it is lost when it is removed: it is read again.
type Store struct {
	// Dir is the directory; it is made when something is kept.
	Dir string
}

// keptFor is how long a file stays. It is read again then.
const keptFor = 60 * 24 * time.Hour

// Layer gives what is kept of a layer.
func (s Store) Layer(d digest.Digest) (*Found, bool) {
	var f Found
	if !s.read("layers", d, &f) || f.Rules != Rules {
		return nil, false
	}
	return &f, true
}

// HasLayer tells whether something is kept of a layer.
func (s Store) HasLayer(d digest.Digest) bool { return s.has("layers", d) }

// HasLicense tells whether the licence of an artifact is kept.
func (s Store) HasLicense(d digest.Digest) bool { return s.has("artifacts", d) }

func (s Store) has(kind string, d digest.Digest) bool {
	_, err := os.Stat(s.file(kind, d))
	return err == nil && d.Validate() == nil
}

// KeepLayer keeps what a layer says.
func (s Store) KeepLayer(d digest.Digest, f *Found) error { return s.keep("layers", d, f) }

// kept is what is kept of an artifact.
type kept struct {
	Rules   int    `json:"rules"`
	License string `json:"license,omitempty"`
}

// License gives the licence that is kept of an artifact; "": it declares none that can be read.
func (s Store) License(d digest.Digest) (string, bool) {
	var k kept
	ok := s.read("artifacts", d, &k) && k.Rules == Rules
	return k.License, ok
}

// KeepLicense keeps the licence of an artifact.
func (s Store) KeepLicense(d digest.Digest, license string) error {
	return s.keep("artifacts", d, kept{Rules, license})
}

func (s Store) file(kind string, d digest.Digest) string {
	return filepath.Join(s.Dir, kind, d.Encoded())
}

func (s Store) read(kind string, d digest.Digest, into any) bool {
	if d.Validate() != nil {
		return false
	}
	data, err := os.ReadFile(s.file(kind, d))
	return err == nil && json.Unmarshal(data, into) == nil
}

func (s Store) keep(kind string, d digest.Digest, value any) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("keep what %q says: %w", d, err)
	}
	data, err := json.Marshal(value)
	if err == nil {
		err = os.MkdirAll(filepath.Join(s.Dir, kind), 0o755)
	}
	if err == nil {
		err = wholefile.Write(s.file(kind, d), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep what %s says: %w", d, err)
	}
	return nil
}

// Sweep removes what was kept long ago. It is read again when it is needed.
func (s Store) Sweep(now time.Time) {
	for _, kind := range []string{"layers", "artifacts"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir, kind))
		if err != nil {
			continue // there is none
		}
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && now.Sub(info.ModTime()) > keptFor {
				_ = os.Remove(filepath.Join(s.Dir, kind, e.Name())) // another process may have done so
			}
		}
	}
}
