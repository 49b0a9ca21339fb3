package uv_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/uv"
)

// index is PyPI and an index of our own, behind one server. Its wheels hold metadata and nothing else.
type index struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte                             // by path
	pages map[string][]map[string]any                   // by root and project
	asked []string                                      // paths
	fail  func(http.ResponseWriter, *http.Request) bool // answers in place of the index
}

func newIndex(t *testing.T) *index {
	i := &index{files: map[string][]byte{}, pages: map[string][]map[string]any{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, r.URL.Path)
	if i.fail != nil && i.fail(w, r) {
		return
	}
	if files, ok := i.pages[strings.TrimSuffix(r.URL.Path, "/")]; ok {
		w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
		_ = json.NewEncoder(w).Encode(map[string]any{"meta": map[string]string{"api-version": "1.0"},
			"name": filepath.Base(r.URL.Path), "files": files})
		return
	}
	data, ok := i.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// requests are the paths that were asked for since the last call.
func (i *index) requests() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := i.asked
	i.asked = nil
	return out
}

func metadata(name, version string, requires ...string) string {
	s := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	for _, r := range requires {
		s += "Requires-Dist: " + r + "\n"
	}
	return s
}

func wheelBytes(t *testing.T, name, version string, requires ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for file, text := range map[string]string{"METADATA": metadata(name, version, requires...), "RECORD": "",
		"WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"} {
		w, err := z.Create(fmt.Sprintf("%s-%s.dist-info/%s", name, version, file))
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sdistBytes is a source distribution that only a build tells the requirements of.
func sdistBytes(t *testing.T, name, version string) []byte {
	t.Helper()
	return sdistWith(t, name, version, metadata(name, version))
}

// sdistWith is a source distribution with the text of its PKG-INFO.
func sdistWith(t *testing.T, name, version, info string) []byte {
	t.Helper()
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	for file, text := range map[string]string{"PKG-INFO": info,
		"setup.py": "open('/tmp/ran', 'w')\n"} {
		err := w.WriteHeader(&tar.Header{Name: name + "-" + version + "/" + file, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if w.Close() != nil || g.Close() != nil {
		t.Fatal("close")
	}
	return b.Bytes()
}

// add puts a file on a page; root is "" for PyPI, "/own" for the other index.
func (i *index) add(root, file string, data []byte, more map[string]any) string {
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	project := strings.ReplaceAll(file[:strings.Index(file, "-")], "_", "-")
	path := fmt.Sprintf("%s/packages/%s/%s/%s/%s", root, hash[:2], hash[2:4], hash[4:], file)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.files[path] = data
	entry := map[string]any{"filename": file, "url": path, "size": len(data),
		"hashes": map[string]string{"sha256": hash}}
	for k, v := range more {
		entry[k] = v
	}
	page := root + "/simple/" + project
	i.pages[page] = append(i.pages[page], entry)
	return hash
}

// wheel puts a wheel on PyPI.
func (i *index) wheel(t *testing.T, name, version string, requires ...string) string {
	data := wheelBytes(t, name, version, requires...)
	return i.add("", fmt.Sprintf("%s-%s-py3-none-any.whl", name, version), data, nil)
}

// resolver resolves with the real uv from this index.
func (i *index) resolver(t *testing.T, dir string) *uv.Resolver {
	t.Helper()
	program := program(t)
	f, err := fetch.New(fetch.Options{Store: t.TempDir(), Netrc: "-", Backoff: time.Millisecond,
		HTTPSHosts: []string{"pypi.org", "files.pythonhosted.org"},
		Candidates: func(u *url.URL) []fetch.Candidate {
			switch u.Host {
			case "pypi.org", "files.pythonhosted.org":
				return []fetch.Candidate{{Mirror: "m", URL: i.URL + u.EscapedPath()}}
			case "own.example":
				return []fetch.Candidate{{Mirror: "m", URL: i.URL + "/own" + u.EscapedPath()}}
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := uv.New(uv.Options{Program: program, Dir: dir, Gateway: f})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found is an answer's packages.
func found(a *uv.Answer) string {
	if a == nil {
		return ""
	}
	var out []string
	for _, p := range a.Packages {
		out = append(out, p.Name+" "+p.Version)
	}
	return strings.Join(out, ", ")
}

// leftIn are the runs that were not cleaned up.
func leftIn(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func asksFor(requests []string, part string) bool {
	return slices.ContainsFunc(requests, func(r string) bool { return strings.Contains(r, part) })
}
