package real

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

// runtimeOf finds the runtime that the host's Docker Engine runs containers with.
const runtimeOf = `set -e
image=$1; shift
runtime=$(docker info -f '{{.DefaultRuntime}}' |
  sed 's#^clamped$#/usr/local/sbin/runc-clamped#; s#^runc$#/usr/sbin/runc#')
`

// engines pull an image, run a command in it, and forget it.
var engines = []struct{ program, script string }{
	{"podman",
		`pod() {
  podman --root /var/lib/docker/podman --runroot /run/podman-tools --runtime "$runtime" --cgroup-manager cgroupfs "$@"
}
trap 'pod rmi -af >&2; umount /var/lib/docker/podman/overlay 2>/dev/null || :
  rm -rf /run/podman-tools /var/lib/docker/podman' EXIT
pod pull -q --tls-verify=false "$image" >&2
pod run --rm --network none "$image" "$@"`},
	{"ctr", `con() { ctr -a /run/docker/containerd/containerd.sock -n tools "$@"; }
trap 'con images rm --sync "$image" >&2' EXIT
con images pull --plain-http "$image" >&2
con run --rm --runc-binary "$runtime" "$image" tools "$@"`},
	{"docker", `docker pull -q "$image" >&2
docker run --rm --network none "$image" "$@"`}, // stays for what follows
}

// TestOthersToolsTakeTheImage reads the image by skopeo, pulls and runs it by the engines that
// people have, all of Debian, and has pip and uv check what is installed in it.
func TestOthersToolsTakeTheImage(t *testing.T) {
	image := realImage(t)
	_, digest, _ := strings.Cut(image, "@")
	t.Run("skopeo", func(t *testing.T) {
		testneeds.Root(t, "skopeo")
		var saw struct {
			Digest, Architecture string
			Layers               []string
			Labels               map[string]string
		}
		text := command(t, "", nil, "skopeo", "inspect", "--tls-verify=false", "docker://"+image)
		if err := json.Unmarshal([]byte(text), &saw); err != nil {
			t.Fatal(err)
		}
		if saw.Digest != digest || saw.Architecture != "amd64" || len(saw.Layers) < 5 ||
			saw.Labels["dev.raybuild.ray"] != world.RayReal {
			t.Errorf("skopeo inspect: %+v", saw)
		}
		dir := t.TempDir()
		command(t, dir, nil, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+image, "oci:copy:ray")
		index, err := os.ReadFile(filepath.Join(dir, "copy/index.json"))
		if err != nil || !strings.Contains(string(index), digest) {
			t.Errorf("skopeo's copy has another digest than %s: %v\n%s", digest, err, index)
		}
	})
	b := needHosts(t)
	for _, e := range engines {
		t.Run(e.program, func(t *testing.T) {
			testneeds.Root(t, e.program)
			out := b.Must(t, "exec", "1", "sh", "-c", runtimeOf+e.script, "sh", here.onHosts(image),
				"python", "-c", "import ray, ray.tune, ray.rllib; print('imported', ray.__version__)")
			if !strings.Contains(out, "imported "+world.RayReal) {
				t.Errorf("the image run by %s says:\n%s", e.program, out)
			}
		})
	}
	t.Run("pip and uv", func(t *testing.T) {
		uv, err := os.ReadFile(filepath.Join(tools(t), "uv"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(b.Dir, "h1/home/uv") // the host's /root
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			b.Must(t, "exec", "1", "docker", "image", "rm", "-f", here.onHosts(image))
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		if err := os.WriteFile(filepath.Join(dir, "uv"), uv, 0o755); err != nil {
			t.Fatal(err)
		}
		in := func(script string) string {
			return b.Must(t, "exec", "1", "docker", "run", "--rm", "--network", "none", "-v", "/root/uv:/uv:ro",
				here.onHosts(image), "sh", "-c", script)
		}
		if out := in("python -m pip check"); !strings.Contains(out, "No broken requirements found.") {
			t.Errorf("pip check: %s", out)
		}
		if out := in(`/uv/uv --no-cache pip check --python "$(command -v python)" 2>&1`); !strings.Contains(out,
			"compatible") {
			t.Errorf("uv pip check: %s", out)
		}
		text := in("python -m pip --no-python-version-warning inspect --local 2>/dev/null")
		checkInspected(t, text[max(0, strings.Index(text, "{")):])
	})
}

// checkInspected compares what `pip inspect` says with what the image is made of.
func checkInspected(t *testing.T, text string) {
	t.Helper()
	var saw struct {
		Installed []struct {
			Metadata         struct{ Name, Version string }
			MetadataLocation string `json:"metadata_location"`
			Installer        string
			Requested        bool
			DirectURL        json.RawMessage `json:"direct_url"`
		}
	}
	if err := json.Unmarshal([]byte(text), &saw); err != nil {
		t.Fatalf("read pip inspect: %v\n%.500s", err, text)
	}
	requested := map[string]string{}
	for _, p := range saw.Installed {
		if p.Metadata.Name == "" || p.Metadata.Version == "" || p.Installer == "" {
			t.Errorf("pip inspect has a package without name, version or installer: %+v", p)
		}
		if p.DirectURL != nil {
			t.Errorf("%s came from an index and has a direct_url: %s", p.Metadata.Name, p.DirectURL)
		}
		if p.Requested {
			requested[p.Metadata.Name] = p.Metadata.Version
		}
	}
	if len(saw.Installed) < 50 || requested["ray"] != world.RayReal || requested["requests"] == "" {
		t.Errorf("pip inspect has %d packages; asked for are %v, want ray %s and requests", len(saw.Installed),
			requested, world.RayReal)
	}
}
