package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

// TestClusterTrustRecordsWhatItGot has a host that is off between two others.
func TestClusterTrustRecordsWhatItGot(t *testing.T) {
	t.Parallel()
	one, two := sshtest.Start(t, sshtest.Options{}), sshtest.Start(t, sshtest.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	off := "root@" + ln.Addr().String()
	ln.Close() // nobody listens there now
	dir := t.TempDir()
	trust := func(args ...string) ran {
		return call(t, dir, append([]string{"cluster", "trust", "--ssh-config", "none"}, args...)...)
	}
	got := trust("--yes", "root@"+one.Addr, off, "root@"+two.Addr)
	for _, want := range []string{"recorded 2 keys in ", "trust got no keys of 1 host:\nhost ssh://" + off + ": ",
		"connection refused; next: when it answers, run trust again"} {
		if got.code != exitFailed || !strings.Contains(got.stderr, want) {
			t.Errorf("exit code %d; trust does not say %q:\n%s", got.code, want, got.stderr)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "known_hosts"))
	if err != nil || strings.Count(string(data), "\n") != 2 {
		t.Errorf("recorded is %q, %v", data, err)
	}
	if got := trust("root@" + one.Addr); got.code != exitDone || !strings.Contains(got.stderr, "all keys are known") {
		t.Errorf("a host that is trusted: %+v", got)
	}
	if got := trust(off); got.code != exitFailed || strings.Contains(got.stderr, "all keys are known") {
		t.Errorf("a host that is off: %+v", got)
	}
	three := sshtest.Start(t, sshtest.Options{})
	if got := trust("root@" + three.Addr); got.code != exitFailed || // its stdin is empty, which is no
		!strings.Contains(got.stderr, "record 1 new key in ") {
		t.Errorf("without an answer: %+v", got)
	}
	if got := trust("-y", "root@"+three.Addr); !strings.Contains(got.stderr, "recorded 1 key in ") {
		t.Errorf("one key: %+v", got)
	}
}

// TestClusterInitSaysWhatIsMissing has files that `up` would refuse.
func TestClusterInitSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	const onlyHere = "is an address of this machine only"
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
		not  string
	}{
		"an image on loopback, and hosts": {[]string{"--image", "127.0.0.1:5000/ray:1", "root@10.0.0.1"}, exitDone,
			"warning: 127.0.0.1:5000 " + onlyHere, ""},
		"an image on loopback, and this machine": {[]string{"--image", "localhost:5000/ray:1"}, exitDone, "wrote",
			onlyHere},
		"an image elsewhere": {[]string{"--image", "registry.example/ray:1", "root@10.0.0.1"}, exitDone,
			"next: raybuild cluster trust && raybuild cluster up\n", onlyHere},
		"no image": {[]string{"root@10.0.0.1"}, exitDone, "wrote cluster.yaml; next: set image: in it to the image " +
			"that you have pushed, then: raybuild cluster trust && raybuild cluster up\n", ""},
		"a host twice": {[]string{"-f", "b.yaml", "root@10.0.0.1", "10.0.0.1"}, exitUsage,
			"host 10.0.0.1 is given twice", "yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := call(t, t.TempDir(), append([]string{"cluster", "init"}, tt.args...)...)
			if got.code != tt.code || !strings.Contains(got.stderr, tt.want) ||
				tt.not != "" && strings.Contains(got.stderr, tt.not) {
				t.Errorf("exit code %d, want %d; it should say %q and not %q:\n%s", got.code, tt.code, tt.want,
					tt.not, got.stderr)
			}
		})
	}
}
