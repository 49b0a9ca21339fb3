package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/raybuild/raybuild/internal/world"
)

// pull is a pushed image.
func pull(t *testing.T, ref string) v1.Image {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return image
}

// unpack is the root file system of an image, as a container has it.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	r := mutate.Extract(image)
	defer r.Close()
	cmd := exec.Command("tar", "-xp", "--numeric-owner", "-C", dir)
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack image: %v\n%s", err, out)
	}
	return dir
}

// inContainer runs each of the commands in a container of the pushed image, as its user and with its variables, and
// returns what those that failed said, by name.
func inContainer(t *testing.T, ref string, commands map[string]string) map[string]string {
	t.Helper()
	script := ""
	names := slices.Sorted(maps.Keys(commands))
	for i, n := range names {
		script += fmt.Sprintf("out=$(%s) 2>&1 && echo '=%d ok' || echo \"=%d $out\"\n",
			"{ "+commands[n]+"; } 2>&1", i, i)
	}
	cmd := exec.Command("go", "run", "github.com/raybuild/raybuild/internal/world/cmd/world", "run", ref,
		"sh", "-c", script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run the image: %v\n%s%s", err, out, stderr.Bytes())
	}
	failed := map[string]string{}
	for i, n := range names {
		if !strings.Contains(string(out), fmt.Sprintf("=%d ok\n", i)) {
			failed[n] = string(out)
		}
	}
	return failed
}

// The pushed image is valid, runs, and holds what the recipe says.
func TestPushedImage(t *testing.T) {
	h := fullHome(t)
	h.write("more.lock", full.lock)
	h.write("app/main.py", "print('app')\n")
	h.write("more.yaml", string(testEnv.Recipe())+`files: [{from: app, to: /home/ray/app}]
steps: [{name: stamp, run: "echo built > /opt/stamp", needs: [ray]}]
image: {labels: {team: blue}, env: {COLOUR: blue}}
`)
	h.write("more.yaml", strings.Replace(h.read("more.yaml"), "mirrors:\n", "mirrors:\n  image: tuna\n", 1))
	dst := ref(t, "1")
	out := h.push(dst, "-f", "more.yaml")
	image := pull(t, dst)
	if err := validate.Image(image); err != nil {
		t.Errorf("the image is not valid: %v", err)
	}
	checks := map[string]string{
		"ray runs": "ray --version",
		"ray is found by python": "python -c \"import ray; assert ray.__version__ == '" +
			world.RayOld + "'\"",
		"a login shell has the environment": "bash -lc 'python -c \"import ray, requests\" && test " +
			"\"$CONDA_DEFAULT_ENV\" = ray'",
		"no shell has the environment": "env -i PATH=\"$PATH\" python -c 'import ray'",
		"conda lists the environment":  "/opt/conda/bin/conda env list | grep -q /opt/conda/envs/ray",
		"apt's packages are there":     "wget --version && dpkg-query -W less wget",
		"the user has numeric ids and a home": "test \"$(id -u):$(id -g)\" = 1000:100 && touch ~/here && test \"$(id " +
			"-un)\" = ray",
		"the home is for the group of users whom the platform chooses": "test \"$(stat -c %u:%g:%a ~)\" = 1000:0:775",
		"files are the user's": "test \"$(stat -c %u:%g:%a /home/ray/app/main.py)\" = 1000:100:644 && " +
			"python /home/ray/app/main.py",
		"the step ran":         "grep built /opt/stamp",
		"pip has its mirror":   "grep tuna /etc/pip.conf",
		"uv has its mirror":    "grep tuna /etc/uv/uv.toml",
		"conda has its mirror": "grep tuna /opt/conda/.condarc",
		"apt has its mirror, and the original": "grep -r tuna /etc/apt/sources.list.d && find /etc/apt -name " +
			"'*.bak' | grep bak",
		"pip finds nothing broken":        "python -m pip check",
		"tmp is everybody's":              "test \"$(stat -c %a /tmp)\" = 1777",
		"bash is there, as KubeRay wants": "test -x /bin/bash",
	}
	for what, said := range inContainer(t, dst, checks) {
		t.Errorf("%s: %s failed:\n%s", what, checks[what], said)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.Labels["team"] != "blue" ||
		!strings.Contains(strings.Join(config.Config.Env, "\n"), "COLOUR=blue") {
		t.Errorf("label or variable of the recipe is missing: %+v", config.Config)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["org.opencontainers.image.base.name"] != testEnv.Base ||
		manifest.Annotations["org.opencontainers.image.base.digest"] == "" {
		t.Errorf("the base is not in the annotations: %v", manifest.Annotations)
	}
	if n := len(manifest.Layers); n > 20 {
		t.Errorf("%d layers, want at most 20", n)
	}
	layersAreClean(t, image, config.Created.Time)
	if text := h.run("inspect", dst).stdout; !strings.Contains(text, "ray") ||
		!strings.Contains(text, out.meta.Digest) {
		t.Errorf("inspect does not show the image:\n%s", text)
	}
}

// layersAreClean checks what no layer of ours may hold.
func layersAreClean(t *testing.T, image v1.Image, created time.Time) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := [][]byte{[]byte("/tmp/raybuild"), []byte(strings.TrimPrefix(testEnv.A.URL, "http://")),
		[]byte(strings.TrimPrefix(testEnv.B.URL, "http://"))}
	for i, l := range layers[1:] { // the first is the base's own
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			checkEntry(t, i+1, h, tr, created, forbidden)
		}
		r.Close()
	}
}

func checkEntry(t *testing.T, layer int, h *tar.Header, r io.Reader, created time.Time, forbidden [][]byte) {
	t.Helper()
	file := "/" + strings.TrimSuffix(h.Name, "/")
	base := filepath.Base(file)
	regular := h.Typeflag == tar.TypeReg && h.Size > 0
	switch {
	case strings.HasPrefix(base, ".wh."):
		t.Errorf("layer %d deletes %s", layer, file)
	case regular && strings.HasPrefix(file, "/var/lib/apt/lists/"),
		regular && strings.HasPrefix(file, "/var/cache/apt/"),
		regular && strings.HasPrefix(file, "/var/log/"), strings.Contains(file, "/var/cache/ldconfig/"),
		strings.Contains(file, "/.cache/"), strings.HasPrefix(file, "/opt/conda/pkgs/"),
		strings.HasPrefix(file, "/tmp/"):
		t.Errorf("layer %d holds %s", layer, file)
	case h.ModTime.After(created):
		t.Errorf("layer %d: %s has the time %s, after the image's %s", layer, file, h.ModTime, created)
	case base == "direct_url.json":
		t.Errorf("layer %d holds %s", layer, file)
	}
	if !regular {
		return
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range forbidden {
		if bytes.Contains(data, f) {
			t.Errorf("layer %d: %s holds %q", layer, file, f)
		}
	}
	if strings.HasSuffix(file, ".pyc") && len(data) > 16 && data[4]&1 == 0 {
		if stamp := time.Unix(int64(data[8])|int64(data[9])<<8|int64(data[10])<<16|int64(data[11])<<24,
			0); stamp.After(created) {
			t.Errorf("layer %d: %s is stamped %s, after the image's %s", layer, file, stamp, created)
		}
	}
}
