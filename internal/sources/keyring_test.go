package sources

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// Case 36: a private index gets the login that the environment or keyring has, and nobody else gets it.
func TestCase36PrivateIndex(t *testing.T) {
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "joe" || password != "s3cret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte("<a href='ours-1-py3-none-any.whl'>ours</a>"))
	}))
	defer guarded.Close()
	open := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("a server without a login was sent %q", r.Header.Get("Authorization"))
		}
	}))
	defer open.Close()
	bin := t.TempDir()
	asked := filepath.Join(bin, "asked")
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%q\n[ \"$1 $3\" = 'get joe' ] && echo s3cret\n", asked)
	if err := os.WriteFile(filepath.Join(bin, "keyring"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("NETRC", "/dev/null")
	with := func(login string) string { return strings.Replace(guarded.URL, "://", "://"+login+"@", 1) + "/simple" }
	for _, c := range []struct {
		name string
		env  map[string]string
		asks int // of keyring
		err  string
	}{
		{"the variable of CI", map[string]string{"PIP_EXTRA_INDEX_URL": with("joe:s3cret")}, 0, ""},
		{"uv's variables", map[string]string{"UV_INDEX": "corp=" + guarded.URL + "/simple",
			"UV_INDEX_CORP_USERNAME": "joe", "UV_INDEX_CORP_PASSWORD": "s3cret"}, 0, ""},
		{"keyring", map[string]string{"PIP_EXTRA_INDEX_URL": with("joe"), "PIP_KEYRING_PROVIDER": "subprocess"}, 1, ""},
		{"a token that has expired", map[string]string{"PIP_EXTRA_INDEX_URL": with("joe:old")}, 0,
			`401 Unauthorized: the password of "joe" is wrong or has expired`},
		{"nothing", nil, 0, "401 Unauthorized: there is no login for it: put one into ~/.netrc (machine, login, " +
			"password; a default entry is not used), or into the URL of PIP_EXTRA_INDEX_URL"},
		{"keyring is not asked unless pip or uv are to ask it", map[string]string{"PIP_EXTRA_INDEX_URL": with("joe")},
			0, "401 Unauthorized"},
	} {
		if err := os.WriteFile(asked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("pip: {extra_indexes: [{url: %q, packages: [ours]}, {url: %q, packages: [theirs]}]}",
			guarded.URL+"/simple", open.URL+"/simple")
		recipe, err := layers.LoadRecipe([]byte(text), "raybuild.yaml", nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Store: t.TempDir(), Registry: registry.New(registry.Options{}), Recipe: recipe,
			Host: hostconf.Read(hostconf.Machine{Getenv: func(n string) string { return c.env[n] },
				Files: fstest.MapFS{}, Dir: "/"})})
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for range 3 { // keyring is asked once
			said = get(t, s, guarded.URL+"/simple/ours/")
		}
		get(t, s, open.URL+"/simple/theirs/")
		calls, err := os.ReadFile(asked)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(calls), "\n"); n != c.asks {
			t.Errorf("%s: keyring was asked %d times, want %d: %s", c.name, n, c.asks, calls)
		}
		if want := c.err; want == "" && !strings.Contains(said, "ours-1") || !strings.Contains(said, want) {
			t.Errorf("%s: got %q, want %q", c.name, said, want)
		}
		if strings.Contains(said, "s3cret") || strings.Contains(said, "old@") {
			t.Errorf("%s: the answer shows a password: %s", c.name, said)
		}
	}
}

// get is what a page says, or why there is none.
func get(t *testing.T, s *Sources, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := s.Client().Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text := make([]byte, 4096)
	n, _ := resp.Body.Read(text)
	return string(text[:n])
}
