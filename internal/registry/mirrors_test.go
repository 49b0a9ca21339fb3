package registry

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// noHub is a network in which Docker Hub does not answer.
type noHub struct{ asked *atomic.Int32 }

// RoundTrip implements http.RoundTripper.
func (n noHub) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Hostname(), "docker.io") {
		n.asked.Add(1)
		return nil, syscall.ECONNREFUSED
	}
	return http.DefaultTransport.RoundTrip(r)
}

// behind is a client in such a network, with mirrors of Docker Hub.
func behind(t *testing.T, mirrors ...string) (*Client, *atomic.Int32, *[]string) {
	t.Helper()
	var all []Mirror
	for _, u := range mirrors {
		m, err := ParseMirror(u)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	var asked atomic.Int32
	var said []string
	return client(Options{Transport: noHub{&asked}, Mirrors: func(registry string) []Mirror {
		if registry != DockerHub {
			return nil
		}
		return all
	}, Log: func(format string, args ...any) { said = append(said, format) }}), &asked, &said
}

// TestCase10BaseFromAMirror reads an image of Docker Hub where only mirrors can be reached: one at a root, one below a
// path, one after a mirror that is dead, and one after a mirror that lacks the image.
func TestCase10BaseFromAMirror(t *testing.T) {
	t.Parallel()
	root, _ := start(t, nil)
	push(t, root+"/library/ubuntu:22.04", index(t))
	below, _ := start(t, nil)
	push(t, below+"/proxy/hub/library/ubuntu:22.04", index(t))
	lacks, _ := start(t, nil)
	fails, _ := start(t, faultyregistry.Refusing(func(*http.Request) bool { return true }, http.StatusBadGateway))
	for name, c := range map[string]struct {
		mirrors []string
		said    int // warnings
	}{
		"at its root":       {[]string{"http://" + root}, 0},
		"below a path":      {[]string{"http://" + below + "/proxy/hub"}, 0},
		"containerd's path": {[]string{"http://" + below + "/v2/proxy/hub/"}, 0},
		"a dead one first":  {[]string{"http://127.0.0.1:1", "http://" + root}, 1},
		"a broken one":      {[]string{"http://" + fails, "http://" + root}, 1},
		"one that lacks it": {[]string{"http://" + lacks, "http://" + root}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl, asked, said := behind(t, c.mirrors...)
			pinned, err := cl.Resolve(t.Context(), "ubuntu:22.04",
				ocispecs.Platform{OS: "linux", Architecture: "arm64"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(pinned.Ref, "docker.io/library/ubuntu:22.04@sha256:") {
				t.Errorf("the reference is %s, want Docker Hub's", pinned.Ref)
			}
			for _, d := range pinned.Layers {
				r, err := cl.OpenBlob(t.Context(), pinned.Ref, d, 0)
				if err != nil {
					t.Fatal(err)
				}
				got, err := digest.FromReader(r)
				if err := errors.Join(err, r.Close()); err != nil || got != d {
					t.Errorf("layer %s has the digest %s (%v)", d, got, err)
				}
			}
			if _, ok, err := cl.Manifest(t.Context(), pinned.Ref); err != nil || !ok {
				t.Errorf("the manifest: %v, %v", ok, err)
			}
			if asked.Load() > 0 || len(*said) != c.said {
				t.Errorf("Docker Hub was asked %d times, and the client says %q, want %d warnings", asked.Load(), *said,
					c.said)
			}
		})
	}
}

// TestCase10MirrorThatLies gives other bytes than the digest's: the next place is asked.
func TestCase10MirrorThatLies(t *testing.T) {
	t.Parallel()
	honest, _ := start(t, nil)
	d := push(t, honest+"/library/ubuntu:22.04", index(t))
	liar, _ := start(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
				_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
			}
		})
	})
	cl, _, said := behind(t, "http://"+liar, "http://"+honest)
	got, ok, err := cl.Manifest(t.Context(), "ubuntu@"+d)
	if err != nil || !ok || got.Digest.String() != d {
		t.Errorf("the manifest is %s (%v, %v), want %s", got.Digest, ok, err, d)
	}
	if len(*said) != 1 {
		t.Errorf("the client says %q, want a warning", *said)
	}
}

// TestCase10TagsOfPushedImages: what a tag of a pushed image names, the registry itself says. A mirror may be behind.
func TestCase10TagsOfPushedImages(t *testing.T) {
	t.Parallel()
	behindIt, requests := start(t, nil)
	push(t, behindIt+"/team/ray:1", index(t))
	cl, asked, _ := behind(t, "http://"+behindIt)
	if _, _, err := cl.Head(t.Context(), "team/ray:1"); err == nil {
		t.Error("a mirror says what a tag of a pushed image is")
	}
	if _, _, err := cl.Manifest(t.Context(), "team/ray:1"); err == nil {
		t.Error("a mirror gives the manifest of a pushed image's tag")
	}
	if asked.Load() == 0 || requests.count("GET /v2/team/ray/manifests/1") > 0 {
		t.Errorf("Docker Hub was asked %d times", asked.Load())
	}
}

// TestCase10NoMirror names the way out.
func TestCase10NoMirror(t *testing.T) {
	t.Parallel()
	cl, _, _ := behind(t)
	_, err := cl.Resolve(t.Context(), "ubuntu:22.04", ocispecs.Platform{OS: "linux", Architecture: "amd64"})
	if err == nil || !strings.Contains(err.Error(), "mirrors: {fetch: [{registry: https://MIRROR}, official]}") {
		t.Errorf("the error names no mirror: %v", err)
	}
}

// TestParseMirror lists what is a mirror's URL.
func TestParseMirror(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Mirror{
		"https://m.example": {Host: "m.example"}, "https://m.example/": {Host: "m.example"},
		"http://10.0.0.5:5000":           {Host: "10.0.0.5:5000", Insecure: true},
		"https://h.example/v2/dockerhub": {Host: "h.example", Path: "dockerhub"},
		"https://h.example/a/b-c/":       {Host: "h.example", Path: "a/b-c"},
		"ftp://h.example":                {},
		"https://h.example/A":            {},
		"https://u:geheim@h.example":     {},
		"https://h.example?x=1":          {},
		"https://h.example/../x":         {},
		"m.example":                      {},
		"http://[::1]:5000/x":            {Host: "[::1]:5000", Path: "x", Insecure: true},
	} {
		got, err := ParseMirror(text)
		if got != want || (err != nil) != (want == Mirror{}) {
			t.Errorf("%s is %+v (%v), want %+v", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
