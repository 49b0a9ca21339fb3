package cluster

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/raybuild/raybuild/internal/kube/kubetest"
)

// part is a part of an exported document.
type part struct{ value any }

// at follows keys and numbers of items; what is not there is a part of nil.
func (d part) at(path ...any) part {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := d.value.(map[string]any)
			d.value = m[p]
		case int:
			l, _ := d.value.([]any)
			if d.value = nil; p < len(l) {
				d.value = l[p]
			}
		}
	}
	return d
}

func (d part) String() string {
	if d.value == nil {
		return ""
	}
	b, err := yaml.Marshal(d.value)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// exported is a cluster on Kubernetes: its spec as KubeRay's RayCluster has it, in whatever kind, and what stands
// around it. The API server's code with KubeRay's definition has accepted it.
func exported(t *testing.T, text string, o ExportOptions) (spec, whole part, doc string) {
	t.Helper()
	b := export(t, load(t, text), KubeRay, o)
	var all map[string]any
	if err := yaml.UnmarshalStrict(b, &all); err != nil {
		t.Fatal(err)
	}
	whole = part{all}
	for _, inner := range []string{"rayClusterSpec", "rayClusterConfig"} {
		if spec = whole.at("spec", inner); spec.value != nil {
			break
		}
	}
	if spec.value == nil {
		spec = whole.at("spec")
	}
	crd, err := kubetest.NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	alone, err := yaml.Marshal(map[string]any{"apiVersion": "ray.io/v1", "kind": "RayCluster",
		"metadata": map[string]any{"name": "demo"}, "spec": spec.value})
	if err != nil {
		t.Fatal(err)
	}
	if p := problems(t, crd, alone); len(p) > 0 {
		t.Errorf("the API server refuses it: %s\n%s", strings.Join(p, "\n"), alone)
	}
	return spec, whole, string(b)
}

// pods are the pods' specs of a cluster: the head's, and those of its groups of workers.
func pods(spec part) []part {
	out := []part{spec.at("headGroupSpec", "template", "spec")}
	groups, _ := spec.at("workerGroupSpecs").value.([]any)
	for _, g := range groups {
		out = append(out, part{g}.at("template", "spec"))
	}
	return out
}

const kubeHosts = `
name: demo
image: registry.corp.example/team/ray@` + digest1 + `
head: {host: u@10.0.0.1, num_cpus: 2, shm_size: 1g}
workers:
  - {name: w, hosts: ["u@10.0.0.[2-4]"], num_cpus: 4, num_gpus: 1, shm_size: 1g}
`

func kubeOptions(ray, operator string) ExportOptions {
	return ExportOptions{Image: ImageFacts{RayVersion: ray, User: "1000:100"}, Operator: operator}
}

// TestCase16: KubeRay's own probes run wget, which raybuild's default image does not have: no pod got ready, and
// --apply waited for ten minutes.
func TestCase16ProbesWithoutWget(t *testing.T) {
	t.Parallel()
	const (
		unified = "/api/healthz"
		gcs     = "/api/gcs_healthz"
		raylet  = "/api/local_raylet_healthz"
	)
	for name, tt := range map[string]struct {
		ray, operator string
		head, worker  string // what the readiness probe asks; empty: KubeRay's own, which needs no wget
	}{
		"Ray 2.52 and KubeRay 1.5":                    {"2.52.1", "1.5.1", gcs, raylet},
		"any operator":                                {"2.60.0", "", unified, unified},
		"KubeRay 1.4 and a new Ray":                   {"2.55.0", "1.4.2", unified, unified},
		"KubeRay 1.6 and a Ray without unified page":  {"2.40.0", "1.6.2", gcs, raylet},
		"KubeRay 1.6 asks by HTTP itself":             {"2.53.0", "1.6.2", "", ""},
		"a Ray without any page of its health":        {"1.13.0", "1.2.2", "6379", "6380"},
		"the first Ray that has such pages":           {"2.0.0", "1.3.2", gcs, raylet},
		"KubeRay 1.7 and the first Ray with the page": {"2.53.0", "1.7.0", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			spec, _, doc := exported(t, kubeHosts, kubeOptions(tt.ray, tt.operator))
			for i, want := range []string{tt.head, tt.worker} {
				c := pods(spec)[i].at("containers", 0)
				ready, live := c.at("readinessProbe"), c.at("livenessProbe")
				asked := ready.at("httpGet", "path").String() + ready.at("tcpSocket", "port").String()
				if asked != want || (live.value == nil) != (want == "") {
					t.Errorf("container %d is asked %q, want %q\nliveness: %s", i, asked, want, live)
				}
			}
			if strings.Contains(doc, "wget") {
				t.Errorf("the export needs wget in the image:\n%s", doc)
			}
		})
	}
}

// A worker of a RayService is ready when its proxy answers; KubeRay asks by wget even in 1.6.
func TestCase16WorkersOfServices(t *testing.T) {
	t.Parallel()
	o := kubeOptions("2.60.0", "1.6.2")
	o.Kind, o.Serve = RayService, []byte("applications: [{name: a, import_path: app:app}]\n")
	spec, _, _ := exported(t, kubeHosts, o)
	head, worker := pods(spec)[0].at("containers", 0), pods(spec)[1].at("containers", 0)
	if got := worker.at("readinessProbe", "httpGet"); got.String() != "path: /-/healthz\nport: 8000" {
		t.Errorf("a worker gets requests when %q answers", got)
	}
	if got := worker.at("livenessProbe", "httpGet", "path").String(); got != "/api/healthz" {
		t.Errorf("a worker lives while %q answers", got)
	}
	if head.at("readinessProbe").value != nil {
		t.Errorf("KubeRay's own probe is good for the head: %s", head)
	}
}

// A Ray of long ago has no page of its health: the probes ask for its ports, so the worker's has to be known.
func TestCase16PortOfOldWorkers(t *testing.T) {
	t.Parallel()
	spec, _, _ := exported(t, kubeHosts, kubeOptions("1.13.0", "1.2.2"))
	params := spec.at("workerGroupSpecs", 0, "rayStartParams")
	if got := params.at("node-manager-port").value; got != "6380" {
		t.Errorf("the worker listens at %v, and is asked at 6380", got)
	}
}

// TestCase18: OpenShift's restricted SCC rejects a pod that names a user, a group or an fsGroup outside of the
// namespace's range. The export always named them.
func TestCase18PlatformChoosesTheUser(t *testing.T) {
	t.Parallel()
	job := kubeOptions("2.60.0", "")
	job.Kind, job.Entrypoint = RayJob, []string{"python", "train.py"}
	text := kubeHosts + "kubernetes: {arbitrary_uid: true}\nmounts: [\"data:/data\"]\n"
	for name, o := range map[string]ExportOptions{"a cluster": kubeOptions("2.60.0", ""), "a job": job} {
		spec, whole, doc := exported(t, text, o)
		all := pods(spec)
		if name == "a job" {
			all = append(all, whole.at("spec", "submitterPodTemplate", "spec"))
		}
		for _, pod := range all {
			want := "runAsNonRoot: true\nseccompProfile:\n  type: RuntimeDefault"
			if got := pod.at("securityContext").String(); got != want {
				t.Errorf("%s: a pod has the security context\n%s", name, got)
			}
			want = "allowPrivilegeEscalation: false\ncapabilities:\n  drop:\n  - ALL"
			if got := pod.at("containers", 0, "securityContext").String(); got != want {
				t.Errorf("%s: a container has the security context\n%s", name, got)
			}
		}
		if regexp.MustCompile("runAsUser|runAsGroup|fsGroup").MatchString(doc) {
			t.Errorf("%s names ids:\n%s", name, doc)
		}
	}
}

// A user whom /etc/passwd does not have is asked for by name all the same, by torch for example.
func TestCase18UserHasAName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "ray", "env: {USER: alice}\n": "alice"} {
		spec, _, doc := exported(t, kubeHosts+"kubernetes: {arbitrary_uid: true}\n"+text, kubeOptions("2.60.0", ""))
		if got := envOf(pods(spec)[1])["USER"]; got != want || strings.Count(doc, "name: USER\n") != 2 {
			t.Errorf("USER is %q, want %q, once in each container\n%s", got, want, doc)
		}
	}
	if _, _, doc := exported(t, kubeHosts, kubeOptions("2.60.0", "")); strings.Contains(doc, "name: USER\n") {
		t.Error("a pod that runs as the image's user has its name from the image")
	}
}

// Elsewhere pods still run as the image's user, and never as root.
func TestCase18UserOfTheImage(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]struct{ context, note string }{
		"1000:100": {"1000 100", ""}, "1001": {"1001 ", ""}, "root": {"1000 ", "the image runs as root"},
		"ray": {"1000 ", `the image names its user "ray" without a number: 1000 is a guess`},
	} {
		o := kubeOptions("2.60.0", "")
		o.Image.User = user
		spec, _, doc := exported(t, kubeHosts, o)
		s := pods(spec)[0].at("securityContext")
		if got := s.at("runAsUser").String() + " " + s.at("runAsGroup").String(); got != want.context ||
			s.at("runAsNonRoot").value != true || !strings.Contains(doc, want.note) {
			t.Errorf("user %s: pods run as %q, want %q, and a note %q\n%s", user, got, want.context, want.note, doc)
		}
	}
}

// envOf are the plain variables of a pod's first container.
func envOf(pod part) map[string]string {
	out := map[string]string{}
	all, _ := pod.at("containers", 0, "env").value.([]any)
	for _, v := range all {
		e := part{v}
		out[e.at("name").String()] = fmt.Sprint(e.at("value").value)
	}
	return out
}

// TestKubernetesKeysRefuse: what is wrong is named, with what would be right.
func TestKubernetesKeysRefuse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"kubernetes: {pull_secrets: [a]}": {
			"kubernetes.pull_secrets: unknown key", "image_pull_secrets"},
		"kubernetes: {image_pull_secrets: [My_S]}": {
			"is not the name of a Secret", "lower-case letters"},
		"kubernetes: {upscaling: fast}": {
			"kubernetes.upscaling", "Conservative"},
		"pod: {tolerations: [{effect: NoSchedule}]}": {
			"has no key"},
		"pod: {tolerations: [{key: a, effect: no}]}": {
			"pod.tolerations[0].effect", "NoExecute"},
		"pod: {tolerations: [{key: a, seconds: 5}]}": {
			"seconds is for effect NoExecute alone", "effect: NoExecute"},
		"pod: {node_selector: {\"a b\": c}}": {
			"is not a label's name"},
		"pod: {gpu_resource: gpu}": {
			"is not a resource of a device plugin", "nvidia.com/gpu"},
		"pod: {limits: {memory: 8Gi}}": {
			"memory has a key of its own", "use memory and shm_size"},
		"pod: {limits: {rdma/hca: many}}": {
			"is not an amount", "100Gi"},
		"pod: {labels: {ray.io/group: a}}": {
			"is set by KubeRay", "leave it out"},
		"pod: {mounts: [{target: /data}]}": {
			"does not say what is mounted at /data", "say one of claim"},
		"pod: {mounts: [{target: /d, claim: a, secret: b}]}": {
			"mounts claim and secret at /d", "say one of"},
		"pod: {mounts: [{target: /dev/shm, memory: 1g}]}": {
			"/dev/shm is used by the launcher", "shm_size"},
		"pod: {mounts: [{target: /d, claim: a}, {target: /d, claim: b}]}": {
			"/d is mounted twice"},
		"pod: {mounts: [{target: /d, claim: a, storage_class: b}]}": {
			"storage_class is for an ephemeral volume"},
		"pod: {mounts: [{target: /d, claim: a, sub_path: ../x}]}": {
			"is not a path in the volume", "relative path"},
		"workers: [{host: u@10.0.0.2, autoscale: {min: 3, max: 2}}]": {
			"min is 3, more than max, 2"},
		"workers: [{host: u@10.0.0.2, autoscale: {min: 3}}]": {
			"has no max"},
		"workers: [{host: u@10.0.0.2, pod: {mounts: [{target: /d, claim: A}]}}]": {
			"workers[0].pod.mounts[0].claim"},
	} {
		_, err := Load("cluster.yaml", []byte("name: a\nimage: r\nhead: {host: u@10.0.0.1}\n"+text+"\n"))
		for _, words := range want {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: the error does not say %q: %v", text, words, err)
			}
		}
	}
}

// TestPodsOfGroups: a key nearer to a node wins, as elsewhere, and changes no other group.
func TestPodsOfGroups(t *testing.T) {
	t.Parallel()
	s := load(t, "name: a\nimage: r\npod: {node_selector: {pool: cpu}, tolerations: [{key: all}], labels: {team: x}}\n"+
		"head: {host: u@10.0.0.1}\nworkers:\n"+
		"  - {host: u@10.0.0.2, pod: {node_selector: {gpu: a}, tolerations: [{key: gpu}]}}\n  - {host: u@10.0.0.3}\n")
	for i, want := range []string{"map[pool:cpu] all", "map[gpu:a pool:cpu] gpu", "map[pool:cpu] all"} {
		p := s.Nodes()[i].Pod
		if got := fmt.Sprint(p.NodeSelector, " ", p.Tolerations[0].Key); got != want || len(p.Tolerations) != 1 ||
			!slices.Equal(slices.Collect(maps.Values(p.Labels)), []string{"x"}) {
			t.Errorf("node %d has %s, want %s", i, got, want)
		}
	}
}
