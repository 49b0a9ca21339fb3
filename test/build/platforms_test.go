package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/ulikunitz/xz"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

// debianFile unpacks a package of the Debian mirror and gives the path of a file in it.
func debianFile(t *testing.T, arch, pkg, file string) string {
	t.Helper()
	get := func(path string, read func(io.Reader) error) {
		t.Helper()
		resp, err := http.Get(testEnv.A.Apt + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %s", path, resp.Status)
		}
		if err := read(resp.Body); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
	}
	deb := ""
	get("dists/bookworm/main/binary-"+arch+"/Packages.xz", func(r io.Reader) error {
		z, err := xz.NewReader(bufio.NewReader(r))
		if err != nil {
			return err
		}
		lines, ours := bufio.NewScanner(z), false
		lines.Buffer(nil, 1<<20)
		for deb == "" && lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "Package: "); ok {
				ours = name == pkg
			}
			if path, ok := strings.CutPrefix(lines.Text(), "Filename: "); ok && ours {
				deb = path
			}
		}
		return lines.Err()
	})
	dir := t.TempDir()
	get(deb, func(r io.Reader) error {
		unpack := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile /dev/stdin | tar -x -C "$1" "$2"`, "sh",
			dir, "./"+file)
		unpack.Stdin = r
		out, err := unpack.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	return filepath.Join(dir, file)
}

// emulated lets this machine's kernel run arm64's programs by QEMU until the test's end, and tells whether it can.
func emulated(t *testing.T) bool {
	t.Helper()
	const dir, entry = "/proc/sys/fs/binfmt_misc", "raybuild-test-arm64"
	if _, err := os.Stat(filepath.Join(dir, "register")); err != nil {
		if err := syscall.Mount("binfmt_misc", dir, "binfmt_misc", 0, ""); err != nil {
			t.Logf("this kernel runs no programs of other CPUs: mount binfmt_misc: %v", err)
			return false
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	qemu := debianFile(t, "amd64", "qemu-user-static", "usr/bin/qemu-aarch64-static")
	// As Debian's qemu-user-static has it in usr/lib/binfmt.d/qemu-aarch64.conf, with F: the kernel
	// opens QEMU now, not in containers.
	rule := ":" +
		entry +
		`:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:` + qemu + ":POCF"
	if err := os.WriteFile(filepath.Join(dir, "register"), []byte(rule), 0o200); err != nil {
		t.Fatalf("register QEMU: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(dir, entry), []byte("-1"), 0o200); err != nil {
			t.Error(err)
		}
	})
	return true
}

// foreignIndex pushes an index of the world's base and of an image for arm64 that has its programs
// from busybox, and what raybuild looks for in an apt-based image.
func foreignIndex(t *testing.T, ref string, busybox string) {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for file, data := range map[string]string{
		"bin/busybox": string(program), "etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n",
		"var/lib/dpkg/status": "Package: libc6\nVersion: 2.36-9\n", "etc/apt/sources.list.d/none.sources": "",
		"etc/dpkg/dpkg.cfg": "",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("busybox", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "root.tar")
	if out, err := exec.Command("tar", "-c", "-C", root, "-f", archive, "--owner=0", "--group=0",
		".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	layer, err := tarball.LayerFromFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	arm, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		arm, err = mutate.ConfigFile(arm, &v1.ConfigFile{OS: "linux", Architecture: "arm64",
			RootFS: must(t)(arm.ConfigFile()).RootFS})
	}
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: pull(t, testEnv.Base),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{
			Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
		})
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(parsed, index); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T) func(*v1.ConfigFile, error) *v1.ConfigFile {
	return func(c *v1.ConfigFile, err error) *v1.ConfigFile {
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// An image for two platforms: where QEMU is missing it is named, with the command that installs it;
// where it is there, the steps of each platform run as that platform's, and one index is pushed.
// The package world is for amd64 alone, so it is a graph of package llb that is built for both, and
// no whole recipe.
func TestTwoPlatforms(t *testing.T) {
	h := warmHome(t)
	base := ref(t, "base")
	busybox := debianFile(t, "arm64", "busybox-static", "bin/busybox")
	foreignIndex(t, base, busybox)
	if err := exec.Command(busybox, "true").Run(); err == nil {
		t.Log("this machine's kernel has QEMU for arm64 already")
	} else {
		h.write("raybuild.yaml", strings.Replace(shortRecipe(), "base: "+testEnv.Base, "base: "+base, 1))
		h.refused(1, []string{"linux/arm64", "the builder does not run programs of linux/arm64",
			"apt-get install qemu-user-static"},
			"--push", "--platform", "linux/amd64,linux/arm64", ref(t, "1"))
		if !emulated(t) {
			return
		}
	}
	own := newHome(t) // an engine that starts when QEMU is there
	addr, err := engine.Ensure(t.Context(), engine.Options{Home: own.dir, Exe: program, Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := llb.Connect(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	platformsBuilt(t, b, base)
}

// platformsBuilt builds an image with a step for two platforms on one builder, and looks at what is pushed.
func platformsBuilt(t *testing.T, b *llb.Builder, base string) {
	t.Helper()
	var images []llb.Image
	machines := map[string]string{"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
	for _, p := range []string{"linux/amd64", "linux/arm64"} {
		platform, err := llb.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		pinned := pinnedFor(t, base, platform)
		step := llb.Exec{Title: "[machine] ask",
			Args: []string{
				"/bin/sh", "-c",
				`[ -x /bin/uname ] && uname -m > /out/machine || busybox uname -m > /out/machine; touch -d @315532800 /out/machine || busybox touch -d @315532800 /out/machine`,
			}}
		made := llb.From(pinned).Make(step, llb.Output{Path: "/out", On: llb.Scratch()})
		files, err := b.ReadFiles(t.Context(), made, platform, []string{"/machine"}, llb.Session{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(files["/machine"])); got != machines[p] {
			t.Errorf("the step of %s ran on %q, want %q", p, got, machines[p])
		}
		check := func(machine string) error {
			run := llb.Exec{Title: "[smoke] ask", Args: []string{"/bin/sh", "-c",
				`[ "$( [ -x /bin/uname ] && uname -m || busybox uname -m)" = ` + machine + " ]"}}
			_, err := b.Check(t.Context(), llb.Session{}, llb.SolveOptions{},
				llb.Check{Platform: platform, Stage: llb.From(pinned).Run(run)})
			return err
		}
		var failed *llb.CheckError
		if err := check(machines[p]); err != nil {
			t.Errorf("a check of %s: %v", p, err)
		}
		if err := check("none"); !errors.As(err, &failed) || llb.FormatPlatform(failed.Platform) != p {
			t.Errorf("a check of %s that fails: %v", p, err)
		}
		images = append(images, llb.Image{Platform: platform, Layers: []llb.Layer{{Name: "machine", Stage: made}}})
	}
	dst := ref(t, "two")
	res, err := b.Build(t.Context(), images, llb.Session{}, llb.BuildOptions{Names: []string{dst}, Push: true})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := name.ParseReference(dst)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(parsed)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := index.Digest(); err != nil || digest.String() != res.Digest.String() || len(m.Manifests) != 2 {
		t.Errorf("pushed is %s (%v) with %d images, want the index %s of two", digest, err,
			len(m.Manifests), res.Digest)
	}
	if one, two := res.Images[0].Layers[0].Digest, res.Images[1].Layers[0].Digest; one == two {
		t.Errorf("both platforms have the layer %s", one)
	}
}

// pinnedFor is the image of one platform in an index, by its digest.
func pinnedFor(t *testing.T, ref string, p llb.Platform) string {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed, remote.WithPlatform(v1.Platform{OS: p.OS, Architecture: p.Architecture}),
		remote.WithContext(context.WithoutCancel(t.Context())))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Context().Digest(digest.String()).String()
}
