package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// pushed is a small image in a registry of its own: busybox, and a user with a home.
func pushed(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	passwd := []byte("root:x:0:0::/root:/bin/sh\nray:x:1000:1000::/home/ray:/bin/sh\n")
	for _, e := range []struct {
		h    tar.Header
		data []byte
	}{
		{tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "bin/sh", Typeflag: tar.TypeReg, Mode: 0o755}, program},
		{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, passwd},
		{tar.Header{Name: "home/ray/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: 1000, Gid: 1000}, nil},
	} {
		e.h.Size = int64(len(e.data))
		if err := w.WriteHeader(&e.h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{User: "1000:1000", WorkingDir: "/home/ray",
		Env: []string{"PATH=/bin", "GREETING=hello"}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- registry.Serve(ctx, ln, t.TempDir()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	ref, err := name.ParseReference(ln.Addr().String() + "/small:test")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func TestRunStartsACommandAsTheImageSays(t *testing.T) {
	testneeds.Root(t, "runc", "tar", "busybox")
	t.Setenv("TMPDIR", t.TempDir())
	ref := pushed(t)
	var out, said bytes.Buffer
	script := `echo $(exec -a id sh -u) $(pwd) $HOME $GREETING; echo mine > file`
	if err := runImage(t.Context(), ref, []string{"sh", "-ec", script}, &out, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	if got := strings.TrimSpace(out.String()); got != "1000 /home/ray /home/ray hello" {
		t.Errorf("the command said %q %s", got, &said)
	}
	if err := runImage(t.Context(), ref, []string{"sh", "-c", "exit 3"}, &out, &said); err == nil ||
		!strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a command that fails: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "raybuild-run-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestNumericUser(t *testing.T) {
	for user, want := range map[string][2]uint32{"": {0, 0}, "1000": {1000, 0}, "1000:100": {1000, 100}} {
		if u, err := numericUser(user); err != nil || u.UID != want[0] || u.GID != want[1] {
			t.Errorf("%q: %v %v", user, u, err)
		}
	}
	for _, user := range []string{"ray", "1000:users", "-1"} {
		if _, err := numericUser(user); err == nil {
			t.Errorf("%q is no error", user)
		}
	}
}
