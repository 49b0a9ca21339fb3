package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// pullers pull an image, each with a store of its own, and give all its files as a tar file.
var pullers = []struct {
	name, program string
	pull          func(t *testing.T, ref string) string
}{
	{"skopeo", "skopeo", bySkopeo}, {"podman", "podman", byPodman}, {"containerd", "containerd", byContainerd},
	{"Docker Engine", "dockerd", byDocker},
}

// The layers that raybuild makes out of wheels are a row of gzip members. gzip reads them, the image is valid, and
// the engines that people have unpack the files that are in them.
func TestOthersUnpackLayersOfWheels(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	meta := h.push(dst, "--graph-tag=false").meta
	image := pull(t, dst)
	if err := validate.Image(image); err != nil {
		t.Errorf("go-containerregistry finds the image not valid: %v", err)
	}
	want := filesOfWheels(t, image, meta)
	for _, p := range pullers {
		t.Run(p.name, func(t *testing.T) {
			testneeds.Programs(t, p.program)
			file, err := os.Open(p.pull(t, dst))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got := files(t, file)
			bad := 0
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got[name] != want[name] {
					if bad++; bad <= 10 {
						t.Errorf("%s is %q, and in the layer %q", name, got[name], want[name])
					}
				}
			}
			t.Logf("%d of %d files of wheels differ", bad, len(want))
		})
	}
}

// filesOfWheels are the files in layers of wheels. gzip has to read each of these layers.
func filesOfWheels(t *testing.T, image v1.Image, meta metadata) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, l := range meta.Raybuild.Layers {
		if l.Name != "ray" && !strings.HasPrefix(l.Name, "pip") {
			continue
		}
		digest, err := v1.NewHash(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layer, err := image.LayerByDigest(digest)
		if err != nil {
			t.Fatalf("layer %s: %v", l.Name, err)
		}
		packed, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		gzip := exec.CommandContext(t.Context(), "gzip", "-t")
		gzip.Stdin = packed
		if out, err := gzip.CombinedOutput(); err != nil {
			t.Errorf("gzip -t of layer %s: %v\n%s", l.Name, err, out)
		}
		packed.Close()
		unpacked, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, files(t, unpacked))
		unpacked.Close()
	}
	if len(all) < 20 {
		t.Fatalf("the image has %d files of wheels, want more: its layers are %+v", len(all), meta.Raybuild.Layers)
	}
	return all
}

// files are the regular files of a tar file: owner, mode and digest by path.
func files(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, tr); err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(filepath.Clean("/"+h.Name), "/")] = fmt.Sprintf("%d:%d %o %d bytes %x", h.Uid, h.Gid,
			h.Mode&0o7777, h.Size, sum.Sum(nil))
	}
}

// shortDir is a directory with a short path, because sockets lie in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rbp") //nolint:usetesting // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove what was pulled: %v", err)
		}
	})
	return dir
}

// runs is what a program prints that has to succeed.
func runs(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, tail(string(out), 20), tail(errs.String(), 20))
	}
	return strings.TrimSpace(string(out))
}

func bySkopeo(t *testing.T, ref string) string {
	t.Helper()
	dir := shortDir(t)
	archive, file := filepath.Join(dir, "archive"), filepath.Join(dir, "tar")
	runs(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+ref, "docker-archive:"+archive)
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := mutate.Extract(image)
	defer in.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	return file
}

func byPodman(t *testing.T, ref string) string {
	t.Helper()
	dir := shortDir(t)
	podman := func(args ...string) string {
		return runs(t, append([]string{"podman", "--root", filepath.Join(dir, "root"), "--runroot",
			filepath.Join(dir, "run"), "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"}, args...)...)
	}
	t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(dir, "root", "overlay"), 0) }) // podman leaves it mounted
	podman("pull", "-q", "--tls-verify=false", ref)
	id, file := podman("create", "--network", "none", ref, "true"), filepath.Join(dir, "tar")
	podman("export", "-o", file, id)
	podman("rm", id)
	return file
}

func byContainerd(t *testing.T, ref string) string {
	t.Helper()
	testneeds.Programs(t, "ctr")
	dir := shortDir(t)
	config := filepath.Join(dir, "config.toml")
	text := "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("containerd", "--config", config, "--root", filepath.Join(dir, "root"), "--state",
		filepath.Join(dir, "state"), "--address", filepath.Join(dir, "socket"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()                          // by that signal
	})
	ctr := []string{"ctr", "-a", filepath.Join(dir, "socket")}
	for ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second); ; {
		if err := exec.CommandContext(ctx, ctr[0], append(ctr[1:], "version")...).Run(); err == nil {
			cancel()
			break
		}
		if ctx.Err() != nil {
			cancel()
			t.Fatalf("containerd does not answer:\n%s", tail(log.String(), 20))
		}
		time.Sleep(100 * time.Millisecond)
	}
	runs(t, append(ctr, "images", "pull", "--plain-http", ref)...)
	root, file := filepath.Join(dir, "mnt"), filepath.Join(dir, "tar")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	runs(t, append(ctr, "images", "mount", ref, root)...)
	t.Cleanup(func() { _ = syscall.Unmount(root, 0) }) // where tar failed
	runs(t, "tar", "-c", "--numeric-owner", "-f", file, "-C", root, ".")
	runs(t, append(ctr, "images", "unmount", root)...)
	return file
}

func byDocker(t *testing.T, ref string) string {
	t.Helper()
	host, file := dockerd(t), filepath.Join(shortDir(t), "tar")
	docker := func(args ...string) string {
		return runs(t, append([]string{"docker", "--host", host}, args...)...)
	}
	docker("pull", "-q", ref)
	docker("export", "-o", file, docker("create", "--network", "none", ref, "true"))
	return file
}
