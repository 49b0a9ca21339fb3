package build

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/signing/signingtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// closedSite is a network namespace without routes: nothing but its own loopback answers.
type closedSite struct {
	t    *testing.T
	name string
}

func newClosedSite(t *testing.T) *closedSite {
	t.Helper()
	testneeds.Root(t, "ip", "nsenter")
	s := &closedSite{t: t, name: fmt.Sprintf("rbair%d", os.Getpid())}
	s.ip("netns", "add", s.name)
	t.Cleanup(func() { s.ip("netns", "del", s.name) })
	s.ip("-n", s.name, "link", "set", "lo", "up")
	return s
}

func (s *closedSite) ip(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// home is a machine of the site that has nothing yet.
func (s *closedSite) home() *home {
	s.t.Helper()
	h := newHome(s.t)
	h.within = []string{"nsenter", "--net=/run/netns/" + s.name}
	return h
}

// serve starts "raybuild registry serve" in a home, and gives its address.
func serve(t *testing.T, h *home, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.command(ctx, append([]string{"registry", "serve", "127.0.0.1:0"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("raybuild registry serve %s: no address: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(addr)
}

// bundleReport is the part of bundle --json that tests look at.
type bundleReport struct {
	Digest    string
	Artifacts int
	Images    []string
	Bytes     int64
	New       int64 `json:"new_bytes"`
	Needs     []string
}

func (h *home) bundle(args ...string) (r bundleReport) {
	h.t.Helper()
	out := h.run(append([]string{"bundle", "--json"}, args...)...)
	if out.code != 0 {
		h.t.Fatalf("raybuild bundle %s: exit %d\n%s", strings.Join(args, " "), out.code, tail(out.stderr, 40))
	}
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil {
		h.t.Fatalf("raybuild bundle --json: %v\n%s", err, out.stdout)
	}
	return r
}

// A machine without any network builds the image of a bundle bit for bit, adds a package from a wheelhouse, and serves
// the finished image to hosts.
func TestBundleBuildsWithoutANetwork(t *testing.T) {
	h := warmHome(t)
	h.write("app/main.py", "print(1)\n")
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]"))
	dst := ref(t, "1")
	keys := t.TempDir()
	signingtest.Keys(t, keys, "ours")
	want := h.push(dst, "--sign", filepath.Join(keys, "ours.key")).meta
	dir := filepath.Join(t.TempDir(), "bundle")
	r := h.bundle("-o", dir, dst)
	if r.Artifacts == 0 || !slices.Contains(r.Needs, "app") || !slices.Contains(r.Images, dst) {
		t.Errorf("the bundle's report is %+v", r)
	}
	if again := h.bundle("-o", dir, dst); again.New != 0 || again.Digest != r.Digest {
		t.Errorf("the same bundle again wrote %d bytes, and has digest %s, want %s", again.New, again.Digest, r.Digest)
	}

	site := newClosedSite(t)
	closed := site.home()
	for _, name := range []string{"raybuild.yaml", "raybuild.lock", "app/main.py"} {
		closed.write(name, h.read(name))
	}
	registry := serve(t, closed, "--dir", t.TempDir())
	closed.refused(1, []string{"connect"}, "--frozen", "--push", registry+"/ray:0") // nothing answers there
	got := closed.push(registry+"/ray:1", "--fetch", dir, "--frozen")
	if got.meta.Digest != want.Digest {
		t.Errorf("without a network the image is %s, want %s", got.meta.Digest, want.Digest)
	}
	if n := got.meta.Raybuild.BytesFetched; n != 0 || !got.meta.tested() {
		t.Errorf("%d bytes were fetched, and the image was tested: %v", n, got.meta.tested())
	}
	if strings.Contains(got.stderr, "warning") {
		t.Errorf("the build warns:\n%s", got.stderr)
	}

	// From the bundle alone: what it has of the recipe, beside the local files.
	closed.write("raybuild.yaml", string(readFile(t, filepath.Join(dir, "raybuild.yaml"))))
	closed.write("raybuild.lock", string(readFile(t, filepath.Join(dir, "raybuild.lock"))))
	if own := closed.push(registry+"/ray:own", "--fetch", dir, "--frozen"); own.meta.Digest != want.Digest {
		t.Errorf("of the bundle's own recipe the image is %s, want %s", own.meta.Digest, want.Digest)
	}

	// A wheelhouse: two wheels, of which one needs the other and a package of the lock.
	closed.write("wheelhouse/site_app-1.0-py3-none-any.whl",
		pureWheel(t, "site_app", "import site_help\n", "site-help"))
	closed.write("wheelhouse/site_help-1.0-py3-none-any.whl", pureWheel(t, "site_help", "import click\n", "click"))
	closed.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]",
		"pip: {wheels: ['wheelhouse/*.whl']}"))
	added := closed.push(registry+"/ray:2", "--fetch", dir)
	if ran := added.meta.ran(); !slices.Equal(ran, []string{"pip-own"}) || !added.meta.tested() {
		t.Errorf("with a wheelhouse steps ran in %v, and the image was tested: %v\n%s", ran, added.meta.tested(),
			tail(added.stderr, 30))
	}

	// The finished image, as the bundle has it, for hosts of the site.
	served := serve(t, closed, "--bundle", dir)
	name := served + "/" + strings.TrimPrefix(dst, testEnv.Registry+"/")
	if out := closed.run("inspect", name); out.code != 0 || !strings.Contains(out.stdout, want.Digest) {
		t.Errorf("the served image is not %s: exit %d\n%s%s", want.Digest, out.code, out.stdout, out.stderr)
	}
	if out := closed.run("verify", "--fetch", dir, name); out.code != 0 {
		t.Errorf("the served image is not what recipe and lock give: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	closed.write("raybuild.yaml", shortRecipe("trust: {signed_by: [{key: ours.pub}]}"))
	closed.write("ours.pub", string(readFile(t, filepath.Join(keys, "ours.pub"))))
	out := closed.run("sbom", "--trust", "signed", "--format", "cyclonedx", name)
	if out.code != 0 || strings.Contains(out.stderr, "not believed") {
		t.Errorf("the served image's bill is not signed: exit %d\n%s", out.code, out.stderr)
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What is wrong with a bundle is an error that names it, the artifact and what to do.
func TestBundleThatIsDamaged(t *testing.T) {
	h := warmHome(t)
	whole := filepath.Join(t.TempDir(), "whole")
	h.bundle("-o", whole)
	for _, tt := range []struct {
		name   string
		damage func(dir string) string // gives the blob
		want   []string
	}{
		{"a flipped byte of a wheel", func(dir string) string { return flip(t, dir, "click-") },
			[]string{"click-", "damaged"}},
		{"a lost blob", func(dir string) string {
			blob := blobOf(t, dir, "click-")
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
			return blob
		}, []string{"click-", "missing or cut"}},
		{"no index", func(dir string) string {
			if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, []string{"not complete", "run raybuild bundle again"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bundle")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			blob := filepath.Base(tt.damage(dir))
			if blob == filepath.Base(dir) {
				blob = dir
			}
			cold := coldHome(t)
			cold.refused(1, append(tt.want, blob), "--fetch", dir, "--frozen", "--push", ref(t, "1"))
		})
	}
}

// blobOf is the file of the artifact whose name begins so.
func blobOf(t *testing.T, dir, prefix string) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || found != "" {
			return err
		}
		var m struct {
			Layers []struct {
				Digest      string
				Annotations map[string]string
			}
		}
		data := readFile(t, path)
		if len(data) < 1<<20 {
			_ = json.Unmarshal(data, &m) // most blobs are no documents
		}
		for _, l := range m.Layers {
			if strings.HasPrefix(l.Annotations["org.opencontainers.image.title"], prefix) {
				found = filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(l.Digest, "sha256:"))
			}
		}
		return nil
	})
	if err != nil || found == "" {
		t.Fatalf("no artifact %s… is in the bundle: %v", prefix, err)
	}
	return found
}

// flip changes a byte in the middle of an artifact.
func flip(t *testing.T, dir, prefix string) string {
	t.Helper()
	file := blobOf(t, dir, prefix)
	data := readFile(t, file)
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// An interrupted bundle is no bundle, and goes on where it was. A directory that holds something else stays.
func TestBundleGoesOn(t *testing.T) {
	h := warmHome(t)
	dir := filepath.Join(t.TempDir(), "bundle")
	want := h.bundle("-o", dir)
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	lost := blobOf(t, dir, "click-")
	size := int64(len(readFile(t, lost)))
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if got := h.bundle("-o", dir); got.New != size || got.Digest != want.Digest {
		t.Errorf("%d bytes were written again, want the lost wheel's %d; the digest is %s, want %s", got.New, size,
			got.Digest, want.Digest)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.txt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.refused(1, []string{"thesis.txt", "empty directory"}, "bundle", "-o", other)
	if left, err := os.ReadDir(other); err != nil || len(left) != 1 {
		t.Errorf("the other directory has %v (%v), want its own file alone", left, err)
	}
}

// A bundle that was copied to a registry is a source as well.
func TestBundleInARegistry(t *testing.T) {
	h := warmHome(t)
	dir := filepath.Join(t.TempDir(), "bundle")
	site := newClosedSite(t)
	closed := site.home()
	registry := serve(t, closed, "--dir", t.TempDir())
	h.bundle("-o", dir)
	for _, name := range []string{"raybuild.yaml", "raybuild.lock"} {
		closed.write(name, h.read(name))
	}
	// Inside, a bundle of the bundle: nothing is fetched, and it goes to the site's registry.
	inside := filepath.Join(t.TempDir(), "inside")
	if again := closed.bundle("-o", inside, "--fetch", dir, "--push", registry+"/bundles/ray:1"); again.Artifacts == 0 {
		t.Errorf("the second bundle is %+v", again)
	}
	start := time.Now()
	got := closed.push(registry+"/ray:1", "--fetch", "oci://"+registry+"/bundles/ray:1", "--frozen")
	if got.meta.Digest != warm.digest {
		t.Errorf("from a registry's bundle the image is %s, want %s", got.meta.Digest, warm.digest)
	}
	t.Logf("built in %.1f s", time.Since(start).Seconds())
}
