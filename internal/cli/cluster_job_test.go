package cli

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild/cluster"
)

// TestSubmitFlagsAreThoseOfRay gives submit the flags of `ray job submit`, and ours.
func TestSubmitFlagsAreThoseOfRay(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]cluster.Job{
		"--no-wait --entrypoint-num-cpus 2 --entrypoint-num-gpus 0.5 --entrypoint-memory 7 --submission-id x": {
			Detach: true, CPUs: 2, GPUs: 0.5, Memory: 7, ID: "x"},
		"--detach --num-cpus 2 --id x": {Detach: true, CPUs: 2, ID: "x"},
		`--entrypoint-resources {"a":1} --metadata-json {"k":"v"}`: {
			Resources: map[string]float64{"a": 1}, Metadata: map[string]string{"k": "v"}},
		`--runtime-env-json {"pip":["x"]} --exclude a --no-gitignore`: {
			RuntimeEnv: map[string]any{"pip": []any{"x"}}, Exclude: []string{"a"}, NoGitignore: true},
	} {
		got, err := parseSubmit(args)
		want.Env = map[string]string{}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", args, got, err, want)
		}
	}
	for args, want := range map[string]string{
		"--metadata-json [": "JSON object", `--metadata-json {"a":1}`: "JSON object", "--entrypoint-num-gpus -1": "negative",
		"--runtime-env x --runtime-env-json {}": "twice", "--runtime-env /nowhere": "/nowhere", "--env x": "KEY=VALUE",
	} {
		if _, err := parseSubmit(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func parseSubmit(args string) (cluster.Job, error) {
	var s submitFlags
	f := pflag.NewFlagSet("submit", pflag.ContinueOnError)
	s.flags(f)
	if err := f.Parse(strings.Fields(args)); err != nil {
		return cluster.Job{}, err
	}
	return s.parse(&app{})
}
