package uv_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/internal/world"
)

// target is the environment that most tests resolve for.
func target() pylock.Target {
	return pylock.Target{Python: "3.11.9", Platform: "linux/amd64", Glibc: "2.35"}
}

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := shared(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// shared is a directory for what tests bring from the real index once.
var shared = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "raybuild-uv-") })

// gateway is one to the Python index of this machine. The test is left out where that does not answer.
func gateway(t *testing.T) *fetch.Fetcher {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: it asks a real Python index")
	}
	index := world.Index()
	if err := world.Answers(t.Context(), index); err != nil {
		t.Skip(err)
	}
	host := hostconf.Read(hostconf.This(os.Getenv))
	var certs []string
	for _, v := range host.Certs {
		certs = append(certs, v.Text)
	}
	f, err := fetch.New(fetch.Options{
		Store: t.TempDir(), HTTPSHosts: []string{"pypi.org", "files.pythonhosted.org"}, Certs: certs,
		Logins: host.Logins,
		Candidates: func(u *url.URL) []fetch.Candidate {
			if project, ok := strings.CutPrefix(u.Path, "/simple/"); ok && u.Host == "pypi.org" {
				return []fetch.Candidate{{URL: index + "/" + project}}
			}
			if u.Host == "files.pythonhosted.org" {
				return []fetch.Candidate{{URL: u.String()}}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// program is the real uv. It is kept in the cache of tests, where there is one.
func program(t *testing.T) string {
	t.Helper()
	w, err := uv.HostWheel()
	if err != nil {
		t.Skip(err)
	}
	dir, err := shared()
	if cache, err := world.TestCache(); err == nil {
		if st, err := os.Stat(cache); err == nil && st.IsDir() {
			dir = filepath.Join(cache, "uv")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	f := lazily{func() *fetch.Fetcher {
		f := gateway(t)
		f.Add(fetch.Item{Digest: digest.NewDigestFromEncoded(digest.SHA256, w.SHA256), Size: w.Size, URL: w.URL()})
		return f
	}}
	path, err := uv.Ensure(t.Context(), dir, f)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// lazily opens a gateway when an artifact is wanted.
type lazily struct{ open func() *fetch.Fetcher }

func (l lazily) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	return l.open().Open(ctx, d)
}

func resolver(t *testing.T, dir string) *uv.Resolver {
	t.Helper()
	f := gateway(t)
	r, err := uv.New(uv.Options{Program: program(t), Dir: dir, Gateway: f})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func timed(t *testing.T, what string, r *uv.Resolver, q uv.Question) (*uv.Answer, error) {
	t.Helper()
	start := time.Now()
	a, err := r.Resolve(context.WithoutCancel(t.Context()), q)
	took := time.Since(start).Round(time.Millisecond)
	if err == nil {
		t.Logf("%s: %d packages, %d requests, %v", what, len(a.Packages), a.Requests, took)
	} else {
		t.Logf("%s: %v (%v)", what, err, took)
	}
	return a, err
}

func held(a *uv.Answer) []uv.Held {
	var out []uv.Held
	for _, p := range a.Packages {
		out = append(out, uv.Held{Name: p.Name, Version: p.Version, URL: p.URL, SHA256: p.SHA256, Size: p.Size})
	}
	return out
}

// TestImageB measures what the issue asks for. It runs with RAYBUILD_UV_MEASURE alone.
func TestImageB(t *testing.T) {
	if os.Getenv("RAYBUILD_UV_MEASURE") == "" {
		t.Skip("RAYBUILD_UV_MEASURE is not set")
	}
	dir := t.TempDir()
	q := uv.Question{Target: target(), Requirements: []string{"ray[default,tune,rllib]==2.60.0", "requests", "torch",
		"msgpack-numpy"}}
	r := resolver(t, dir)
	b, err := timed(t, "B, empty cache", r, q)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = timed(t, "B again, no lock", r, q)
	more := q
	more.Requirements = append(more.Requirements, "tabulate")
	more.Held = held(b)
	_, _ = timed(t, "B and tabulate, held", r, more)
	_, _ = timed(t, "B and tabulate, held again", r, more)
	for i := range more.Held {
		more.Held[i].URL = ""
	}
	_, _ = timed(t, "B and tabulate, preferences", r, more)
	more.Held = held(b)
	_, _ = timed(t, "B and tabulate, held, empty cache", resolver(t, t.TempDir()), more)
}

// TestRealIndex resolves a few packages of the real index.
func TestRealIndex(t *testing.T) {
	a, err := timed(t, "a few packages", resolver(t, t.TempDir()), uv.Question{Target: target(),
		Requirements: []string{"requests[socks]>=2.30", "numpy<2"},
		Installed:    []uv.Installed{{Name: "certifi", Version: "2023.1.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	names := found(a)
	for _, want := range []string{"requests 2.", "numpy 1.26.4", "pysocks 1.", "urllib3 "} {
		if !strings.Contains(names, want) {
			t.Errorf("%q is not in %s", want, names)
		}
	}
	if strings.Contains(names, "certifi") {
		t.Error(names)
	}
}

// TestNewRelease prints the table of another version of uv. It runs with RAYBUILD_UV_RELEASE=VERSION alone.
func TestNewRelease(t *testing.T) {
	version := os.Getenv("RAYBUILD_UV_RELEASE")
	if version == "" {
		t.Skip("RAYBUILD_UV_RELEASE is not set")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, world.Index()+"/uv/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.pypi.simple.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var page struct {
		Files []struct {
			Filename, URL string
			Size          int64
			Hashes        map[string]string
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	for _, f := range page.Files {
		if !strings.HasPrefix(f.Filename, "uv-"+version+"-") {
			continue
		}
		for host, part := range map[string]string{
			"linux/amd64": "musllinux_1_1_x86_64", "linux/arm64": "musllinux_1_1_aarch64",
			"darwin/amd64": "macosx_10_12_x86_64", "darwin/arm64": "macosx_11_0_arm64"} {
			if strings.Contains(f.Filename, part) {
				t.Logf("%s\n%s\n%s\n%d", host, f.URL[strings.Index(f.URL, "packages/"):], f.Hashes["sha256"], f.Size)
			}
		}
	}
}
