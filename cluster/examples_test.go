package cluster

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

func TestExampleClustersLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/cluster/*.yaml")
	training, bad := filepath.Glob("../examples/training/*-cpus.yaml")
	if err != nil || bad != nil || len(files) < 5 || len(training) != 2 {
		t.Fatal(files, training, err, bad)
	}
	files = append(files, training...)
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
		facts := factsOfNamed(s)
		for _, h := range s.Hosts() {
			x := facts[h.ID()]
			x.GPUs, x.Memory = 8, 256<<30
			facts[h.ID()] = x
		}
		if c, err := planContainers(s, facts, testImage(version)); err != nil || len(c) != len(s.Nodes()) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// The stand-in ray of the offline world has the options that the launcher's table has, version by version.
func TestStandInRayHasTheSameOptions(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../internal/world/ray/_standin/start_options.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, []byte(flagData)) {
		t.Error("copy cluster/data/rayflags.txt to internal/world/ray/_standin/start_options.txt")
	}
}

// What StartArgs passes is taken by the stand-in ray of that version.
func TestStandInRayTakesTheLaunchersArguments(t *testing.T) {
	t.Parallel()
	testneeds.Programs(t, "python3")
	for _, version := range []string{"0.8.6", "1.8.0", "2.9.0", "2.52.0", "2.59.0"} {
		dir := t.TempDir()
		if err := errors.Join(os.CopyFS(filepath.Join(dir, "ray"), os.DirFS("../internal/world/ray")),
			os.WriteFile(filepath.Join(dir, "ray", "_version.py"), []byte("version = \""+version+"\"\n"),
				0o644)); err != nil {
			t.Fatal(err)
		}
		for _, role := range []Role{Head, Worker} {
			args, err := StartArgs(version, fullInput(role))
			if err != nil {
				t.Fatal(err)
			}
			const parse = "import sys; from ray.scripts import scripts; from ray._standin import versions; " +
				"print(scripts.parse(sys.argv[1:], versions.start_options())[1])"
			cmd := exec.Command("python3", append([]string{"-c", parse}, args[2:]...)...)
			cmd.Env = []string{"PYTHONPATH=" + dir, "PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1"}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "[]\n" {
				t.Errorf("%s %s: %v\n%s", version, role, err, out)
			}
		}
	}
}

func TestExampleProgramsHaveValidSyntax(t *testing.T) {
	t.Parallel()
	testneeds.Programs(t, "python3", "sh")
	count := 0
	err := filepath.WalkDir("../examples", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		cmd := exec.Command("sh", "-n", path)
		switch filepath.Ext(path) {
		case ".py":
			cmd = exec.Command("python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])",
				path)
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
	if err != nil || count < 9 {
		t.Errorf("%d programs checked, %v", count, err)
	}
}

// The training programs divide the CPUs that are free so that nothing waits for one, and say what is missing.
func TestTrainingDividesTheCPUs(t *testing.T) {
	t.Parallel()
	testneeds.Programs(t, "python3")
	for _, x := range []struct{ call, want string }{
		{"runners(1, 1)", "0"}, {"runners(2, 1)", "1"}, {"runners(6, 1)", "4"}, {"runners(64, 1)", "4"},
		{"runners(64, 1, 63)", "63"},
		{"runners(6, 1, 0)", "0"}, {"runners(0, 1)",
			"this job needs 1 CPU, and the cluster has 0 free: end other jobs, or add hosts to the cluster"},
		{"runners(2, 1, 4)", "WORKERS=4 needs 5 CPUs, and the cluster has 2 free: WORKERS may be from 0 to 1"},
		{"offline(1)", "this job needs 2 CPUs, and the cluster has 1 free: end other jobs, or add hosts " +
			"to the cluster"},
		{"offline(2)", "(1, 0)"}, {"offline(3)", "(1, 1)"}, {"offline(4)", "(2, 1)"}, {"offline(6)", "(2, 3)"},
		{"offline(64)", "(2, 4)"},
		{"number('N', 7)", "7"}, {"number('WORKERS', least=3)", "3"},
		{"number('WORKERS', least=4)", "WORKERS=3: want a whole number from 4 on"},
		{"number('WORDS')", "WORDS=many: want a whole number from 0 on"},
		{"many(1, 'CPU') + ', ' + cpus.many(0, 'CPU')", "1 CPU, 0 CPUs"},
	} {
		const ask = "import sys; sys.path.insert(0, '../examples/training'); import cpus\n" +
			"try: print(eval('cpus.' + sys.argv[1]))\nexcept SystemExit as e: print(e)"
		cmd := exec.Command("python3", "-c", ask, x.call)
		cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "WORKERS=3", "WORDS=many", "N=")
		out, err := cmd.CombinedOutput()
		if got := string(bytes.TrimSpace(out)); err != nil || got != x.want {
			t.Errorf("%s: %v, %q, want %q", x.call, err, got, x.want)
		}
	}
}
