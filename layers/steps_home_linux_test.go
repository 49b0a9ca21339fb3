package layers

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// inRoot runs a step's script as a builder does, in a root that has this machine's programs and nothing else. It gives
// the directory of what was written, which is the step's layer and what lies below it.
func inRoot(t *testing.T, env []string, run, owner string) (layer string, err error) {
	t.Helper()
	testneeds.Root(t, "unshare", "chroot", "mount")
	layer = t.TempDir()
	setup := `cd "$1" && mkdir -p usr etc home root opt tmp proc dev && cp -a /etc/alternatives etc || exit 99
for d in bin sbin lib lib64; do
	[ ! -L /$d ] || ln -s "$(readlink /$d)" $d
	[ -L /$d ] || [ ! -d /$d ] || { mkdir $d && mount --bind /$d $d; } || exit 99
done
mount --bind /usr usr && mount --rbind /dev dev && mount -t proc proc proc && mount -t tmpfs tmpfs tmp || exit 99
eval "$SETUP"
exec chroot . /bin/sh -euc 'cd /; script=$SCRIPT; unset SCRIPT SETUP; eval "$script"' raybuild "$2" "$3"`
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "/bin/sh", "-c", setup, "sh", layer, run, owner)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp", "SCRIPT=" + preludeText + stepText},
		env...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code == 99 {
		testneeds.Skip(t, "a root cannot be mounted here: "+string(out))
	}
	t.Logf("%s", out)
	return layer, err
}

// layerFiles lists what a layer has below a directory: path, owner and mode.
func layerFiles(t *testing.T, layer string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(layer, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatalf("%s has no owner", p)
		}
		rel, err := filepath.Rel(layer, p)
		who := "root"
		if st.Uid == UserID && st.Gid == GroupID {
			who = "user"
		} else if st.Uid != 0 {
			who = "another"
		}
		out[rel] = who + " " + info.Mode().String() + " " + info.ModTime().UTC().Format("2006-01-02")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCase4: what a step leaves in $HOME is in the home of the image's user, and is that user's.
func TestCase4HomeOfSteps(t *testing.T) {
	t.Parallel()
	const ray, epoch = "HOME=/home/raycase4", " 1980-01-01"
	for name, tt := range map[string]struct {
		env   []string
		setup string // of what lies below, in the directory with root
		run   string
		owner string
		want  map[string]string
		not   []string
	}{
		"models in ~/.cache": {[]string{ray}, "", `mkdir -p ~/.cache/m; echo x >~/.cache/m/w`, "1000:100",
			map[string]string{"home/raycase4": "user drwxr-xr-x" + epoch,
				"home/raycase4/.cache/m":   "user drwxr-xr-x" + epoch,
				"home/raycase4/.cache/m/w": "user -rw-r--r--" + epoch}, nil},
		"a program that writes straight into it": {[]string{ray}, "", `echo "[user]" >"$HOME/.gitconfig"`, "1000:100",
			map[string]string{"home/raycase4/.gitconfig": "user -rw-r--r--" + epoch}, nil},
		"an archive with old times": {[]string{ray}, "", `touch -d 2001-02-03 ~/old; mkdir -p /opt/case4`,
			"1000:100", map[string]string{"home/raycase4/old": "user -rw-r--r-- 2001-02-03",
				"opt/case4": "root drwxr-xr-x" + epoch}, nil},
		"a step that does not use it": {[]string{ray}, "", `echo 1 >/opt/case4`, "1000:100",
			map[string]string{"opt/case4": "root -rw-r--r--" + epoch}, []string{"home/raycase4"}},
		"an image of root": {[]string{"HOME=/root/case4"}, "", `echo 1 >~/a`, "0:0",
			map[string]string{"root/case4/a": "root -rw-r--r--" + epoch}, nil},
		"a home with files of root": {[]string{ray}, `mkdir -p home/raycase4; echo 1 >home/raycase4/roots;
			touch -d 2001-02-03 home/raycase4/roots`, `echo 2 >~/mine; chown 5000 ~/mine; echo 3 >~/own`, "1000:100",
			map[string]string{"home/raycase4/roots": "root -rw-r--r-- 2001-02-03",
				"home/raycase4/mine": "another -rw-r--r--" + epoch,
				"home/raycase4/own":  "user -rw-r--r--" + epoch}, nil},
		"a script that empties /tmp": {[]string{ray}, "", `rm -rf /tmp/*; echo 1 >~/a`, "1000:100",
			map[string]string{"home/raycase4/a": "user -rw-r--r--" + epoch}, nil},
		"a name with spaces": {[]string{ray}, "", `mkdir ~/"a b"; echo 1 >~/"a b/c  d"`, "1000:100",
			map[string]string{"home/raycase4/a b/c  d": "user -rw-r--r--" + epoch}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layer, err := inRoot(t, append(tt.env, "SETUP="+tt.setup), tt.run, tt.owner)
			if err != nil {
				t.Fatalf("the step failed: %v", err)
			}
			got := layerFiles(t, layer)
			for p, want := range tt.want {
				if got[p] != want {
					t.Errorf("%s is %q, want %q", p, got[p], want)
				}
			}
			for _, p := range tt.not {
				if was, ok := got[p]; ok {
					t.Errorf("%s is in the layer: %s", p, was)
				}
			}
		})
	}
	t.Run("a script that fails", func(t *testing.T) {
		t.Parallel()
		if _, err := inRoot(t, []string{ray, "SETUP="}, "false; true", "1000:100"); err == nil ||
			strings.Contains(err.Error(), "99") {
			t.Errorf("the step does not fail: %v", err)
		}
	})
}
