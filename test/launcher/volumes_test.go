package launcher

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/cluster"
)

// asUser is the image with another user.
func (b *bed) asUser(t *testing.T, user string) string {
	t.Helper()
	img := must(remote.Image(must(name.ParseReference(b.image, name.Insecure))))
	config := must(img.ConfigFile()).Config
	config.User = user
	img = must(mutate.Config(img, config))
	ref := b.Registry + "/miniray:as-" + strings.ReplaceAll(user, ":", "-")
	if err := remote.Write(must(name.ParseReference(ref, name.Insecure)), img); err != nil {
		t.Fatal(err)
	}
	return b.Registry + "/miniray@" + must(img.Digest()).String()
}

// TestCase30NewVolumesAreTheUsers: a new volume, at a place that the image does not have, is the image's user's, with a
// name or without. One that was there before stays as it is, and so does one that a node only reads.
func TestCase30NewVolumesAreTheUsers(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "volumes")
	b.Must(t, "exec", "1", "docker", "volume", "create", "kept")
	spec := b.Spec(t, "volumes", b.asUser(t, "1000:100"), "read_only: true\ntemp_dir: /scratch/ray\n"+
		"mounts: [\"raytmp:/spill\", \"kept:/kept\", \"readonly:/readonly:ro\"]\n")
	t.Cleanup(func() { // the test's own context has ended
		if _, err := cluster.Down(context.Background(), "volumes", spec.Hosts(), b.Options(t)); err != nil {
			t.Error(err)
		}
		b.Must(t, "exec", "1", "docker", "volume", "rm", "-f", "kept", "raytmp", "readonly")
	})
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	pid := strings.TrimSpace(b.Must(t, "exec", "1", "docker", "inspect", "-f", "{{.State.Pid}}", spec.Head.ID))
	for place, want := range map[string]string{"/spill": "1000:100", "/scratch/ray": "1000:100", "/kept": "0:0",
		"/readonly": "0:0"} {
		got := strings.TrimSpace(b.Must(t, "exec", "1", "stat", "-c", "%u:%g", "/proc/"+pid+"/root"+place))
		if got != want {
			t.Errorf("%s is of %s, want %s", place, got, want)
		}
	}
	// Made again, the node finds its volume with what it wrote there.
	b.Must(t, "exec", "1", "sh", "-c", "chown 1234:1234 /proc/"+pid+"/root/spill")
	b.Must(t, "exec", "1", "docker", "rm", "-f", "-v", spec.Head.ID)
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	pid = strings.TrimSpace(b.Must(t, "exec", "1", "docker", "inspect", "-f", "{{.State.Pid}}", spec.Head.ID))
	got := b.Must(t, "exec", "1", "stat", "-c", "%u:%g", "/proc/"+pid+"/root/spill")
	if strings.TrimSpace(got) != "1234:1234" {
		t.Errorf("the volume that was there is of %s now", got)
	}
}
