package cli

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/raybuild/raybuild/internal/kube/kubetest"
)

// rayRegistry has an image of Ray 2.55.0, and gives its pinned name.
func rayRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		Config: v1.Config{User: "1000:100", Labels: map[string]string{"dev.raybuild.ray": "2.55.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://")+"/ray:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Name() + "@" + d.String()
}

func TestExportApply(t *testing.T) {
	t.Parallel()
	dir, image := t.TempDir(), rayRegistry(t)
	text := fmt.Sprintf("name: demo\nimage: %s\nhead: {host: u@10.0.0.1, num_cpus: 1, shm_size: 1g}\n"+
		"workers: [{name: w, host: u@10.0.0.2}]\n", image)
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := kubetest.Start(t)
	s.Operator = func(obj *unstructured.Unstructured, _ int) map[string]any {
		return map[string]any{"state": "ready", "observedGeneration": obj.GetGeneration(),
			"desiredWorkerReplicas": int64(1), "readyWorkerReplicas": int64(1),
			"head": map[string]any{"serviceName": "demo-head-svc"}}
	}
	export := []string{"cluster", "export", "--apply", "--kubeconfig", s.Kubeconfig(t), "--namespace",
		kubetest.Namespace}
	r := call(t, dir, export...)
	if r.code != exitDone || r.stdout != "raycluster.ray.io/demo applied and ready in namespace ml (1 workers)\n" {
		t.Fatalf("exit code %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	if !strings.Contains(r.stderr, "note: num_cpus of w is auto in cluster.yaml: 2 is a guess") {
		t.Errorf("it does not say what it guessed:\n%s", r.stderr)
	}
	got, _, _ := unstructured.NestedSlice(s.Cluster().Object, "spec", "headGroupSpec", "template", "spec", "containers")
	if len(got) != 1 || got[0].(map[string]any)["image"] != image {
		t.Errorf("the head runs %v, want %s", got, image)
	}
	r = call(t, dir, append(export, "--json")...)
	var result struct {
		Changed bool
		Service string `json:"head_service"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != exitDone ||
		result.Changed || result.Service != "demo-head-svc" || !strings.Contains(r.stderr, "nothing changed") {
		t.Errorf("again: exit code %d, %v\n%s\n%s", r.code, err, r.stdout, r.stderr)
	}
	s.SetAs(t, "autopilot", map[string]any{"spec": map[string]any{"rayVersion": "2.40.0"}})
	if r = call(t, dir, export...); r.code != exitFailed || !strings.Contains(r.stderr, ".spec.rayVersion") {
		t.Errorf("a conflict: exit code %d\n%s", r.code, r.stderr)
	}
	if r = call(t, dir, append(export, "--force-conflicts")...); r.code != exitDone {
		t.Errorf("with --force-conflicts: exit code %d\n%s", r.code, r.stderr)
	}
	for _, args := range [][]string{{"--format", "compose", "--apply"}, {"--context", "test"}, {"--force-conflicts"},
		{"--timeout", "1m"}, {"--apply", "--timeout", "0s"}} {
		if r := call(t, dir, append([]string{"cluster", "export"}, args...)...); r.code != exitUsage ||
			!strings.Contains(r.stderr, "--") {
			t.Errorf("%q: exit code %d, want %d\n%s", args, r.code, exitUsage, r.stderr)
		}
	}
}

func TestExportRayUpWarnsOfAMissingKey(t *testing.T) {
	t.Parallel()
	dir, image := t.TempDir(), rayRegistry(t)
	text := fmt.Sprintf("name: demo\nimage: %s\nhead: {host: u@10.0.0.1, num_cpus: 1, shm_size: 1g}\n", image)
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := call(t, dir, "cluster", "export", "--format", "ray-up", "--ssh-config", "none", "--identity", "nowhere")
	if r.code != exitDone || !strings.Contains(r.stderr, "warning: the file lacks auth.ssh_private_key") ||
		!strings.Contains(r.stdout, "\n# - missing: auth.ssh_private_key") {
		t.Errorf("it does not say in the file, and as a warning, that the key is missing: exit code %d\n%s\n%s", r.code,
			r.stderr, r.stdout)
	}
}

// TestCase19ExportOfKinds: a job and a service go to kubectl; what does not go together is said.
func TestCase19ExportOfKinds(t *testing.T) {
	t.Parallel()
	dir, image := t.TempDir(), rayRegistry(t)
	for name, text := range map[string]string{
		"cluster.yaml": fmt.Sprintf("name: demo\nimage: %s\nhead: {host: u@10.0.0.1, num_cpus: 1, shm_size: 1g}\n",
			image),
		"serve.yaml": "applications: [{name: a, import_path: app:app}]\n", "env.yaml": "pip: [requests]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for want, args := range map[string][]string{
		"entrypoint: python train.py --lr=0.1": {"--kind", "rayjob", "--runtime-env", "env.yaml", "--", "python",
			"train.py", "--lr=0.1"},
		"serveConfigV2: |": {"--kind", "rayservice", "--serve-config", "serve.yaml"},
	} {
		r := call(t, dir, append([]string{"cluster", "export"}, args...)...)
		if r.code != exitDone || !strings.Contains(r.stdout, want) {
			t.Errorf("%q: exit code %d, want %q\n%s%s", args, r.code, want, r.stdout, r.stderr)
		}
	}
	for want, args := range map[string][]string{
		"a command goes with --kind rayjob":       {"--", "python", "train.py"},
		"--kind rayjob needs a command":           {"--kind", "rayjob"},
		"the job's command comes after --":        {"--kind", "rayjob", "python"},
		"--kind is for --format kuberay":          {"--format", "compose", "--kind", "raycluster"},
		"--runtime-env goes with --kind rayjob":   {"--runtime-env", "env.yaml"},
		"--kind rayservice needs --serve-config":  {"--kind", "rayservice"},
		"hand a rayjob to kubectl apply -f -":     {"--apply", "--kind", "rayjob", "--", "python"},
		"--serve-config goes with --kind rayserv": {"--serve-config", "serve.yaml"},
		"kuberay": {"kuberay"}, // the argument is named
	} {
		r := call(t, dir, append([]string{"cluster", "export"}, args...)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: exit code %d, want %q\n%s", args, r.code, want, r.stderr)
		}
	}
}
