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

// inRoot runs a script as a builder does, a step's if env names no other as SCRIPT, in a root that has this machine's
// programs and nothing else. It gives the directory of what was written, which is the step's layer and what lies below.
func inRoot(t *testing.T, env []string, args ...string) (layer string, err error) {
	t.Helper()
	testneeds.Root(t, "unshare", "chroot", "mount")
	layer = t.TempDir()
	setup := `cd "$1" && shift && mkdir -p usr etc home root opt tmp proc dev && cp -a /etc/alternatives etc || exit 99
for d in bin sbin lib lib64; do
	[ ! -L /$d ] || ln -s "$(readlink /$d)" $d
	[ -L /$d ] || [ ! -d /$d ] || { mkdir $d && mount --bind /$d $d; } || exit 99
done
mount --bind /usr usr && mount --rbind /dev dev && mount -t proc proc proc && mount -t tmpfs tmpfs tmp || exit 99
eval "$SETUP"
exec chroot . /bin/sh -euc 'cd /; script=$SCRIPT; unset SCRIPT SETUP; eval "$script"' raybuild "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "/bin/sh", "-c", setup, "sh", layer},
		args...)...)
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
		if st.Uid == UserID && st.Gid == 0 {
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
			map[string]string{"home/raycase4": "user drwxrwxr-x" + epoch,
				"home/raycase4/.cache/m":   "user drwxrwxr-x" + epoch,
				"home/raycase4/.cache/m/w": "user -rw-rw-r--" + epoch}, nil},
		"a program that writes straight into it": {[]string{ray}, "", `echo "[user]" >"$HOME/.gitconfig"`, "1000:100",
			map[string]string{"home/raycase4/.gitconfig": "user -rw-rw-r--" + epoch}, nil},
		"an archive with old times": {[]string{ray}, "", `touch -d 2001-02-03 ~/old; mkdir -p /opt/case4`,
			"1000:100", map[string]string{"home/raycase4/old": "user -rw-rw-r-- 2001-02-03",
				"opt/case4": "root drwxr-xr-x" + epoch}, nil},
		"a step that does not use it": {[]string{ray}, "", `echo 1 >/opt/case4`, "1000:100",
			map[string]string{"opt/case4": "root -rw-r--r--" + epoch}, []string{"home/raycase4"}},
		"an image of root": {[]string{"HOME=/root/case4"}, "", `echo 1 >~/a`, "0:0",
			map[string]string{"root/case4/a": "root -rw-r--r--" + epoch}, nil},
		"a home with files of root": {[]string{ray}, `mkdir -p home/raycase4; echo 1 >home/raycase4/roots;
			touch -d 2001-02-03 home/raycase4/roots`, `echo 2 >~/mine; chown 5000 ~/mine; echo 3 >~/own`, "1000:100",
			map[string]string{"home/raycase4/roots": "root -rw-r--r-- 2001-02-03",
				"home/raycase4/mine": "another -rw-r--r--" + epoch,
				"home/raycase4/own":  "user -rw-rw-r--" + epoch}, nil},
		"a script that empties /tmp": {[]string{ray}, "", `rm -rf /tmp/*; echo 1 >~/a`, "1000:100",
			map[string]string{"home/raycase4/a": "user -rw-rw-r--" + epoch}, nil},
		"a name with spaces": {[]string{ray}, "", `mkdir ~/"a b"; echo 1 >~/"a b/c  d"`, "1000:100",
			map[string]string{"home/raycase4/a b/c  d": "user -rw-rw-r--" + epoch}, nil},
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

// TestCase18HomeIsForGroupZero: OpenShift runs an image as a user of its own choice with group 0. Only user 1000 could
// write the home, so that programs which keep something there failed.
func TestCase18HomeIsForGroupZero(t *testing.T) {
	t.Parallel()
	const setup = "SETUP=printf 'root:x:0:0::/root:/bin/sh\n' >etc/passwd; printf 'root:x:0:\n' >etc/group"
	for name, tt := range map[string]struct {
		user, group string
		does        string
		fail        bool
	}{
		"the platform's user":             {"1000680000", "0", "touch /home/case18/x", false},
		"the image's own user":            {"1000", "100", "touch /home/case18/x", false},
		"another user of another group":   {"1001", "100", "touch /home/case18/x", true},
		"accounts are not the platform's": {"1000680000", "0", "sh -c 'echo >>/etc/passwd'", true},
	} {
		t.Run(name, func(t *testing.T) {
			then := "\nsetpriv --reuid " + tt.user + " --regid " + tt.group + " --clear-groups " + tt.does
			_, err := inRoot(t, []string{setup, "SCRIPT=" + preludeText + userText + then}, "case18", "1000", "100",
				"/home/case18")
			if (err != nil) != tt.fail {
				t.Errorf("it fails: want %v, got %v", tt.fail, err)
			}
		})
	}
}

// What steps leave in the home is for group 0, too: a model's cache takes locks beside the model. What nobody else may
// read stays so, and ssh's files, which ssh refuses if a group may write them.
func TestCase18WhatStepsLeaveInTheHome(t *testing.T) {
	t.Parallel()
	layer, err := inRoot(t, []string{"HOME=/home/case18",
		"SETUP=mkdir -p home/case18/old; chown 1000:0 home/case18/old"},
		`mkdir -p ~/.cache/hub ~/.ssh; echo 1 >~/.cache/hub/model; echo 1 >~/run.sh; chmod 755 ~/run.sh
		echo 1 >~/.netrc; chmod 600 ~/.netrc; echo 1 >~/.ssh/config; ln -s hub ~/.cache/link`, "1000:100")
	if err != nil {
		t.Fatal(err)
	}
	got := layerFiles(t, layer)
	for p, want := range map[string]string{".cache/hub": "user drwxrwxr-x", ".cache/hub/model": "user -rw-rw-r--",
		"run.sh": "user -rwxrwxr-x", ".netrc": "user -rw-------", ".ssh": "user drwxr-xr-x",
		".ssh/config": "user -rw-r--r--", ".cache/link": "user Lrwxrwxrwx", "old": "user drwxr-xr-x"} {
		if is := got["home/case18/"+p]; !strings.HasPrefix(is, want+" ") {
			t.Errorf("%s is %q, want %q", p, is, want)
		}
	}
}
