package build

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestCase10BaseByAMirror builds on a base of Docker Hub, which does not answer here: its mirror gives the base, and
// the engine asks nobody. The recipe names the mirror, or this machine's settings do.
func TestCase10BaseByAMirror(t *testing.T) {
	h := warmHome(t)
	from, err := name.ParseReference(testEnv.Base)
	if err != nil {
		t.Fatal(err)
	}
	base, err := remote.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(testEnv.Registry + "/hub/team/base:1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := base.ImageIndex()
	if err == nil {
		err = remote.WriteIndex(to, index)
	} else if image, imageErr := base.Image(); imageErr == nil {
		err = remote.Write(to, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	mirror := "http://" + testEnv.Registry + "/hub"
	recipe := strings.Replace(shortRecipe(), "base: "+testEnv.Base, "base: team/base:1", 1)
	own := strings.Replace(recipe, "fetch: [", "fetch: [{registry: \""+mirror+"\"}, ", 1)

	h.write("raybuild.yaml", own)
	first := h.push(ref(t, "1"), "--graph-tag=false", "--reuse=false").meta

	// A machine that has nothing, whose Docker is configured with the mirror.
	cold := coldHome(t)
	cold.write("raybuild.yaml", recipe)
	cold.write("raybuild.lock", h.read("raybuild.lock"))
	cold.write("config/docker/daemon.json", `{"registry-mirrors": ["`+mirror+`"]}`)
	cold.env = append(cold.env, "XDG_CONFIG_HOME="+cold.cwd+"/config")
	second := cold.push(ref(t, "2"), "--frozen", "--graph-tag=false", "--reuse=false").meta
	if second.Digest != first.Digest {
		t.Errorf("by this machine's mirror the image is %s, want %s", second.Digest, first.Digest)
	}
	if out := cold.run("mirrors"); out.code != 0 || !strings.Contains(out.stdout, "registry docker.io") {
		t.Errorf("raybuild mirrors does not show the mirror: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}

	// Without a mirror the error says what to write.
	if err := os.Remove(cold.cwd + "/config/docker/daemon.json"); err != nil {
		t.Fatal(err)
	}
	cold.refused(1, []string{"docker.io", "{registry: https://MIRROR}"}, "lock", "--update", "base")
}
