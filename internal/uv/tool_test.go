package uv

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// store is Artifacts of one file.
type store struct {
	data   []byte
	opened atomic.Int32
}

func (s *store) Open(context.Context, digest.Digest) (io.ReadCloser, int64, error) {
	s.opened.Add(1)
	return io.NopCloser(bytes.NewReader(s.data)), int64(len(s.data)), nil
}

// makeWheel zips files, and describes the result as the table does.
func makeWheel(t *testing.T, files map[string]string) (*store, Wheel) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return &store{data: b.Bytes()}, Wheel{Path: "packages/uv-1-py3-none-any.whl", SHA256: hex.EncodeToString(sum[:]),
		Size: int64(b.Len())}
}

// record is the RECORD of a wheel whose program is "program".
func record() string {
	const text = "program"
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("uv-1.data/scripts/uv,sha256=%s,%d\n", base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
}

func TestEnsureUnpacksOnce(t *testing.T) {
	s, w := makeWheel(t, map[string]string{"uv-1.data/scripts/uv": "program", "uv-1.data/scripts/uvx": "other",
		"uv-1.dist-info/RECORD": record()})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := ensure(t.Context(), dir, s, w)
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != "program" {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
	wg.Wait()
	n := s.opened.Load()
	path, err := ensure(t.Context(), dir, s, w)
	if err != nil || s.opened.Load() != n {
		t.Errorf("the wheel was opened again (%v)", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestEnsureRefusesWrongWheels(t *testing.T) {
	good := map[string]string{"uv-1.data/scripts/uv": "program", "uv-1.dist-info/RECORD": record()}
	tests := []struct {
		name  string
		files map[string]string
		want  string
		edit  func(*Wheel)
	}{
		{"another digest", good, "its sha256 is", func(w *Wheel) { w.SHA256 = strings.Repeat("0", 64) }},
		{"a longer file", good, "its sha256 is", func(w *Wheel) { w.Size -= 2 }},
		{"no program", map[string]string{"uv-1.dist-info/RECORD": record(), "a/uv-1.data/scripts/uv": "x"},
			"no program uv", nil},
		{"no record", map[string]string{"uv-1.data/scripts/uv": "program"}, "RECORD has no sha256", nil},
		{"another program", map[string]string{"uv-1.data/scripts/uv": "bad", "uv-1.dist-info/RECORD": record()},
			"RECORD says", nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, w := makeWheel(t, tc.files)
			if tc.edit != nil {
				tc.edit(&w)
			}
			dir := t.TempDir()
			if _, err := ensure(t.Context(), dir, s, w); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "bin", w.SHA256)); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestWheelsAreOfTheVersion(t *testing.T) {
	for host := range wheels {
		w, err := wheelFor(host)
		if err != nil || !strings.HasPrefix(w.Filename(), "uv-"+Version+"-py3-none-") ||
			len(w.SHA256) != 64 || w.Size < 1<<20 {
			t.Errorf("%s: %+v, %v", host, w, err)
		}
	}
	if _, err := wheelFor("windows/amd64"); err == nil {
		t.Error("there is uv for Windows")
	} else if _, ok := errors.AsType[*HostError](err); !ok {
		t.Error(err)
	}
}
