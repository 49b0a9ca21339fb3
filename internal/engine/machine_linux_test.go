package engine_test

import (
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

// mounted mounts a file system on a new home, or skips the test.
func mounted(t *testing.T, source, fstype, opts string) string {
	t.Helper()
	home := enginetest.Home(t)
	if err := unix.Mount(source, home, fstype, 0, opts); err != nil {
		enginetest.Skip(t, &engine.Error{Kind: engine.ErrNoPrivilege, Detail: "mount " + fstype + ": " + err.Error()})
	}
	t.Cleanup(func() {
		if err := unix.Unmount(home, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return home
}

func TestDiskThatFillsDuringAStep(t *testing.T) {
	needBusybox(t)
	o := enginetest.Options(mounted(t, "tmpfs", "tmpfs", "size=96m,nr_inodes=60000"))
	o.MinFree = 1e6
	addr := ensure(t, o)
	pid := pidOf(t, o.Home)
	for name, sh := range map[string]string{
		"bytes":  "busybox dd if=/dev/zero of=/out/big bs=1M count=200",
		"inodes": "i=0; while [ $i -lt 70000 ]; do : >/out/$i || exit 1; i=$((i+1)); done",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := solve(t.Context(), addr, step{sh: sh})
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), "no space left") {
				t.Errorf("got %v, want: no space left", err)
			}
			// What the step left is removed in the background.
			eventually(t, "a small step works again", func() bool {
				_, err := solve(t.Context(), addr, step{sh: "busybox echo small >/out/" + name})
				return err == nil
			})
		})
	}
	if now := pidOf(t, o.Home); now != pid || !alive(pid) {
		t.Errorf("the engine did not live through it: %d, was %d", now, pid)
	}
}

func TestWithoutOverlayLayersAreCopied(t *testing.T) {
	needBusybox(t)
	below := t.TempDir()
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(below, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// An overlay cannot be the upper directory of another one.
	home := mounted(t, "overlay", "overlay", "lowerdir="+below+"/lower,upperdir="+below+"/upper,workdir="+below+"/work")
	o := enginetest.Options(home)
	mustSolve(t, ensure(t, o), step{sh: "busybox echo x >/out/x"})
	if _, err := os.Stat(filepath.Join(home, "engine/default/state/runc-native")); err != nil {
		t.Error(err)
	}
	for _, f := range engine.Check(t.Context(), engine.Options{Home: home}) {
		if f.Name == "overlayfs" && (f.OK || f.Fix == "") {
			t.Errorf("the check does not see it: %+v", f)
		}
	}
}

// pushBusybox serves a registry over plain HTTP on addr with one image.
func pushBusybox(t *testing.T, addr string) (ref string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	if out, err := exec.Command("sh", "-c", "mkdir -p "+dir+"/r/bin && cp -L /bin/busybox "+
		dir+"/r/bin/busybox && tar -C "+dir+"/r -cf "+dir+"/l.tar .").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	layer, err := tarball.LayerFromFile(dir + "/l.tar")
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		RootFS: must(img.ConfigFile()).RootFS})
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(l.Addr().String()+"/busybox:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
	return r.Name()
}

func TestRegistriesWithoutTLS(t *testing.T) {
	needBusybox(t)
	t.Run("on loopback are used", func(t *testing.T) {
		addr := enginetest.Start(t)
		mustSolve(t, addr, step{image: pushBusybox(t, "127.0.0.1:0"), sh: "busybox true"})
	})
	t.Run("elsewhere are used when they are named", func(t *testing.T) {
		ref := pushBusybox(t, net.JoinHostPort(otherAddress(t), "0"))
		o := enginetest.Options(enginetest.Home(t))
		if _, err := solve(t.Context(), ensure(t, o), step{image: ref, sh: "busybox true"}); err == nil {
			t.Error("plain HTTP was spoken to a host that nobody named")
		}
		o.Insecure = []string{strings.Split(ref, "/")[0]}
		mustSolve(t, ensure(t, o), step{image: ref, sh: "busybox true"})
	})
}

// otherAddress is an address of this machine that is not on loopback.
func otherAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no address beside loopback")
	return ""
}

// TestRootless runs the engine as nobody, with subordinate ids that are bound
// over /etc/subuid and /etc/subgid in a mount namespace of the test's own.
func TestRootless(t *testing.T) {
	needBusybox(t)
	for _, p := range []string{"unshare", "setpriv", "newuidmap"} {
		if _, err := exec.LookPath(p); err != nil || os.Geteuid() != 0 {
			enginetest.Skip(t, &engine.Error{Kind: engine.ErrNoPrivilege,
				Detail: "the rootless test needs root and " + p})
		}
	}
	const nobody = 65534
	dir := enginetest.Home(t)
	// The test binary's own place may be closed to nobody.
	if out, err := exec.Command("cp", must(os.Executable()), dir+"/test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, dir + "/test": 0o755, home: 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	client := func(subids string) (string, error) {
		writeFile(t, dir+"/subids", subids)
		if err := os.Chmod(dir+"/subids", 0o644); err != nil {
			t.Fatal(err)
		}
		const script = `for f in /etc/subuid /etc/subgid; do [ -e $f ] || exit 99; mount --bind "$0/subids" $f || exit 98; done
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0/test" ` + clientArg + ` "$0/home"`
		cmd := exec.Command("unshare", "-m", "sh", "-c", script, dir)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Run("a user without subordinate ids is told how to get some", func(t *testing.T) {
		out, err := client("somebody:100000:65536\n")
		if err == nil || !strings.Contains(out, "usermod --add-subuids") {
			t.Errorf("got %v: %s", err, out)
		}
	})
	t.Run("steps run as root of the user namespace", func(t *testing.T) {
		out, err := client("nobody:200000:65536\n")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !strings.Contains(out, "uid 0\n") || !strings.Contains(strings.Join(strings.Fields(out), " "),
			"0 65534 1 1 200000 65536") {
			t.Errorf("the step was not root of a user namespace with nobody's ids:\n%s", out)
		}
	})
}
