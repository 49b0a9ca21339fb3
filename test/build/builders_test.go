package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/buildx/store"
	"github.com/docker/buildx/util/confutil"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

// dockerd is a Docker Engine of the test's own. Its address is DOCKER_HOST's.
func dockerd(t *testing.T) (host string) {
	t.Helper()
	need(t)
	testneeds.Programs(t, "dockerd")
	dir, err := os.MkdirTemp("", "rbd") //nolint:usetesting // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	host = "unix://" + filepath.Join(dir, "docker.sock")
	var log bytes.Buffer
	cmd := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", host, "--iptables=false", "--bridge=none")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // by that signal
		if t.Failed() {
			t.Logf("dockerd's last words:\n%s", tail(log.String(), 15))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the Engine's state: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		if out, err := dockerCLI(ctx, host, "version", "--format", "{{.Server.Version}}"); err == nil {
			t.Logf("Docker Engine %s", strings.TrimSpace(out))
			return host
		}
		select {
		case <-ctx.Done():
			t.Fatalf("dockerd does not answer:\n%s", log.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func dockerCLI(ctx context.Context, host string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A Docker Engine on a graph driver cannot merge layers and knows none of BuildKit's exporters: the
// graph is laid out as a line, the image comes into the Engine's own store, the Engine pushes, and
// the tag is this graph for every other builder, too.
func TestDockerEngineBuildsAndPushes(t *testing.T) {
	host := dockerd(t)
	h := warmHome(t)
	h.env = append(h.env, "DOCKER_HOST="+host)
	r := ref(t, "1")

	first := h.push(r, "--builder", "docker", "--cache")
	for _, text := range []string{"note: --cache found no cache yet", "cannot export its cache",
		" s, 1 of 2 imports and exports failed"} {
		if !strings.Contains(first.stderr, text) {
			t.Errorf("a cache that this builder cannot write is not told as %q:\n%s", text, tail(first.stderr, 20))
		}
	}
	if first.meta.Raybuild.Engine != "docker" || !strings.Contains(first.stderr, "laid out as a line") {
		t.Errorf("builder %q, and stderr has to say that the image is a line:\n%s", first.meta.Raybuild.Engine,
			tail(first.stderr, 20))
	}
	if first.meta.layer("ray") == "" || first.meta.Raybuild.BytesPushed == 0 {
		t.Errorf("the push of a new image is told as %d bytes in layers %v", first.meta.Raybuild.BytesPushed,
			first.meta.Raybuild.Layers)
	}
	if out, err := dockerCLI(t.Context(), host, "run", "--rm", "--network", "none", r, "ray",
		"--version"); err != nil || !strings.Contains(out, world.RayOld) {
		t.Errorf("ray does not run in the image that the Engine built: %v\n%s", err, out)
	}
	if again := h.push(r); !again.meta.Raybuild.UpToDate {
		t.Error("the tag that the Docker Engine pushed is not this graph for a call without --builder docker")
	}

	// An edit at the end, two names, and nothing of the layers below moves.
	h.write("raybuild.yaml", shortRecipe(`steps: [{name: mark, run: "echo marked > /opt/mark"}]`))
	other := ref(t, "2")
	edited := h.push(r, "--builder", "docker", other)
	if ran := edited.meta.ran(); len(ran) != 1 || ran[0] != "mark" {
		t.Errorf("an edit of the last step ran the steps of %v", ran)
	}
	for _, l := range edited.meta.Raybuild.Layers {
		if l.Reused == (l.Name == "mark") {
			t.Errorf("layer %q is told as reused: %v", l.Name, l.Reused)
		}
	}
	if on := h.run("inspect", other); !strings.Contains(on.stdout, edited.meta.Digest) {
		t.Errorf("the second name is not the image %s:\n%s%s", edited.meta.Digest, on.stdout, on.stderr)
	}

	// Without --push the build has loaded the image already.
	loaded := h.run("--builder", "docker", "local/ray:1")
	if out, err := dockerCLI(t.Context(), host, "image", "inspect", "--format", "{{.Id}}",
		"local/ray:1"); loaded.code != 0 || err != nil ||
		strings.TrimSpace(out) != strings.TrimSpace(loaded.stdout) {
		t.Errorf("exit %d, stdout %q; the Engine knows local/ray:1 as %q (%v)\n%s", loaded.code, loaded.stdout, out,
			err, tail(loaded.stderr, 10))
	}
	h.refused(1, []string{"graph driver", "cannot write image archives", "embedded engine"}, "--builder", "docker",
		"--output", "type=oci,dest=out.tar", r)
	h.refused(1, []string{"graph driver", "cannot export its cache"},
		"--builder", "docker", "--push", "--no-cache", "--cache-to", "type=registry,ignore-error=false,ref="+
			ref(t, "cache"), ref(t, "3"))

	estargzRuns(h, host)
}

// estargzRuns checks that a Docker Engine that knows gzip alone runs an image of estargz layers.
func estargzRuns(h *home, host string) {
	h.t.Helper()
	h.write("raybuild.yaml", shortRecipe("layers: {compression: estargz}"))
	r := ref(h.t, "estargz")
	start := time.Now()
	h.push(r)
	h.t.Logf("pushed as estargz after %.1f s", time.Since(start).Seconds())
	made, err := pull(h.t, r).Layers()
	if err != nil {
		h.t.Fatal(err)
	}
	for i, l := range made {
		body, err := l.Compressed()
		if err != nil {
			h.t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil ||
			!bytes.Contains(data[max(0, len(data)-51):], []byte("STARGZ")) {
			h.t.Errorf("layer %d of %d has no footer of estargz (read: %v)", i, len(made), err)
		}
	}
	if out, err := dockerCLI(h.t.Context(), host, "run", "--rm", "--network", "none", r, "ray",
		"--version"); err != nil || !strings.Contains(out, world.RayOld) {
		h.t.Errorf("ray does not run in an image of estargz layers: %v\n%s", err, out)
	}
	h.t.Logf("ran after %.1f s", time.Since(start).Seconds())
}

// A builder that buildx knows is found by its name, as buildx's current one, and by buildx's own variable.
func TestBuildersOfBuildx(t *testing.T) {
	h := warmHome(t)
	dir := t.TempDir()
	h.env = append(h.env, "BUILDX_CONFIG="+dir)
	h.refused(1, []string{`"mine"`, "none of buildx's builders"}, "--builder", "mine", "x/y:1")

	addr, err := engine.Ensure(t.Context(), engine.Options{Home: h.dir, Exe: program, Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(confutil.NewConfig(nil, confutil.WithDir(dir)))
	if err != nil {
		t.Fatal(err)
	}
	txn, release, err := s.Txn()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*store.NodeGroup{
		{Name: "mine", Driver: "remote", Nodes: []store.Node{{Name: "mine0", Endpoint: addr}}},
		{Name: "pods", Driver: "kubernetes", Nodes: []store.Node{{Name: "pods0", Endpoint: "kubernetes:///pods"}}},
	} {
		if err := txn.Save(g); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.SetCurrent("unix:///var/run/docker.sock", "mine", true, false); err != nil {
		t.Fatal(err)
	}
	release()

	for name, call := range map[string]struct {
		env, args []string
	}{
		"name":     {nil, []string{"--builder", "mine"}},
		"current":  {nil, []string{"--builder", "buildx"}},
		"variable": {[]string{"BUILDX_BUILDER=mine"}, nil},
	} {
		had := h.env
		h.env = append(h.env, call.env...)
		// the registry has the image under other names
		got := h.push(ref(t, name), append(call.args, "--graph-tag=false", "--reuse=false")...)
		h.env = had
		if got.meta.Raybuild.Engine != addr || len(got.meta.ran()) > 0 {
			t.Errorf("%s: built with %q, and ran %v; want %q, where everything is cached", name,
				got.meta.Raybuild.Engine, got.meta.ran(), addr)
		}
	}
	h.refused(1, []string{`"pods"`, "kubernetes", "kube-pod://"}, "--builder", "pods", "--no-cache", "x/y:1")
}
