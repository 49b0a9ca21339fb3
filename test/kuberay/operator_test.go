package kuberay

import (
	"bytes"
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
)

// Packages of the operator.
const (
	utils  = "controllers/ray/utils"
	common = "controllers/ray/common"
)

// program does what an operator does with the files that the command line names: it validates them, and puts its own
// probes into containers that have none. It writes a line of JSON for each. There is one program for each version, as
// the operators' feature gates are the process's.
const program = `package main

import (
	"encoding/json"
	"errors"
	"os"

	r "AS/apis/ray/v1"
	common "AS/controllers/ray/common"
	u "AS/controllers/ray/utils"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

type result struct {
	Name, Error string
	Head        corev1.Container
	Workers     []corev1.Container
}

func check(name string, out *result) error {
	doc, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var kind struct{ Kind string }
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	var c r.RayCluster
	var j r.RayJob
	var s r.RayService
	switch kind.Kind {
	case "RayJob":
		if err = yaml.UnmarshalStrict(doc, &j); err == nil {
			err = errors.Join(JOB)
		}
		c.Spec = *j.Spec.RayClusterSpec
	case "RayService":
		if err = yaml.UnmarshalStrict(doc, &s); err == nil {
			err = errors.Join(SERVICE)
		}
		c.Spec = s.Spec.RayClusterSpec
	default:
		if err = yaml.UnmarshalStrict(doc, &c); err == nil {
			err = errors.Join(CLUSTER)
		}
	}
	if len(c.Spec.HeadGroupSpec.Template.Spec.Containers) == 0 {
		return err
	}
	out.Head = c.Spec.HeadGroupSpec.Template.Spec.Containers[0]
	common.Probes(&out.Head, r.HeadNode, u.CRDType(kind.Kind), c.Spec.HeadGroupSpec.RayStartParams, c.Spec.RayVersion)
	for _, g := range c.Spec.WorkerGroupSpecs {
		w := g.Template.Spec.Containers[0]
		common.Probes(&w, r.WorkerNode, u.CRDType(kind.Kind), g.RayStartParams, c.Spec.RayVersion)
		out.Workers = append(out.Workers, w)
	}
	return err
}

func main() {
	for _, name := range os.Args[1:] {
		out := result{Name: name}
		if err := check(name, &out); err != nil {
			out.Error = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
			panic(err)
		}
	}
}
`

// door lets a program call the function that makes probes.
const door = `package common

import (
	r "AS/apis/ray/v1"
	u "AS/controllers/ray/utils"
	corev1 "k8s.io/api/core/v1"
)

func Probes(c *corev1.Container, t r.RayNodeType, k u.CRDType, params map[string]string, ray string) {
	CALL
}
`

// callsOf are the functions by which operators validate a kind, as they call them. value is the variable of program.
func callsOf(kind, value string) [][2]string {
	return [][2]string{
		{"Validate" + kind + "Spec(instance ", "(&" + value + ")"},
		{"Validate" + kind + "Spec(spec ", "(&" + value + ".Spec, " + value + ".Annotations)"},
		{"Validate" + kind + "Spec(rayJob ", "(&" + value + ")"},
		{"Validate" + kind + "Spec(rayService ", "(&" + value + ")"},
		{"Validate" + kind + "Metadata(metadata ", "(" + value + ".ObjectMeta)"},
		{"Validate" + kind + "UpgradeOptions(instance ", "(&" + value + ")"},
		{"Validate" + kind + "Status(instance ", "(&" + value + ")"},
		{"Validate" + kind + "Status(rayJob ", "(&" + value + ")"},
	}
}

// calls are the arguments of program's errors.Join for a kind: those functions that a version has; "" for a version
// that validates nothing in a place of its own.
func calls(t *testing.T, dir, kind, value string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, utils, "validation.go"))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range callsOf(kind, value) {
		if name, _, _ := strings.Cut(f[0], "("); bytes.Contains(data, []byte("func "+f[0])) {
			out = append(out, "u."+name+f[1])
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s validates %ss by functions of other names", dir, kind)
	}
	return strings.Join(out, ", ")
}

// probeCall is how a version makes its probes.
func probeCall(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, common, "pod.go"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "initLivenessAndReadinessProbe"
	if bytes.Contains(data, []byte("utils.CRDType, rayStartParams map[string]string, rayVersion string) {")) {
		return name + "(c, t, k, params, ray)"
	}
	return name + "(c, t, k)"
}

// write puts one operator's program, and what it needs of the operator, below dir.
func write(t *testing.T, dir, source, id string) {
	t.Helper()
	as := "kuberay.test/" + id
	functions := map[string][]string{common: {"initLivenessAndReadinessProbe"}, utils: nil}
	for _, kind := range []string{"RayCluster", "RayJob", "RayService"} {
		for _, f := range callsOf(kind, "") {
			name, _, _ := strings.Cut(f[0], "(")
			functions[utils] = append(functions[utils], name)
		}
	}
	// The features' init makes the gates that the validation asks.
	err := shake(source, operatorModule, as, functions, []string{"pkg/features"}, filepath.Join(dir, id))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.go": program, filepath.Join(common, "door.go"): door} {
		text = strings.NewReplacer("AS/", as+"/", "CLUSTER", calls(t, source, "RayCluster", "c"),
			"JOB", calls(t, source, "RayJob", "j"), "SERVICE", calls(t, source, "RayService", "s"),
			"CALL", probeCall(t, source)).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, id, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// build makes the operators' programs, by version.
func build(t *testing.T, dirs map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	out := map[string]string{}
	for _, o := range operators() {
		if calls(t, dirs[o.version], "RayCluster", "c") == "" {
			continue
		}
		id := "v" + strings.ReplaceAll(o.version, ".", "_")
		write(t, dir, dirs[o.version], id)
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

// container is as much of one as its probes.
type container struct{ LivenessProbe, ReadinessProbe any }

// answer is what an operator makes of a document.
type answer struct {
	Name, Error string // no error: it accepts the document
	Head        container
	Workers     []container
}

// validated is what an operator says of documents.
func validated(t *testing.T, program string, docs map[string][]byte) map[string]answer {
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
	out := map[string]answer{}
	for dec := json.NewDecoder(bytes.NewReader(stdout)); ; {
		var one answer
		if err := dec.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		out[one.Name] = one
	}
	if len(out) != len(docs) {
		t.Fatalf("%d answers to %d documents", len(out), len(docs))
	}
	return out
}

// probes is how the operator's pods are asked, head first.
func (a answer) probes() string { return fmt.Sprint(a.Head, a.Workers) }
