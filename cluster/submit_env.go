package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ParseRuntimeEnv reads a runtime environment of Ray: a mapping in YAML, or in JSON, which is YAML, too.
func ParseRuntimeEnv(data []byte) (map[string]any, error) {
	var env map[string]any
	if err := yaml.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("read the runtime environment: %w", err)
	}
	if _, err := json.Marshal(env); err != nil {
		return nil, fmt.Errorf("read the runtime environment: it cannot be written as JSON: %w", err)
	}
	return env, nil
}

// withRuntimeEnv takes what this machine does from the runtime environment: which directory is sent, and what of it.
// The rest is Ray's.
func (j Job) withRuntimeEnv() (Job, error) {
	env := maps.Clone(j.RuntimeEnv)
	if dir, ok := env["working_dir"].(string); ok && !strings.Contains(dir, "://") {
		if j.Dir != "" {
			return j, fmt.Errorf("use working_dir %q of the runtime environment: --dir names a directory, too; leave "+
				"one of them out", dir)
		}
		j.Dir = dir
		delete(env, "working_dir")
	} else if ok && j.Dir != "" {
		return j, fmt.Errorf("use working_dir %q of the runtime environment: --dir is given, too; leave one of them "+
			"out", dir)
	}
	if list, ok := env["excludes"].([]any); ok {
		for _, e := range list {
			j.Exclude = append(j.Exclude[:len(j.Exclude):len(j.Exclude)], fmt.Sprint(e))
		}
		delete(env, "excludes")
	}
	for _, key := range []string{"pip", "uv", "conda"} {
		file, ok := env[key].(string)
		if ok && (key != "conda" || strings.HasSuffix(file, ".yml") || strings.HasSuffix(file, ".yaml")) {
			return j, fmt.Errorf("use %s %q of the runtime environment: the file is on this machine alone; write its "+
				"content there", key, file)
		}
	}
	modules, _ := env["py_modules"].([]any)
	for _, m := range modules {
		if name, ok := m.(string); ok && !strings.Contains(name, "://") {
			return j, fmt.Errorf("use py_modules %q of the runtime environment: it is on this machine alone; send it "+
				"with --dir", name)
		}
	}
	vars := map[string]any{}
	if given, ok := env["env_vars"]; ok {
		all, ok := given.(map[string]any)
		if !ok {
			return j, errors.New("use env_vars of the runtime environment: it has to be a mapping of names to text")
		}
		maps.Copy(vars, all)
	}
	for k, v := range j.Env {
		vars[k] = v
	}
	if env == nil {
		env = map[string]any{}
	}
	if len(vars) > 0 {
		env["env_vars"] = vars
	}
	j.RuntimeEnv = env
	return j, nil
}

// request is the body of a submission. uri is the package of its directory, if it has one.
func (j Job) request(uri string) map[string]any {
	env := maps.Clone(j.RuntimeEnv)
	if uri != "" {
		env["working_dir"] = uri
	}
	body := map[string]any{"entrypoint": shellLine(j.Argv), "runtime_env": env}
	add := func(name string, given bool, value any) {
		if given {
			body[name] = value
		}
	}
	add("submission_id", j.ID != "", j.ID)
	add("metadata", len(j.Metadata) > 0, j.Metadata)
	add("entrypoint_num_cpus", j.CPUs > 0, j.CPUs)
	add("entrypoint_num_gpus", j.GPUs > 0, j.GPUs)
	add("entrypoint_memory", j.Memory > 0, j.Memory)
	add("entrypoint_resources", len(j.Resources) > 0, j.Resources)
	return body
}
