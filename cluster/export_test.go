package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/raybuild/raybuild/internal/kube/kubetest"
)

// content checks a file of testdata against the digest in its README.
func content(t *testing.T, name, sum string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
		t.Fatalf("%s has digest %x", name, got)
	}
	return b
}

// problems lists what an API server with KubeRay's definition would refuse.
func problems(t *testing.T, crd *kubetest.Schema, doc []byte) []string {
	t.Helper()
	unknown, others, err := crd.Problems(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	return append(unknown, others...)
}

func exportOptions(version string) ExportOptions { return ExportOptions{Image: testImage(version)} }

func export(t *testing.T, s *Spec, f Format, o ExportOptions) []byte {
	t.Helper()
	b, err := Export(s, f, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Export(s, f, o)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatal("another run gives other bytes")
	}
	return b
}

const richHosts = `
name: demo
image: registry/ray@` + digest1 + `
head: {host: u@10.0.0.1, num_cpus: 2, shm_size: 2g}
env: {A: "$HOME $(x) it's", B: "8"}
mounts: ["/data:/data:ro", "cache:/cache"]
workers:
  - {name: big, hosts: ["u@10.0.0.[2-3]"], num_cpus: 8, num_gpus: 1, memory: 8g, object_store_memory: 2g,
     resources: {disk: 0.5}, labels: {zone: a}, args: ["--verbose", "--plasma-directory=/x"]}
  - {name: small, hosts: ["u@10.0.0.4"]}
`

func TestExportKubeRayIsAcceptedByItsSchema(t *testing.T) {
	t.Parallel()
	crd, err := kubetest.NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	versions, _ := rayVersions(t)
	specs := map[string]string{"sketch": sketch, "rich": richHosts, "head alone": "name: a\nimage: r\n" +
		"head: {host: local}\n"}
	for name, text := range specs {
		for _, v := range append(versions, "2.59.0") {
			if name == "rich" && !strings.HasPrefix(v, "2.4") && !strings.HasPrefix(v, "2.5") {
				continue // node labels
			}
			o := exportOptions(v)
			o.Namespace = "ml"
			if v, _ := parseVersion(v); v.before(2, 46) {
				o.Operator = "1.4.2" // newer ones cannot hand it labels
			}
			b := export(t, load(t, text), KubeRay, o)
			if p := problems(t, crd, b); len(p) > 0 {
				t.Errorf("%s, ray %s: %s\n%s", name, v, strings.Join(p, "\n"), b)
			}
		}
	}
	t.Run("the schema refuses what is wrong", func(t *testing.T) {
		good := string(export(t, load(t, richHosts), KubeRay, exportOptions("2.55.0")))
		for _, change := range [][2]string{{"replicas: 2", "replicas: two"}, {"groupName: big", "groupname: big"},
			{"mode: token", "mode: open"},
			{"runAsNonRoot: true", "runAsNonroot: true"}, {"name: ray-head", "nam: ray-head"}} {
			if !strings.Contains(good, change[0]) {
				t.Fatalf("no %q in\n%s", change[0], good)
			}
			if p := problems(t, crd, []byte(strings.Replace(good, change[0], change[1], 1))); len(p) == 0 {
				t.Errorf("%q is accepted", change[1])
			}
		}
	})
}

func TestExportKubeRayContent(t *testing.T) {
	t.Parallel()
	o := exportOptions("2.55.0")
	o.Image.User = "1000:100"
	b := string(export(t, load(t, richHosts), KubeRay, o))
	for _, want := range []string{"image: registry/ray@" + digest1, "mode: token", "runAsNonRoot: true",
		"runAsUser: 1000", "runAsGroup: 100",
		"allowPrivilegeEscalation: false", "groupName: big", "replicas: 2", "nvidia.com/gpu: \"1\"",
		"resources: '''{\"disk\":0.5}'''", "labels:\n        zone: a",
		"verbose: \"true\"", "plasma-directory: /x", "value: $HOME $$(x) it's", "value: \"8\"", "claimName: cache",
		"path: /data",
		"# - num_cpus of small is auto in cluster.yaml: 2 is a guess", "memory: 10444Mi"} {
		if !strings.Contains(b, want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	for operator, want := range map[string]string{"1.4.2": "labels: zone=a", "1.5.0": "labels:\n        zone: a"} {
		o.Operator = operator
		b := string(export(t, load(t, richHosts), KubeRay, o))
		for _, want := range []string{want, "name: RAY_AUTH_TOKEN", "key: auth_token",
			"kubectl create secret generic demo", "path: /api/healthz"} {
			if !strings.Contains(b, want) {
				t.Errorf("KubeRay %s: no %q in\n%s", operator, want, b)
			}
		}
		if strings.Contains(b, "authOptions") {
			t.Errorf("KubeRay %s has no authOptions:\n%s", operator, b)
		}
	}
	o.Operator = "1.6.0"
	if b := string(export(t, load(t, richHosts), KubeRay, o)); strings.Contains(b, "Probe") ||
		!strings.Contains(b, "mode: token") {
		t.Errorf("KubeRay 1.6 with Ray 2.55 makes probes and the token itself:\n%s", b)
	}
}

func TestExportRayUpIsAcceptedByItsSchema(t *testing.T) {
	t.Parallel()
	var doc any
	if err := json.Unmarshal(content(t, "ray-schema.json",
		"6ebd78a1a791584cb4ab7bf31b9eec6c1aa8e1eb6e8eef6d95f19ac4d98f4db4"), &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("ray-schema.json", doc); err != nil {
		t.Fatal(err)
	}
	rayUp, err := c.Compile("ray-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte) error {
		j, err := yaml.YAMLToJSON(b)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
		if err != nil {
			t.Fatal(err)
		}
		return rayUp.Validate(v)
	}
	oneGroup := strings.Split(richHosts, "  - {name: small")[0]
	versions, _ := rayVersions(t)
	for _, text := range []string{sketch, threeHosts, "name: a\nimage: r\nhead: {host: u@10.0.0.1}\n"} {
		for _, v := range append(versions, "2.59.0") {
			if err := check(export(t, load(t, text), RayUp, exportOptions(v))); err != nil {
				t.Errorf("ray %s: %v", v, err)
			}
		}
	}
	b := export(t, load(t, oneGroup), RayUp, exportOptions("2.55.0"))
	if err := check(b); err != nil {
		t.Errorf("%v\n%s", err, b)
	}
	for _, want := range []string{"head_ip: 10.0.0.1", "- 10.0.0.3", `'--resources={"disk":0.5}'`,
		"--address=$RAY_HEAD_IP:6379", "--env=A=$HOME $(x) it'", "ssh_user: u"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	if bad := strings.Replace(string(b), "provider:", "providers:", 1); check([]byte(bad)) == nil {
		t.Error("the schema accepts providers")
	}
}

func TestExportComposeLoads(t *testing.T) {
	t.Parallel()
	oneHost := "name: demo\nimage: r\nshare_hosts: true\nenv: {A: \"$HOME it's ${X}\"}\n" +
		"mounts: [\"/data:/data:ro\", \"cache:/cache\"]\nhead: {host: local, num_cpus: 1}\n" +
		"workers: [{name: w, hosts: [local], nodes_per_host: 3, num_cpus: 2, num_gpus: 1}]\n"
	versions, _ := rayVersions(t)
	for _, v := range append(versions, "2.59.0") {
		b := export(t, load(t, oneHost), Compose, exportOptions(v))
		project, err := loader.LoadWithContext(context.Background(), compose.ConfigDetails{WorkingDir: t.TempDir(),
			ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: b}},
			Environment: map[string]string{"HOME": "/wrong", "X": "wrong"}},
			func(o *loader.Options) { o.SetProjectName("demo", true) })
		if err != nil {
			t.Fatalf("ray %s: %v\n%s", v, err, b)
		}
		head, worker := project.Services["head"], project.Services["worker-w"]
		if *worker.Deploy.Replicas != 3 || head.StopGracePeriod.String() != "40s" ||
			!*head.Init || head.Ulimits["nofile"].Soft != noFile {
			t.Errorf("ray %s: head %+v", v, head)
		}
		if a := head.Environment["A"]; a == nil || *a != "$HOME it's ${X}" {
			t.Errorf("ray %s: A is %v", v, a)
		}
		if !slices.Contains(worker.Command, "--address=head:6379") ||
			slices.ContainsFunc(worker.Command, func(s string) bool { return strings.HasPrefix(s, "--node-ip") }) {
			t.Errorf("ray %s: %v", v, worker.Command)
		}
		if len(head.Ports) != 1 || head.Ports[0].HostIP != "127.0.0.1" || len(worker.Ports) != 0 {
			t.Errorf("ray %s: ports %+v", v, head.Ports)
		}
		if ray, _ := parseVersion(v); hasToken(ray) != (len(project.Secrets) == 1) {
			t.Errorf("ray %s: secrets %v", v, project.Secrets)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	o := exportOptions("2.55.0")
	tests := []struct {
		name, yaml string
		format     Format
		options    ExportOptions
		want       string
	}{
		{"an unknown format", threeHosts, "helm", o, "no such format; use kuberay, ray-up or compose"},
		{"no digest", threeHosts, KubeRay, ExportOptions{Image: ImageFacts{RayVersion: "2.55.0"}}, "has no digest"},
		{"no Ray version", sketch, KubeRay, ExportOptions{}, "not a version"},
		{"compose for many hosts", threeHosts, Compose, o, "runs on one host, and the cluster has 3"},
		{"ray up with different groups", strings.Replace(richHosts, "labels: {zone: a}", "labels: {}", 1), RayUp, o,
			"the worker groups differ"},
		{"ray up with this machine", "name: a\nimage: r\nhead: {host: local}\n", RayUp, o, "reaches hosts over SSH"},
		{"ray up with two users", "name: a\nimage: r\nhead: {host: a@10.0.0.1}\n" +
			"workers: [{host: b@10.0.0.2}]\n", RayUp, o, "one SSH user"},
		{"labels that KubeRay hands over in another form", richHosts, KubeRay, exportOptions("2.40.0"),
			"export with --kuberay 1.4.2"},
		{"a KubeRay that is too old", threeHosts, KubeRay, ExportOptions{Image: o.Image, Operator: "1.1.0"},
			"1.2 is the oldest"},
		{"a KubeRay that is none", threeHosts, KubeRay, ExportOptions{Image: o.Image, Operator: "latest"},
			"give one such as 1.4.2"},
		{"labels that the version has not", strings.Replace(richHosts, "args:", "env: {}, args:", 1), KubeRay,
			exportOptions("1.8.0"), "no node labels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := Export(load(t, tt.yaml), tt.format, tt.options); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s\n%s", err, tt.want, b)
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a=b": "a=b", "": "''", "it's": `'it'\''s'`, `{"a":1}`: `'{"a":1}'`,
		"$(x)": "'$(x)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
	if got := fmt.Sprint(commandLine([]string{"ray", "start", "--address=$RAY_HEAD_IP:6379", "--block",
		`--resources={"a":1}`})); got !=
		`ray start --address=$RAY_HEAD_IP:6379 '--resources={"a":1}'` {
		t.Error(got)
	}
}
