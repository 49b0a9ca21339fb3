package sources

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

const wheelFile = "numpy-2.1.0-py3-none-any.whl"

// indexOf serves one file by a layout: where its page links it, seen from the page.
func indexOf(t *testing.T, layout string, data []byte) layers.Mirror {
	t.Helper()
	page := "/repository/pypi/simple/numpy/"
	at, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	file, err := at.Parse(layout + wheelFile)
	if err != nil {
		t.Fatal(err)
	}
	href := layout + wheelFile + "#sha256=" + digest.FromBytes(data).Encoded()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case page:
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, "<a href=%q>%s</a>", href, wheelFile)
		case file.Path:
			_, _ = w.Write(data)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return layers.Mirror{Name: srv.URL, Own: true, PipIndex: srv.URL + "/repository/pypi/simple",
		PipFiles: srv.URL + "/repository/pypi"}
}

func sourcesOf(t *testing.T, m layers.Mirror) *Sources {
	t.Helper()
	recipe, err := layers.LoadRecipe([]byte("pip: [numpy]"), "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Store: t.TempDir(), Registry: registry.New(registry.Options{}), Recipe: recipe,
		Mirrors: []layers.Mirror{m}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Case 17: a lock that was made behind one kind of index is built behind any other: files are found by name and digest.
func TestCase17LocksOfOtherIndexes(t *testing.T) {
	t.Setenv("NETRC", "/dev/null")
	hash := "ab/cd/" + strings.Repeat("0", 60) + "/"
	layouts := map[string]string{
		"PyPI":        "../../packages/" + hash,
		"Nexus":       "../../packages/numpy/2.1.0/",
		"Artifactory": "../../packages/packages/" + hash,
		"devpi":       "../../+f/abc/def0123456789/",
		"a directory": "",
	}
	data := []byte("the wheel")
	link := regexp.MustCompile(`href="([^"#]+)`)
	for made, layout := range layouts {
		// The page as a resolver in the sandbox and uv see it.
		page := get(t, sourcesOf(t, indexOf(t, layout, data)), "https://pypi.org/simple/numpy/")
		m := link.FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("%s: no link on the page %q", made, page)
		}
		u, err := url.Parse(m[1])
		if err != nil || u.Host != "files.pythonhosted.org" || u.RawQuery != "" {
			t.Errorf("%s: the page links %q, want a canonical place: %v", made, m[1], err)
			continue
		}
		locked := layers.Artifact{Kind: layers.KindWheel, Name: "numpy", Version: "2.1.0", Origin: "pypi",
			Path: strings.TrimPrefix(u.EscapedPath(), "/"), SHA256: digest.FromBytes(data).Encoded(),
			Size: int64(len(data))}
		for built, other := range layouts {
			s := sourcesOf(t, indexOf(t, other, data))
			s.Know([]layers.Artifact{locked}, nil)
			if got, err := readArtifact(t, s, locked); err != nil || got != string(data) {
				t.Errorf("locked behind %s as %s, built behind %s: %q, %v", made, locked.Path, built, got, err)
			}
			s = sourcesOf(t, indexOf(t, other, []byte("another wheel")))
			s.Know([]layers.Artifact{locked}, nil)
			_, err := readArtifact(t, s, locked)
			if none, ok := errors.AsType[*fetch.NotFoundError](err); !ok || !none.Withdrawn() {
				t.Errorf("locked behind %s, built behind %s, where the file has another digest: %v", made, built, err)
			}
		}
	}
}

func readArtifact(t *testing.T, s *Sources, a layers.Artifact) (string, error) {
	t.Helper()
	r, _, err := s.Open(t.Context(), a.Digest())
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

// Case 17: PyPI itself is asked by name where the lock has another index's path.
func TestCase17PyPIIsAskedByName(t *testing.T) {
	t.Parallel()
	official, _ := layers.Preset("official")
	for path, want := range map[string]bool{
		"packages/numpy/2.1.0/" + wheelFile:                                    true,
		"packages/packages/ab/cd/" + strings.Repeat("0", 60) + "/" + wheelFile: true,
		"packages/" + wheelFile:                                                true,
		"packages/ab/cd/" + strings.Repeat("0", 60) + "/" + wheelFile:          false, // it is there
	} {
		got := false
		u := &url.URL{Scheme: "https", Host: "files.pythonhosted.org", Path: "/" + path}
		for _, c := range (&layers.Recipe{}).Candidates([]layers.Mirror{official}, u, time.Time{}) {
			got = got || c.Index == "https://pypi.org/simple/numpy/"
		}
		if got != want {
			t.Errorf("%s is looked up on PyPI's page: %v, want %v", path, got, want)
		}
	}
}
