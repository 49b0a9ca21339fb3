package launcher

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/registry"
)

// bundleOf is a bundle with an image of the bed's registry.
func (b *bed) bundleOf(t *testing.T, ref string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := registry.New(registry.Options{Insecure: []string{b.Registry}})
	image, err := c.Inspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(image.Raw, &m); err != nil {
		t.Fatal(err)
	}
	for _, l := range append(m.Layers, m.Config) {
		if _, err := w.Put(t.Context(), l.Digest, "layer", func(ctx context.Context) (io.ReadCloser, error) {
			return c.OpenBlob(ctx, ref, l.Digest, 0)
		}); err != nil {
			t.Fatal(err)
		}
	}
	at, err := w.Bytes(t.Context(), image.MediaType, image.Raw)
	if err == nil {
		_, _, err = w.Finish(t.Context(), bundle.Content{Images: []bundle.Image{
			{Ref: "registry.example/team/ray:1", Role: bundle.RoleImage, Manifest: at}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// serveBundle runs "raybuild registry serve --bundle" where the hosts reach it.
func (b *bed) serveBundle(t *testing.T, dir string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, buildProgram(t), "registry", "serve", "--bundle", dir, b.Net+".1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("raybuild registry serve --bundle: no address: %v", err)
	}
	return strings.TrimSpace(addr)
}

// Hosts without a way out pull the image of a bundle that raybuild serves, and start a cluster of it. Ray is miniray
// here: a stand-in that counts nodes and runs nothing.
func TestBundleStartsACluster(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "bundled")
	_, d, _ := strings.Cut(b.moved, "@")
	addr := b.serveBundle(t, b.bundleOf(t, b.moved))
	image := addr + "/team/ray@" + digest.Digest(d).String()
	s, err := cluster.Up(t.Context(), b.Spec(t, "bundled", image, "", 2), b.Options(t))
	if err != nil || !s.Healthy || s.Alive != 2 {
		t.Fatalf("up with the bundle's image: %v\n%s", err, s)
	}
}
