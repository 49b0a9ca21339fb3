package kuberay

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/kube/kubetest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

const operatorModule = "github.com/ray-project/kuberay/ray-operator"

// operators are the last release of each minor version, with the sum of the module (go.sum's). Of
// 1.7.0 the module proxy gives no module: its definition, which other tests have, is what checks
// for it.
func operators() []struct{ version, sum string } {
	return []struct{ version, sum string }{
		{"1.2.2", "h1:wj4qe9SmJfD1ubgEaVPuAsnU/WFDvremzR8j3JslBdk="}, // has no validation to call: its definition alone
		{"1.3.2", "h1:3tDr1WtLS8WgOg/PVvyokFFsCVuh44SsjPdtlOrHDY4="},
		{"1.4.2", "h1:A4tGzbIky8sInAUxZBdBb+rrpZ7fbqoxdsOtm559Zqg="},
		{"1.5.1", "h1:7FJYmB8oM+cnjv1VYCj/TfzRZG4XHvvt5Ayn5pZ5A1c="},
		{"1.6.2", "h1:XUckRswLMyk71D00L62d2Vanh0fVkNqu56+IF/rr+O0="},
		{"1.7.0", ""},
	}
}

// skip leaves the test out with a reason, or fails it where nothing may be left out.
func skip(t *testing.T, format string, a ...any) {
	t.Helper()
	testneeds.Skip(t, fmt.Sprintf(format, a...))
}

// sourceOf is the directory of an operator's module; an empty one where there is no module.
func sourceOf(t *testing.T, version, sum string) string {
	t.Helper()
	if sum == "" {
		return t.TempDir()
	}
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", operatorModule+"@v"+version)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil || err != nil {
		skip(t, "the Go module proxy has no %s v%s: %v %s", operatorModule, version, err, got.Error)
	}
	if got.Sum != sum {
		t.Fatalf("%s v%s has the sum %s, want %s", operatorModule, version, got.Sum, sum)
	}
	return got.Dir
}

// definition is an operator's definition of a kind, such as rayjob; nil where there is none to be had.
func definition(t *testing.T, dir, kind string) *kubetest.Schema {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config/crd/bases/ray.io_"+kind+"s.yaml"))
	if os.IsNotExist(err) && kind != "raycluster" {
		return nil
	}
	if os.IsNotExist(err) {
		s, err := kubetest.NewSchema() // the newest one's is in kubetest
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := kubetest.ReadSchema(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sketch = `
name: demo
image: registry.example/ray@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
head: {host: u@10.0.0.1}
`

const workers = sketch + `workers:
  - {name: big, hosts: ["u@10.0.0.[2-3]"], num_cpus: 8, num_gpus: 1, memory: 8g, object_store_memory: 2g,
     resources: {disk: 0.5}}
  - {name: small, hosts: ["u@10.0.0.4"], mounts: ["/data:/data:ro", "cache:/cache"], env: {A: "$HOME $(x) it's"}}
`

const labels = sketch + `labels: {zone: a, team.example/kind: b-1}
workers: [{name: w, hosts: ["u@10.0.0.2"], labels: {zone: ""}, args: ["--verbose"]}]
`

// needs has all that cluster.yaml can say for Kubernetes.
const needs = sketch + `kubernetes:
  image_pull_secrets: [regcred]
  service_account: ray
  fs_group: 2000
  idle_timeout: 5m
  upscaling: Conservative
pod:
  node_selector: {pool: "true"}
  tolerations: [{key: a}, {key: b, value: c, effect: NoExecute, seconds: 30}]
  mounts:
    - {target: /data, claim: team, sub_path: a/b, read_only: true}
    - {target: /conf, config_map: conf}
    - {target: /token, secret: hf}
    - {target: /nvme, host_path: /mnt/nvme}
    - {target: /spill, empty_dir: 50g}
    - {target: /mem, memory: 2g}
    - {target: /scratch, ephemeral: 100g, storage_class: fast}
  limits: {rdma/hca: "1", ephemeral-storage: 100Gi}
  priority_class: high
  runtime_class: nvidia
  labels: {team: search}
  annotations: {note: a b}
workers:
  - {name: w, hosts: ["u@10.0.0.[2-3]"], num_gpus: 1, pod: {gpu_resource: amd.com/gpu}, autoscale: {min: 0, max: 9}}
`

const openShift = sketch + `kubernetes: {arbitrary_uid: true}
mounts: ["data:/data"]
workers: [{name: w, hosts: ["u@10.0.0.2"]}]
`

// exports are what raybuild writes for an operator: each shape of a cluster with each kind of Ray, and each kind of
// KubeRay's.
func exports(t *testing.T, operator string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, text := range map[string]string{"sketch": sketch, "workers": workers, "labels": labels, "needs": needs,
		"openshift": openShift} {
		spec, err := cluster.Load("cluster.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, ray := range []string{"0.8.6", "1.13.0", "2.9.3", "2.40.0", "2.49.2", "2.52.1", "2.55.1", "2.60.0"} {
			for _, kind := range kinds() {
				o := cluster.ExportOptions{Image: cluster.ImageFacts{Ref: spec.Image, RayVersion: ray,
					User: "1000:100"}, Operator: operator, Kind: kind}
				if kind == cluster.RayJob {
					o.Entrypoint, o.RuntimeEnv = []string{"python", "train.py", "a b"}, []byte("pip: [requests]\n")
					o.Namespace = "ml"
				}
				if kind == cluster.RayService {
					o.Serve = []byte("applications: [{name: a, import_path: app:app}]\n")
				}
				doc, err := cluster.Export(spec, cluster.KubeRay, o)
				if err != nil && refused(name, ray, operator, kind) {
					continue
				}
				if err != nil {
					t.Fatalf("%s, Ray %s, KubeRay %s: %v", name, ray, operator, err)
				}
				out[name+"-"+ray+"-"+string(kind)] = doc
			}
		}
	}
	return out
}

func kinds() []cluster.Kind {
	return []cluster.Kind{cluster.RayCluster, cluster.RayJob, cluster.RayService}
}

// refused tells what raybuild does not export, with an error.
func refused(name, ray, operator string, kind cluster.Kind) bool {
	token := strings.HasPrefix(ray, "2.5") || ray == "2.60.0"
	switch {
	case name == "labels": // Ray without labels, or with another form of them than KubeRay's
		return !token || kind != cluster.RayCluster
	case name == "needs" && ray < "2", kind != cluster.RayCluster && ray < "2": // no autoscaler, no jobs
		return true
	}
	return kind != cluster.RayCluster && token && operator != "" && operator < "1.5.1" // no token for the operator
}

// sources are the operators' modules by version.
func sources(t *testing.T) map[string]string {
	t.Helper()
	dirs := map[string]string{}
	for _, o := range operators() {
		dirs[o.version] = sourceOf(t, o.version, o.sum)
	}
	return dirs
}

// exportsFor are the exports for an operator, and those without a version in mind where it is one of theirs.
func exportsFor(t *testing.T, version string) map[string][]byte {
	t.Helper()
	docs := exports(t, version)
	if version >= "1.5.1" {
		for name, doc := range exports(t, "") {
			docs[name+"-default"] = doc
		}
	}
	return docs
}

// Each export is accepted by the definition and by the operator's validation of the KubeRay that it
// is for; what is written without a version in mind is so by all from 1.5.1 on.
func TestOperatorsAcceptExports(t *testing.T) {
	dirs := sources(t)
	programs := build(t, dirs)
	if len(programs) != len(operators())-2 {
		t.Errorf("validations of %d versions of KubeRay, want all but those of 1.2 and 1.7", len(programs))
	}
	for _, o := range operators() {
		t.Run(o.version, func(t *testing.T) {
			docs := exportsFor(t, o.version)
			for _, kind := range kinds() {
				defined(t, definition(t, dirs[o.version], string(kind)), docs, kind)
			}
			program, ok := programs[o.version]
			t.Logf("%d exports, validation to call: %v", len(docs), ok)
			if !ok {
				return
			}
			answers := validated(t, program, docs)
			for name, a := range answers {
				if a.Error != "" {
					t.Errorf("the operator refuses %s: %s\n%s", name, a.Error, docs[name])
				}
			}
			t.Run("TestCase16", func(t *testing.T) { withoutWget(t, answers) })
			refuses(t, o.version, program, docs)
		})
	}
}

// defined asks the definition of a kind about the exports of this kind.
func defined(t *testing.T, crd *kubetest.Schema, docs map[string][]byte, kind cluster.Kind) {
	t.Helper()
	if crd == nil {
		return
	}
	for name, doc := range docs {
		if !strings.Contains(name, "-"+string(kind)) {
			continue
		}
		if unknown, others, err := crd.Problems(t.Context(), doc); err != nil || len(unknown)+len(others) > 0 {
			t.Errorf("the definition refuses %s: %v %q\n%s", name, err, append(unknown, others...), doc)
		}
	}
}

// withoutWget: the operator's own code, which puts probes into pods, leaves none that runs a program of the image. With
// such a probe no pod of an image without wget gets ready.
func withoutWget(t *testing.T, answers map[string]answer) {
	t.Helper()
	for name, a := range answers {
		for i, c := range append([]container{a.Head}, a.Workers...) {
			if c.LivenessProbe == nil || c.ReadinessProbe == nil {
				t.Errorf("%s: container %d has no probes", name, i)
			}
		}
		if p := a.probes(); strings.Contains(p, "exec") || strings.Contains(p, "wget") {
			t.Errorf("%s: its pods are asked by a program of the image: %s", name, p)
		}
	}
}

// refuses shows that a validation does look.
func refuses(t *testing.T, version, program string, docs map[string][]byte) {
	t.Helper()
	const rayCluster, rayJob, rayService = "workers-2.40.0-raycluster", "needs-2.40.0-rayjob", "needs-2.40.0-rayservice"
	for what, tt := range map[string]struct{ doc, old, with, since string }{
		"labels in rayStartParams": {rayCluster, "rayStartParams:\n", "rayStartParams:\n      labels: zone=a\n", "1.5"},
		"no container":             {rayCluster, "containers:\n", "initContainers:\n", "1.3"},
		"a name too long": {rayCluster, "\n  name: demo\n", "\n  name: " + strings.Repeat("d", 60) + "\n",
			"1.4"},
		"a token for an old Ray": {"workers-2.60.0-raycluster", "rayVersion: 2.60.0", "rayVersion: 2.51.0", "1.5.1"},
		"a job that is no YAML":  {rayJob, "pip: [requests]", "pip: [requests", "1.3"},
		"a job's cluster":        {rayJob, "headGroupSpec:", "headGroupSpecs:", "1.3"},
		"a job's name too long": {rayJob, "\n  name: demo\n", "\n  name: " + strings.Repeat("d", 50) + "\n",
			"1.4"},
		"a service's name too long": {rayService, "\n  name: demo\n", "\n  name: " + strings.Repeat("d", 50) + "\n",
			"1.4"},
		"fewer than none": {rayService, "minReplicas: 0", "minReplicas: -1", "1.6"},
	} {
		if version < tt.since {
			continue
		}
		good := string(docs[tt.doc])
		bad := strings.Replace(good, tt.old, tt.with, 1)
		if bad == good {
			t.Fatalf("no %q in\n%s", tt.old, good)
		}
		if got := validated(t, program, map[string][]byte{"bad": []byte(bad)}); got["bad"].Error == "" {
			t.Errorf("the operator accepts %s:\n%s", what, bad)
		}
	}
	// Without the export's probes the operator makes its own, which run wget.
	bare := regexp.MustCompile(`(?m)^ +(liveness|readiness)Probe:\n( +.*\n){7}`).ReplaceAllString(
		string(docs["workers-2.40.0-raycluster"]), "")
	if got := validated(t, program, map[string][]byte{"bare": []byte(bare)})["bare"]; !strings.Contains(got.probes(),
		"wget") || got.Error != "" {
		t.Errorf("without probes of ours, the operator's are %s (%s)", got.probes(), got.Error)
	}
}
