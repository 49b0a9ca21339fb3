package cluster

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestSubmitSendsWhatRayTakes looks at the request that Ray gets.
func TestSubmitSendsWhatRayTakes(t *testing.T) {
	t.Parallel()
	j := &fakeJobs{}
	f, spec := jobFleet(t, j)
	dir := tree(t, "a", "b")
	env, err := ParseRuntimeEnv([]byte("working_dir: " + dir + "\nexcludes: [/b]\nenv_vars: {A: file, B: file}\n" +
		"pip: [x==1]\n"))
	if err != nil {
		t.Fatal(err)
	}
	job := Job{Argv: []string{"python", "a b"}, RuntimeEnv: env, Env: map[string]string{"A": "flag"}, GPUs: 0.5,
		CPUs: 2, Memory: 1 << 30, Resources: map[string]float64{"disk": 1}, Metadata: map[string]string{"k": "v"},
		Detach: true}
	if _, err := Submit(t.Context(), spec, job, io.Discard, io.Discard, f.options()); err != nil {
		t.Fatal(err)
	}
	re, _ := j.got["runtime_env"].(map[string]any)
	uri, _ := re["working_dir"].(string)
	if !strings.HasPrefix(uri, "gcs://_ray_pkg_") || len(j.packages) != 1 {
		t.Errorf("working_dir %q, %d packages", uri, len(j.packages))
	}
	delete(re, "working_dir")
	got, err := json.Marshal(j.got)
	want := `{"entrypoint":"python 'a b'","entrypoint_memory":1073741824,"entrypoint_num_cpus":2,` +
		`"entrypoint_num_gpus":0.5,"entrypoint_resources":{"disk":1},"metadata":{"k":"v"},` +
		`"runtime_env":{"env_vars":{"A":"flag","B":"file"},"pip":["x==1"]}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for text, want := range map[string]string{"working_dir: x": "--dir", "pip: r.txt": "alone",
		"conda: e.yml": "alone", "py_modules: [./lib]": "with --dir", "env_vars: [a]": "mapping"} {
		env, err := ParseRuntimeEnv([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Submit(t.Context(), spec, Job{Argv: job.Argv, Dir: dir, RuntimeEnv: env}, io.Discard, io.Discard,
			f.options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := ParseRuntimeEnv([]byte("{1: {2: 3}}")); err == nil {
		t.Error("a mapping that is no JSON is taken")
	}
}

// TestJobs lists a job, shows its log while it runs, and stops it.
func TestJobs(t *testing.T) {
	t.Parallel()
	j := &fakeJobs{lines: 1000, pace: 20 * time.Millisecond, began: time.Now()}
	f, spec := jobFleet(t, j)
	jobs, err := Jobs(t.Context(), spec, f.options())
	if err != nil || len(jobs) != 2 || jobs[0].ID != "01000000" || jobs[0].Submitted || jobs[1].ID != "raysubmit_1" ||
		!jobs[1].Submitted || jobs[1].Status != "RUNNING" || jobs[1].Started.Unix() != 1700000000 ||
		jobs[1].Metadata["who"] != "me" || strings.ContainsRune(jobs[1].Message, 0x1b) {
		t.Errorf("%+v, %v", jobs, err)
	}
	var out strings.Builder
	res, err := JobLogs(t.Context(), spec, "raysubmit_1", false, &out, f.options())
	if err != nil || res.Status != "RUNNING" || !strings.HasPrefix(j.text(), out.String()) || out.Len() == 0 {
		t.Errorf("log of a job that runs: %+v, %v\n%.200s", res, err, out.String())
	}
	if res, err = StopJob(t.Context(), spec, "raysubmit_1", f.options()); err != nil || res.Status != "STOPPED" {
		t.Errorf("stop: %+v, %v", res, err)
	}
	for _, follow := range []bool{false, true} {
		if res, err = JobLogs(t.Context(), spec, "raysubmit_1", follow, io.Discard, f.options()); err != nil ||
			res.Status != "STOPPED" {
			t.Errorf("log of a job that has ended: %+v, %v", res, err)
		}
	}
	var answer *statusError
	if _, err = StopJob(t.Context(), spec, "other/../x", f.options()); !errors.As(err, &answer) ||
		!strings.Contains(err.Error(), "cluster job list") {
		t.Errorf("a job that is not there: %v", err)
	}
}
