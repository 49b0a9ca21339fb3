package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// run serves dir until the function that it gives is called.
func run(t *testing.T, dir string) (string, func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, dir) }()
	return ln.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func TestServeSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, stop := run(t, dir)
	d := push(t, host+"/team/ray:1", index(t))
	if err := client(Options{}).Tag(t.Context(), host+"/team/ray:1", host+"/team/ray:latest"); err != nil {
		t.Fatal(err)
	}
	if _, err := client(Options{}).Attach(t.Context(), host+"/team/ray:1",
		Document{ArtifactType: lockType, Data: []byte("lock")}); err != nil {
		t.Fatal(err)
	}
	stop()
	host, stop = run(t, dir)
	defer stop()
	for _, ref := range []string{host + "/team/ray:1", host + "/team/ray:latest", host + "/team/ray@" + d} {
		if err := client(Options{}).Validate(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
	got, err := client(Options{}).Attached(t.Context(), host+"/team/ray:1", lockType)
	if err != nil || len(got) != 1 || string(got[0].Data) != "lock" {
		t.Errorf("attached %+v, %v", got, err)
	}
}

func TestServeOneDirectoryOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, stop := run(t, dir)
	defer stop()
	if err := client(Options{}).CanPush(t.Context(), host+"/ray"); err != nil { // it has the directory by now
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), ln, dir); err == nil || !strings.Contains(err.Error(), "another registry serves it") {
		t.Errorf("a second registry on the directory: %v", err)
	}
}

func TestServeManyAtOnce(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	images := make([]func() error, 6)
	for i := range images {
		img, ref := image(t, amd64(), nil), fmt.Sprintf("%s/ray%d:1", host, i%2)
		images[i] = func() error {
			c := client(Options{})
			parsed, _, err := c.parse(ref)
			if err != nil {
				return err
			}
			if err := c.pusher.Push(context.WithoutCancel(t.Context()), parsed, img); err != nil {
				return err
			}
			return c.Validate(context.WithoutCancel(t.Context()), ref)
		}
	}
	var g errgroup.Group
	for _, one := range images {
		g.Go(one)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// ask sends one request and gives status, headers and body.
func ask(t *testing.T, method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func TestServeUploads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	handler, unlock, err := openServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	host, _ := serveHandler(t, handler, nil)
	base := "http://" + host
	blob := []byte("0123456789")
	d := digest.FromBytes(blob)
	open := func() string {
		resp, _ := ask(t, "POST", base+"/v2/ray/blobs/uploads/", nil)
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("open: %s", resp.Status)
		}
		return base + resp.Header.Get("Location")
	}
	expect := func(t *testing.T, resp *http.Response, status int) {
		t.Helper()
		if resp.StatusCode != status {
			t.Errorf("%s %s: %s, want %d", resp.Request.Method, resp.Request.URL.Path, resp.Status, status)
		}
	}
	t.Run("in chunks, each once", func(t *testing.T) {
		up := open()
		resp, _ := ask(t, "PATCH", up, bytes.NewReader(blob[:4]), "Content-Range", "0-3")
		expect(t, resp, 202)
		resp, _ = ask(t, "PATCH", up, bytes.NewReader(blob[:4]), "Content-Range", "0-3")
		expect(t, resp, 416)
		resp, _ = ask(t, "GET", up, nil)
		if resp.Header.Get("Range") != "0-3" {
			t.Errorf("progress %q", resp.Header.Get("Range"))
		}
		resp, _ = ask(t, "PUT", up+"?digest="+d.String(), bytes.NewReader(blob[4:]))
		expect(t, resp, 201)
		resp, body := ask(t, "GET", base+"/v2/ray/blobs/"+d.String(), nil, "Range", "bytes=7-")
		expect(t, resp, 206)
		if body != "789" || resp.Header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("range: %q, %v", body, resp.Header)
		}
		resp, _ = ask(t, "PUT", up+"?digest="+d.String(), nil)
		expect(t, resp, 404)
	})
	t.Run("all at once, and with another hash", func(t *testing.T) {
		sha512 := digest.SHA512.FromBytes(blob)
		resp, _ := ask(t, "POST", base+"/v2/ray/blobs/uploads/?digest="+sha512.String(), bytes.NewReader(blob))
		expect(t, resp, 201)
		resp, body := ask(t, "GET", base+"/v2/ray/blobs/"+sha512.String(), nil)
		expect(t, resp, 200)
		if body != string(blob) {
			t.Errorf("body %q", body)
		}
	})
	t.Run("mounted from the repository that has it", func(t *testing.T) {
		other := base + "/v2/team/other/blobs/"
		resp, _ := ask(t, "HEAD", other+d.String(), nil)
		expect(t, resp, 404)
		resp, _ = ask(t, "POST", other+"uploads/?mount="+d.String()+"&from=nobody", nil)
		expect(t, resp, 202)
		resp, _ = ask(t, "DELETE", base+resp.Header.Get("Location"), nil)
		expect(t, resp, 204)
		resp, _ = ask(t, "POST", other+"uploads/?mount="+d.String()+"&from=ray", nil)
		expect(t, resp, 201)
		resp, _ = ask(t, "DELETE", base+"/v2/ray/blobs/"+d.String(), nil)
		expect(t, resp, 202)
		resp, _ = ask(t, "HEAD", base+"/v2/ray/blobs/"+d.String(), nil)
		expect(t, resp, 404)
		resp, body := ask(t, "GET", other+d.String(), nil)
		expect(t, resp, 200)
		if body != string(blob) {
			t.Errorf("the mounted blob is %q", body)
		}
	})
	t.Run("broken, and taken up where it broke", func(t *testing.T) {
		up := open()
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\n"+
			"Content-Length: 10\r\n\r\n0123", strings.TrimPrefix(up, base), host)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil { // the registry has noticed when it answers
			t.Fatal(err)
		}
		conn.Close()
		resp, _ := ask(t, "GET", up, nil)
		if resp.Header.Get("Range") != "0-3" {
			t.Errorf("after four of ten bytes the upload is at %q", resp.Header.Get("Range"))
		}
		resp, _ = ask(t, "PATCH", up, strings.NewReader("456789"), "Content-Range", "4-9")
		expect(t, resp, 202)
		resp, _ = ask(t, "PUT", up+"?digest="+d.String(), nil)
		expect(t, resp, 201)
	})
	t.Run("wrong bytes are refused", func(t *testing.T) {
		wrong := digest.FromString("something else")
		resp, _ := ask(t, "PUT", open()+"?digest="+wrong.String(), bytes.NewReader(blob))
		expect(t, resp, 400)
		resp, _ = ask(t, "HEAD", base+"/v2/ray/blobs/"+wrong.String(), nil)
		expect(t, resp, 404)
	})
	t.Run("of another repository, unknown or given up", func(t *testing.T) {
		up := open()
		resp, _ := ask(t, "PATCH", strings.Replace(up, "/v2/ray/", "/v2/other/", 1), bytes.NewReader(blob))
		expect(t, resp, 404)
		resp, _ = ask(t, "DELETE", up, nil)
		expect(t, resp, 204)
		resp, _ = ask(t, "PATCH", up, bytes.NewReader(blob))
		expect(t, resp, 404)
	})
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) != 0 {
		t.Errorf("uploads left: %v, %v", left, err)
	}
}

func TestServeManifests(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	base := "http://" + host + "/v2/ray/manifests/"
	put := func(target, manifest string) (*http.Response, string) {
		return ask(t, "PUT", base+target, strings.NewReader(manifest), "Content-Type",
			"application/vnd.oci.image.manifest.v1+json")
	}
	missing := digest.FromString("missing").String()
	for what, c := range map[string]struct{ target, manifest, says string }{
		"not JSON":            {"1", "{", "MANIFEST_INVALID"},
		"a blob is missing":   {"1", `{"config":{"digest":"` + missing + `"}}`, missing},
		"an image is missing": {"1", `{"manifests":[{"digest":"` + missing + `"}]}`, missing},
		"a digest is a path":  {"1", `{"layers":[{"digest":"sha256:../../lock"}]}`, "errors"},
		"wrong digest":        {missing, `{}`, "DIGEST_INVALID"},
		"bad tag":             {"-x", `{}`, "MANIFEST_UNKNOWN"},
		"too large":           {"1", `{"a":"` + strings.Repeat("x", maxManifest) + `"}`, "SIZE_INVALID"},
	} {
		t.Run(what, func(t *testing.T) {
			if resp, body := put(c.target, c.manifest); resp.StatusCode < 400 || resp.StatusCode >= 500 ||
				!strings.Contains(body, c.says) {
				t.Errorf("%s %s, want it refused with %q", resp.Status, body, c.says)
			}
		})
	}
	d := push(t, host+"/ray:1", image(t, amd64(), nil))
	if err := client(Options{}).Tag(t.Context(), host+"/ray:1", host+"/ray:2", host+"/ray:3"); err != nil {
		t.Fatal(err)
	}
	if _, body := ask(t, "GET", "http://"+host+"/v2/ray/tags/list?n=1&last=1",
		nil); body != `{"name":"ray","tags":["2"]}` {
		t.Errorf("tags %s", body)
	}
	if _, body := ask(t, "GET", "http://"+host+"/v2/_catalog", nil); body != `{"repositories":["ray"]}` {
		t.Errorf("catalog %s", body)
	}
	if resp, _ := ask(t, "DELETE", base+"2", nil); resp.StatusCode != http.StatusAccepted {
		t.Errorf("delete a tag: %s", resp.Status)
	}
	if _, ok, err := client(Options{}).Head(t.Context(), host+"/ray:1"); !ok || err != nil {
		t.Errorf("the other tags went with it: %v", err)
	}
	if resp, _ := ask(t, "DELETE", base+d, nil); resp.StatusCode != http.StatusAccepted {
		t.Errorf("delete a manifest: %s", resp.Status)
	}
	for _, tag := range []string{"1", "2", "3"} {
		if _, ok, err := client(Options{}).Head(t.Context(), host+"/ray:"+tag); ok || err != nil {
			t.Errorf("tag %s is still there: %v", tag, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, path := range []string{"ray/manifests/1", "a/b/blobs/uploads/", "../x/manifests/1",
		"a/../../b/blobs/sha256:0", "manifests/blobs/tags/list", "//blobs/x"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		repo, _, _, ok := split(path)
		if !ok {
			return
		}
		if clean := filepath.ToSlash(filepath.Clean(filepath.FromSlash(repo))); clean != repo ||
			!filepath.IsLocal(repo) || strings.Contains(repo, "_manifests") && strings.HasPrefix(repo, "_") {
			t.Errorf("split(%q) gives the repository %q, which is no plain path", path, repo)
		}
	})
}
