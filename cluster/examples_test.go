package cluster

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestExampleClustersLoad(t *testing.T) {
	files, err := filepath.Glob("../examples/cluster/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Load(f, b)
		if err != nil {
			t.Error(err)
			continue
		}
		version := "2.55.0"
		if s.AcceptNoAuth {
			version = "0.8.6"
		}
		facts := factsOf(s)
		for _, h := range s.Hosts() {
			x := facts[h.ID()]
			x.GPUs, x.Memory = 8, 256<<30
			facts[h.ID()] = x
		}
		if c, err := Desired(s, facts, testImage(version), PlanOptions{}); err != nil || len(c) != len(s.Nodes()) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// The stand-in ray of the offline world has the options that the launcher's table has, version by version.
func TestStandInRayHasTheSameOptions(t *testing.T) {
	b, err := os.ReadFile("../internal/world/ray/_standin/start_options.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, []byte(flagData)) {
		t.Error("copy cluster/data/rayflags.txt to internal/world/ray/_standin/start_options.txt")
	}
}

func TestExampleJobsHaveValidSyntax(t *testing.T) {
	need := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			if os.Getenv("RAYBUILD_TEST_STRICT") == "1" {
				t.Fatalf("the check needs %s", name)
			}
			t.Skipf("the check needs %s", name)
		}
		return path
	}
	python, shell := need("python3"), need("sh")
	count := 0
	err := filepath.WalkDir("../examples/jobs", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		cmd := exec.Command(shell, "-n", path)
		switch filepath.Ext(path) {
		case ".py":
			cmd = exec.Command(python, "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])", path)
		case ".sh":
		default:
			return nil
		}
		count++
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		return nil
	})
	if err != nil || count < 6 {
		t.Errorf("%d jobs checked, %v", count, err)
	}
}
