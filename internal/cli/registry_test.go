package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
)

// serve runs "raybuild registry serve" on a free port until the test ends, and gives the address that it printed.
func serve(t *testing.T, dir string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	a := &app{stdin: strings.NewReader(""), stdout: w, stderr: io.Discard, dir: dir,
		getenv: func(string) string { return "" }}
	root := a.rootCommand()
	root.SetArgs([]string{"registry", "serve", "--dir", "images", "127.0.0.1:0"})
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		done <- errors.Join(err, w.CloseWithError(err))
	}()
	line := make([]byte, 100)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return strings.TrimSpace(string(line[:n]))
}

// pushed puts an image of three layers into a registry.
func pushed(t *testing.T, to string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestInspect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host := serve(t, dir)
	img := pushed(t, host+"/ray:1")
	if got := call(t, dir, "inspect", "--lock", host+"/ray:1"); got.code != exitFailed ||
		!strings.Contains(got.stderr, "carries no lock") {
		t.Errorf("lock of an image without one: %+v", got)
	}
	if _, err := registry.New(registry.Options{}).Attach(t.Context(), host+"/ray:1",
		registry.Document{ArtifactType: "application/vnd.raybuild.lock.v1+yaml",
			Data: []byte("version: 1\n")}); err != nil {
		t.Fatal(err)
	}
	if got := call(t, dir, "inspect", "--lock", host+"/ray:1"); got.code != exitDone || got.stdout != "version: 1\n" {
		t.Errorf("lock: %+v", got)
	}
	hash, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, dir, "inspect", host+"/ray:1"); !strings.Contains(got.stdout, host+"/ray@"+hash.String()) ||
		strings.Count(got.stdout, "random") != 3 {
		t.Errorf("text: %+v", got)
	}
	var report raybuild.Inspection
	got := call(t, dir, "inspect", "--json", host+"/ray:1")
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Lock != "version: 1\n" ||
		len(report.Platforms[0].Layers) != 3 {
		t.Errorf("json: %v, %+v", err, report)
	}
	if got := call(t, dir, "inspect", host+"/ray:2"); got.code != exitFailed ||
		!strings.Contains(got.stderr, "no such image") {
		t.Errorf("missing image: %+v", got)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	got := call(t, t.TempDir(), "doctor", "--json")
	var d raybuild.Diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if (d.Builder == "") != (got.code == exitFailed) {
		t.Errorf("builder %q, code %d", d.Builder, got.code)
	}
	for _, f := range d.Findings {
		if !f.OK && f.Fix == "" {
			t.Errorf("%s is not right, and nothing says how to mend it: %s", f.Name, f.Detail)
		}
	}
	dead := call(t, t.TempDir(), "doctor", "--builder", "unix:///nowhere/buildkitd.sock")
	if dead.code != exitFailed || !strings.Contains(dead.stdout, "unix:///nowhere/buildkitd.sock") {
		t.Errorf("a builder that is not there: %+v", dead)
	}
}

// TestL4InspectShowsNoEscapes: an image's texts would move the cursor, or give the terminal another title.
func TestL4InspectShowsNoEscapes(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[2Jb\x07"
	i := &raybuild.Inspection{Ref: "r", Graph: evil, Platforms: []raybuild.ImagePlatform{{BaseName: evil,
		Layers: []raybuild.ImageLayer{{History: evil}}}}}
	i.Platforms[0].Config.Cmd, i.Platforms[0].Config.User = []string{evil}, evil
	if text := inspectText(i); strings.ContainsAny(text, "\x1b\x07") || strings.Count(text, `a\x1b[2Jb\a`) != 5 {
		t.Errorf("it shows %q", text)
	}
}
