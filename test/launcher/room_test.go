package launcher

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// needed has the tens of what an image needs: the layer's tar is a little larger than what is in it.
var needed = regexp.MustCompile(
	`the image needs (\d\d)\d MiB there \((\d\d)\d MiB compressed and (\d\d)\d MiB unpacked, which is an estimate\)`)

// TestHostWithoutRoomIsNamedBeforeThePull gives a host a Docker directory of 300 MiB, in memory,
// and an image of which 120 MiB come over the wire. Nothing is pulled or started anywhere. There is
// no Ray in the image, which never runs.
func TestHostWithoutRoomIsNamedBeforeThePull(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "room")
	image := b.pushLarge(t, 120<<20)
	swap := func(command string) {
		b.Must(t, "dockerd", "2", "KILL")
		b.Must(t, "exec", "2", "sh", "-c", "until ! pgrep -x dockerd >/dev/null; do sleep 0.1; done; pkill -x "+
			"containerd; until ! pgrep -x containerd >/dev/null; do sleep 0.1; done; "+command)
		b.Must(t, "boot", "2")
	}
	swap("mount -t tmpfs -o size=300m tmpfs /var/lib/docker")
	t.Cleanup(func() { swap("umount -l /var/lib/docker") })
	b.Must(t, "exec", "2", "docker", "pull", "-q", b.image) // which no container uses

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(b.Text("room", image, "", 2, 3)),
		0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "cluster", "up", "--ssh-config", "none", "--known-hosts",
		filepath.Join(b.Dir, "known_hosts"),
		"--identity", filepath.Join(b.Dir, "id_ed25519"), "--insecure-registry", b.Registry)
	var said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	err := cmd.Run()
	t.Logf("raybuild cluster up: %v\n%s", err, said.String())
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d, want 1", cmd.ProcessState.ExitCode())
	}
	for _, want := range []string{"host root@" + b.Addr(2) + ": /var/lib/docker has ", "docker system df shows ",
		" MiB to free there (images ", "docker system prune --all"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("up does not say %q", want)
		}
	}
	if m := needed.FindStringSubmatch(said.String()); m == nil || m[1] != "44" || m[2] != "12" || m[3] != "32" {
		t.Errorf("up does not say that some 445 MiB are needed, 121 compressed and 325 unpacked: %v", m)
	}
	for _, other := range []int{1, 3} {
		if strings.Contains(said.String(), b.Addr(other)+": /var") {
			t.Errorf("up names host %d, which has room", other)
		}
	}
	if strings.Contains(said.String(), "pulling") {
		t.Error("up pulls before it knows that there is room")
	}
	for i := 1; i <= 3; i++ {
		if out := b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
			t.Errorf("host %d: something was started: %s", i, out)
		}
	}
}

// pushLarge pushes an image with one layer of a size, of bytes that nobody can compress.
func (b *bed) pushLarge(t *testing.T, size int64) string {
	t.Helper()
	layer, err := random.Layer(size, types.OCIUncompressedLayer)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		RootFS: must(img.ConfigFile()).RootFS,
		Config: v1.Config{Labels: map[string]string{"dev.raybuild.ray": "2.52.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(must(name.ParseReference(b.Registry+"/large:1", name.Insecure)), img); err != nil {
		t.Fatal(err)
	}
	return b.Registry + "/large@" + must(img.Digest()).String()
}
