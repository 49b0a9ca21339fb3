package world

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world/mirror"
)

// shared is the world of all tests of this package.
var shared struct {
	once  sync.Once
	world *World
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.world != nil {
		if err := shared.world.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// running is the shared world, started by the first test that needs it.
func running(t *testing.T) *World {
	t.Helper()
	testneeds.Root(t, "mmdebstrap", "dpkg-deb", "chroot", "unshare")
	shared.once.Do(func() { shared.world, shared.err = Start(context.Background(), Options{Log: os.Stderr}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.world
}

func TestEnvIsForShellsAndYAML(t *testing.T) {
	w := &World{A: newMirror("http://127.0.0.1:81", nil), B: newMirror("http://127.0.0.1:82", nil),
		Registry: "127.0.0.1:83", Base: "127.0.0.1:83/world/debian:bookworm",
		Installers: []Installer{{Distribution: "miniconda", Version: "py311_1-1", SHA256: strings.Repeat("a", 64)}}}
	dir := t.TempDir()
	if err := w.Write(dir); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-euc", `. "$0/env"; printf '%s' "$WORLD_B"`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var m map[string]string
	if err := yaml.Unmarshal(out, &m); err != nil || m["apt"] != "http://127.0.0.1:82/debian" ||
		m["pip"] != "http://127.0.0.1:82/pypi/simple" || len(m) != 4 {
		t.Errorf("%v: %s is %v", err, out, m)
	}
	var recipe struct {
		Base    string
		Mirrors struct{ Fetch []map[string]string }
		Ray     struct{ Version string }
	}
	if err := yaml.Unmarshal(w.Recipe(), &recipe); err != nil || recipe.Base != w.Base ||
		recipe.Mirrors.Fetch[0]["conda"] != "http://127.0.0.1:81/anaconda" || recipe.Ray.Version != RayOld {
		t.Errorf("%v: %+v", err, recipe)
	}
}

func TestPruneRemovesWhatNobodyUsed(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * keepUnused)
	for _, d := range []string{"channel-old", "channel-now", "pypi-small-recent", "apt", "debian-old"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if d != "pypi-small-recent" {
			if err := os.Chtimes(filepath.Join(dir, d), long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := prune(dir, filepath.Join(dir, "channel-now")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("%v: left %v", err, left)
	}
}

func pull(t *testing.T, ref string) v1.Image {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestBaseImagesAreTwoOfOneRelease(t *testing.T) {
	w := running(t)
	files := map[string]map[string]string{}
	var layers []v1.Hash
	for _, ref := range []string{w.Base, w.BasePatched} {
		img := pull(t, ref)
		if err := validate.Image(img, validate.Fast); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		l, err := img.Layers()
		if err != nil || len(l) != 1 {
			t.Fatalf("%s: %d layers, %v", ref, len(l), err)
		}
		d, err := l[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, d)
		files[ref] = sums(t, img)
	}
	if layers[0] == layers[1] {
		t.Error("the patched image has the same layer")
	}
	var changed []string
	for f, sum := range files[w.Base] {
		if files[w.BasePatched][f] != sum {
			changed = append(changed, f)
		}
	}
	if len(changed) != 2 || len(files[w.Base]) != len(files[w.BasePatched]) {
		t.Errorf("changed files: %v", changed)
	}
	for _, f := range []string{"etc/resolv.conf", "etc/hostname", "etc/apt/sources.list"} {
		if _, ok := files[w.Base][f]; ok {
			t.Errorf("%s is in the base", f)
		}
	}
}

// sums are the digests of an image's files.
func sums(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	r := mutate.Extract(img)
	defer func() { _ = r.Close() }()
	out := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, tr); err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("%c %s %o %x", h.Typeflag, h.Linkname, h.Mode, sum.Sum(nil))
	}
}

// system is a base image unpacked, in which commands run as in a container.
type system struct {
	t   *testing.T
	dir string
}

func unpack(t *testing.T, ref string) system {
	t.Helper()
	dir := t.TempDir()
	r := mutate.Extract(pull(t, ref))
	defer func() { _ = r.Close() }()
	cmd := exec.Command("tar", "-x", "-f", "-", "-C", dir, "--numeric-owner")
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return system{t, dir}
}

// run runs a script; net says whether it sees the network.
func (s system) run(net bool, script string, args ...string) (string, error) {
	s.t.Helper()
	flags := []string{"-m", "--propagation", "private"}
	if !net {
		flags = append(flags, "-n")
	}
	const enter = `mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" /bin/sh -euc "$@"`
	cmd := exec.Command("unshare", append(append(flags, "sh", "-euc", enter, s.dir, script, "sh"), args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s system) must(net bool, script string, args ...string) string {
	s.t.Helper()
	out, err := s.run(net, script, args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func fetch(t *testing.T, url, to string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", url, resp.Status)
	}
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Real apt on the patched base, through the world's mirror of the real archive.
func TestAptWorksOnThePatchedBase(t *testing.T) {
	w := running(t)
	s := unpack(t, w.BasePatched)
	out := s.must(true, `sed -i "s,http://deb.debian.org,$1,g" /etc/apt/sources.list.d/debian.sources
apt-get -q -o APT::Sandbox::User=root update
apt-get -s install less wget
dpkg-query -W -f '${Version}\n' libdebconfclient0
/usr/bin/perl -e 'print "perl runs\n"'`, w.A.URL)
	for _, want := range []string{"Inst less", "Inst wget", "+deb12u99", "perl runs"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// The stand-in installer, the stand-in conda and Debian's Python on a system that has nothing but
// its Essential packages.
func TestCondaOnAMinimalSystem(t *testing.T) {
	w := running(t)
	s := unpack(t, w.Base)
	in, ok := w.Installer("miniconda")
	if !ok {
		t.Fatal("no installer")
	}
	fetch(t, w.B.Installer+"/"+in.Path, filepath.Join(s.dir, "tmp", "i.sh"))
	t.Run("the installer refuses what it must", func(t *testing.T) {
		for script, want := range map[string]string{
			"sh /tmp/i.sh -p /opt/x </dev/null": "run with -b",
			"CONDA_OVERRIDE_GLIBC=2.27 sh /tmp/i.sh -b -p /opt/x": "Installer requires GLIBC >=2.28, but " +
				"system has 2.27.",
			"sh /tmp/i.sh -b -p /usr":                               "File or directory already exists: '/usr'",
			"sh /tmp/i.sh -b -p '/opt/a b'":                         "directories with spaces",
			"head -c 9000000 /tmp/i.sh >/tmp/j; sh /tmp/j -b -p /j": "md5sum mismatch",
		} {
			if out, err := s.run(false, script); err == nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v, no %q in\n%s", script, err, want, out)
			}
		}
	})
	s.must(false, "sh /tmp/i.sh -b -p /opt/conda")
	out := s.must(false, `/opt/conda/bin/conda --version; /opt/conda/bin/conda info
/opt/conda/bin/python -c "import ssl, sqlite3, ctypes, lzma, bz2, zlib, uuid, curses, readline, hashlib
import xml.parsers.expat, distutils.core; print('all modules')"
/opt/conda/bin/pip --version`)
	for _, want := range []string{"conda 26.7.1", "not conda", "all modules",
		"from /opt/conda/lib/python3.11/site-packages/pip"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	t.Run("an environment, and real pip in it", func(t *testing.T) {
		out := s.must(true, `export CONDA_PKGS_DIRS=/tmp/pkgs SOURCE_DATE_EPOCH=1
/opt/conda/bin/conda create -q -y -n ray --override-channels -c "$1/cloud/conda-forge" python=3.11.2 world-tools
PATH=/opt/conda/envs/ray/bin:$PATH
pip --version
world-where; world-textprefix; world-hello; cat /opt/conda/envs/ray/share/world-postlink/stamp
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_INDEX_URL="$2"
pip install -q sdist-only-pkg no-metadata-pkg "ray[default,tune]==$3"
pip check; ray --version
python -c "import ray, sdist_only_pkg; print(ray.__file__)"
/opt/conda/bin/conda run -n ray sh -c 'echo activated $WORLD_ACTIVATED'
/opt/conda/bin/conda list -n ray`, w.A.Conda, w.A.Pip, RayOld)
		for _, want := range []string{
			"pip 23.0.1 from /opt/conda/envs/ray/lib/python3.11/site-packages/pip", "/opt/conda/envs/ray/share\n" +
				"/opt/conda/envs/ray/share\nhello from the world\nworld-postlink 1.0 0\n",
			"No broken requirements found.", "ray, version " + RayOld,
			"/opt/conda/envs/ray/lib/python3.11/site-packages/ray/__init__.py", "activated 1", "pypi_0",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
	})
}

func TestMirrorsCarryTheSame(t *testing.T) {
	w := running(t)
	for _, path := range []string{"/pypi/simple/ray/", "/extra/simple/world-extra/",
		"/anaconda/pkgs/main/noarch/repodata.json", "/anaconda/cloud/conda-forge/linux-64/repodata.json.zst",
		"/anaconda/miniconda/", "/miniforge/26.3.2-3/Miniforge3-26.3.2-3-Linux-x86_64.sh",
		"/anaconda/miniconda/Miniforge3-26.3.2-3-Linux-x86_64.sh"} {
		dir := t.TempDir()
		var sum [2][32]byte
		for i, m := range []Mirror{w.A, w.B} {
			file := filepath.Join(dir, "x")
			fetch(t, m.URL+path, file)
			data, err := os.ReadFile(file)
			if err != nil || len(data) < 100 {
				t.Fatalf("%s: %d bytes, %v", path, len(data), err)
			}
			sum[i] = sha256.Sum256(data)
		}
		if sum[0] != sum[1] {
			t.Errorf("%s differs between the mirrors", path)
		}
	}
	if err := w.B.Fault(mirror.Fault{Match: "^/pypi/simple/ray/", Mode: "503", Times: 1}); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{w.A.Pip + "/ray/": 200, w.B.Pip + "/ray/": 503,
		w.A.Conda + "/cloud/conda-forge/noarch/current_repodata.json": 404} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, resp.StatusCode, want)
		}
	}
}
