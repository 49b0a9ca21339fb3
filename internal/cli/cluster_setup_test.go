package cli

import (
	"strings"
	"testing"
)

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
