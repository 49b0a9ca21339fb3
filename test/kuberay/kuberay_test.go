package kuberay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// definition is the definition of RayClusters that an operator brings.
func definition(t *testing.T, dir string) *kubetest.Schema {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config/crd/bases/ray.io_rayclusters.yaml"))
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

const utils = "controllers/ray/utils"

// program is an operator's validation of the files that the command line names: a line of JSON for
// each. There is one for each version, as the operators' feature gates are the process's.
const program = `package main

import (
	"encoding/json"
	"errors"
	"os"

	r "AS/apis/ray/v1"
	u "AS/controllers/ray/utils"
	"sigs.k8s.io/yaml"
)

func check(name string) error {
	doc, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var c r.RayCluster
	if err := yaml.UnmarshalStrict(doc, &c); err != nil {
		return err
	}
	return errors.Join(CALLS)
}

func main() {
	for _, name := range os.Args[1:] {
		text := ""
		if err := check(name); err != nil {
			text = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"name": name, "error": text}); err != nil {
			panic(err)
		}
	}
}
`

// calls are the arguments of program's errors.Join: those functions that a version has, as it calls
// them; "" for a version that has none.
func calls(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, utils, "validation.go"))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range [][2]string{
		{"ValidateRayClusterSpec(instance ", "(&c)"}, {"ValidateRayClusterSpec(spec ", "(&c.Spec, c.Annotations)"},
		{"ValidateRayClusterMetadata(metadata ", "(c.ObjectMeta)"},
		{"ValidateRayClusterUpgradeOptions(instance ", "(&c)"}, {"ValidateRayClusterStatus(instance ", "(&c)"},
	} {
		if name, _, _ := strings.Cut(f[0], "("); bytes.Contains(data, []byte("func "+f[0])) {
			out = append(out, "u."+name+f[1])
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s validates RayClusters by functions of other names", dir)
	}
	return strings.Join(out, ", ")
}

// build makes the operators' validations, as programs by version.
func build(t *testing.T, dirs map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	out := map[string]string{}
	for _, o := range operators() {
		calls := calls(t, dirs[o.version])
		if calls == "" {
			continue
		}
		id := "v" + strings.ReplaceAll(o.version, ".", "_")
		functions := []string{"ValidateRayClusterSpec", "ValidateRayClusterMetadata",
			"ValidateRayClusterUpgradeOptions", "ValidateRayClusterStatus"}
		// The features' init makes the gates that the validation asks.
		if err := shake(dirs[o.version], operatorModule, "kuberay.test/"+id, utils, functions, []string{"pkg/features"},
			filepath.Join(dir, id)); err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("AS", "kuberay.test/"+id, "CALLS", calls).Replace(program)
		if err := os.WriteFile(filepath.Join(dir, id, "main.go"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out[o.version] = filepath.Join(dir, "bin", id)
	}
	// The module stands on raybuild's own requirements: the same Kubernetes, whose packages are built already.
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.Replace(data, []byte("module github.com/raybuild/raybuild"), []byte("module kuberay.test"), 1)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin")+"/", "./...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the operators' validations: %v\n%s", err, out)
	}
	return out
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

// exports are what raybuild writes for an operator: each shape of a cluster with each kind of Ray.
func exports(t *testing.T, operator string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, text := range map[string]string{"sketch": sketch, "workers": workers, "labels": labels} {
		spec, err := cluster.Load("cluster.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, ray := range []string{"0.8.6", "1.13.0", "2.9.3", "2.40.0", "2.49.2", "2.52.1", "2.55.1", "2.60.0"} {
			for _, namespace := range []string{"", "ml"} {
				o := cluster.ExportOptions{Image: cluster.ImageFacts{Ref: spec.Image, RayVersion: ray,
					User: "1000:100"}, Namespace: namespace, Operator: operator}
				doc, err := cluster.Export(spec, cluster.KubeRay, o)
				if err != nil && name == "labels" && !strings.HasPrefix(ray, "2.5") && ray != "2.60.0" {
					continue // Ray without labels, or with another form of them than KubeRay's
				}
				if err != nil {
					t.Fatalf("%s, Ray %s, KubeRay %s: %v", name, ray, operator, err)
				}
				out[name+"-"+ray+"-"+cmp.Or(namespace, "any")] = doc
			}
		}
	}
	return out
}

// validated is what an operator says of documents; "" where it accepts one.
func validated(t *testing.T, program string, docs map[string][]byte) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for name, doc := range docs {
		if err := os.WriteFile(filepath.Join(dir, name), doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, slices.Sorted(maps.Keys(docs))...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %s: %v", filepath.Base(program), err)
	}
	out := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(stdout)); ; {
		var one struct{ Name, Error string }
		if err := dec.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		out[one.Name] = one.Error
	}
	if len(out) != len(docs) {
		t.Fatalf("%d answers to %d documents", len(out), len(docs))
	}
	return out
}

// Each export is accepted by the definition and by the operator's validation of the KubeRay that it
// is for; what is written without a version in mind is so by all from 1.5.1 on.
func TestOperatorsAcceptExports(t *testing.T) {
	dirs := map[string]string{}
	for _, o := range operators() {
		dirs[o.version] = sourceOf(t, o.version, o.sum)
	}
	programs := build(t, dirs)
	if len(programs) != len(operators())-2 {
		t.Errorf("validations of %d versions of KubeRay, want all but those of 1.2 and 1.7", len(programs))
	}
	for _, o := range operators() {
		t.Run(o.version, func(t *testing.T) {
			docs := exports(t, o.version)
			if o.version >= "1.5.1" {
				for name, doc := range exports(t, "") {
					docs[name+"-default"] = doc
				}
			}
			crd := definition(t, dirs[o.version])
			for name, doc := range docs {
				if unknown, others, err := crd.Problems(t.Context(), doc); err != nil || len(unknown)+len(others) > 0 {
					t.Errorf("the definition refuses %s: %v %q\n%s", name, err, append(unknown, others...), doc)
				}
			}
			program, ok := programs[o.version]
			t.Logf("%d exports, validation to call: %v", len(docs), ok)
			if !ok {
				return
			}
			for name, problem := range validated(t, program, docs) {
				if problem != "" {
					t.Errorf("the operator refuses %s: %s\n%s", name, problem, docs[name])
				}
			}
			refuses(t, o.version, program, string(docs["workers-2.60.0-any"]))
		})
	}
}

// refuses shows that a validation does look.
func refuses(t *testing.T, version, program, good string) {
	t.Helper()
	for what, tt := range map[string]struct{ old, with, since string }{
		"labels in rayStartParams": {"rayStartParams:\n", "rayStartParams:\n      labels: zone=a\n", "1.5"},
		"no container":             {"containers:\n", "initContainers:\n", "1.3"},
		"a name too long":          {"\n  name: demo\n", "\n  name: " + strings.Repeat("d", 60) + "\n", "1.4"},
		"a token for an old Ray":   {"rayVersion: 2.60.0", "rayVersion: 2.51.0", "1.5.1"},
	} {
		if version < tt.since {
			continue
		}
		bad := strings.Replace(good, tt.old, tt.with, 1)
		if bad == good {
			t.Fatalf("no %q in\n%s", tt.old, good)
		}
		if got := validated(t, program, map[string][]byte{"bad": []byte(bad)}); got["bad"] == "" {
			t.Errorf("the operator accepts %s:\n%s", what, bad)
		}
	}
}
