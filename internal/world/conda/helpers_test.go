package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
)

var hold = "/hold" + strings.Repeat("_hold", 23)

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, name := range sortedKeys(files) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])),
			Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archive makes a package of one kind or the other.
func archive(t *testing.T, fn string, r *record, files map[string]string) []byte {
	t.Helper()
	var paths []pathEntry
	for _, f := range sortedKeys(files) {
		p := pathEntry{Path: f, PathType: "hardlink"}
		if strings.Contains(files[f], hold) {
			p.PrefixPlaceholder, p.FileMode = hold, "text"
			if strings.Contains(files[f], "\x00") {
				p.FileMode = "binary"
			}
		}
		paths = append(paths, p)
	}
	index, _ := json.Marshal(r)
	list, _ := json.Marshal(map[string]any{"paths": paths, "paths_version": 1})
	info := map[string]string{"info/index.json": string(index), "info/paths.json": string(list)}
	var b bytes.Buffer
	if strings.HasSuffix(fn, ".tar.bz2") {
		all := map[string]string{}
		for _, m := range []map[string]string{info, files} {
			for k, v := range m {
				all[k] = v
			}
		}
		w, err := bzip2.NewWriter(&b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(tarOf(t, all)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(&b)
	for name, data := range map[string][]byte{"metadata.json": []byte(`{"conda_pkg_format_version": 2}`),
		"pkg-x.tar.zst": enc.EncodeAll(tarOf(t, files), nil), "info-x.tar.zst": enc.EncodeAll(tarOf(t, info), nil)} {
		f, err := zw.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// site is a base prefix, a home, and a channel on loopback.
type site struct {
	t                *testing.T
	root, home, pkgs string
	url              string
	files            map[string][]byte // by file name
	requests         []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, root: t.TempDir(), home: t.TempDir(), pkgs: t.TempDir(), files: map[string][]byte{}}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "CONDA") ||
			strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("CONDA_ROOT_PREFIX", s.root)
	t.Setenv("HOME", s.home)
	t.Setenv("CONDA_PKGS_DIRS", s.pkgs)
	if err := os.MkdirAll(filepath.Join(s.root, "conda-meta"), 0o755); err != nil {
		t.Fatal(err)
	}
	packages := []struct {
		fn    string
		r     *record
		files map[string]string
	}{
		{"one-1.0-0.conda", &record{Name: "one", Version: "1.0", Build: "0", Depends: []string{"two"}},
			map[string]string{"bin/one": "#!/bin/sh\necho " + hold + "\n",
				"lib/one.bin": "x\x00" + hold + "/share\x00y", "share/one.txt": "plain"}},
		{"two-1.0-0.tar.bz2", &record{Name: "two", Version: "1.0", Build: "0"},
			map[string]string{"share/two.txt": "two"}},
	}
	repo := repodata{Packages: map[string]*record{}, Conda: map[string]*record{}}
	for _, p := range packages {
		p.r.Subdir, p.r.Noarch = "noarch", "generic"
		data := archive(t, p.fn, p.r, p.files)
		s.files[p.fn] = data
		r := *p.r
		r.MD5, r.SHA256, r.Size = fmt.Sprintf("%x", md5.Sum(data)), fmt.Sprintf("%x", sha256.Sum256(data)),
			int64(len(data))
		if strings.HasSuffix(p.fn, ".conda") {
			repo.Conda[p.fn] = &r
		} else {
			repo.Packages[p.fn] = &r
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests = append(s.requests, r.URL.Path)
		base := filepath.Base(r.URL.Path)
		switch data, ok := s.files[base]; {
		case r.URL.Path == "/ch/noarch/repodata.json":
			_ = json.NewEncoder(w).Encode(repo)
		case r.URL.Path == "/ch/linux-64/repodata.json":
			_, _ = io.WriteString(w, `{"packages": {}}`)
		case ok:
			_, _ = w.Write(data)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/ch"
	return s
}

// conda runs the program.
func (s *site) conda(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(s.t.Context(), args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func (s *site) md5(fn string) string {
	sum := md5.Sum(s.files[fn])
	return hex.EncodeToString(sum[:])
}

// explicit writes an explicit file.
func (s *site) explicit(lines ...string) string {
	f := filepath.Join(s.home, "explicit.txt")
	if err := os.WriteFile(f, []byte("@EXPLICIT\n"+strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s *site) put(file string, data []byte) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func readJSON(t *testing.T, text string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return m
}
