package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// settings are what may be said of a node: at the top of the file for all of them, and for the head and each worker group.
type settings struct {
	node  Node
	ssh   Host // User, Port, Key, Jump, Socket
	ports ast.Node
	set   map[string]bool // port keys that the file gives
}

// clone copies what a group may change without changing the defaults.
func (s settings) clone() settings {
	s.node.Resources = maps.Clone(s.node.Resources)
	s.node.Labels = maps.Clone(s.node.Labels)
	s.node.Env = maps.Clone(s.node.Env)
	s.node.Mounts = slices.Clone(s.node.Mounts)
	s.node.Args = slices.Clone(s.node.Args)
	s.set = maps.Clone(s.set)
	return s
}

// settingFields are the keys of settings. Maps are added to what the defaults hold, lists and values replace it.
func (d *decoder) settingFields(s *settings) []field {
	n := &s.node
	return []field{
		{"num_cpus", func(v ast.Node) { n.CPUs = d.cpus(v) }},
		{"num_gpus", func(v ast.Node) { x, _ := d.integer(v, "num_gpus", 0, 1024); n.GPUs = int(x) }},
		{"memory", func(v ast.Node) { n.Memory, _ = d.size(v, "memory") }},
		{"object_store_memory", func(v ast.Node) { n.ObjectStore = d.objectStore(v) }},
		{"shm_size", func(v ast.Node) { n.SHM = d.shm(v) }},
		{"resources", func(v ast.Node) { n.Resources = d.resources(v, n.Resources) }},
		{"labels", func(v ast.Node) { n.Labels = d.labels(v, n.Labels) }},
		{"env", func(v ast.Node) { n.Env = d.env(v, n.Env) }},
		{"mounts", func(v ast.Node) { n.Mounts = d.mounts(v) }},
		{"args", func(v ast.Node) { n.Args = d.args(v) }},
		{"ports", func(v ast.Node) { s.ports = v; d.ports(v, s) }},
		{"temp_dir", func(v ast.Node) { n.TempDir = d.path(v, "temp_dir") }},
		{"ssh", func(v ast.Node) { d.ssh(v, &s.ssh) }},
	}
}

func (d *decoder) cpus(v ast.Node) int {
	if s, ok := v.(*ast.StringNode); ok && s.Value == "auto" {
		return -1
	}
	n, _ := d.integer(v, "num_cpus", 0, 4096)
	return int(n)
}

func (d *decoder) shm(v ast.Node) int64 {
	if s, ok := v.(*ast.StringNode); ok && s.Value == "auto" {
		return 0
	}
	n, ok := d.size(v, "shm_size")
	if ok && n < minSHM {
		d.bad(v, "write auto or at least 83m", "shm_size %s is too small for Ray's smallest object store of 75 MiB", shown(v))
	}
	return n
}

func (d *decoder) objectStore(v ast.Node) int64 {
	n, ok := d.size(v, "object_store_memory")
	if ok && n < minStore {
		d.bad(v, "write at least 75m", "object_store_memory %s is less than Ray takes", shown(v))
	}
	return n
}

func (d *decoder) resources(v ast.Node, into map[string]float64) map[string]float64 {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]float64{}
	}
	d.each(v, "resources", func(key string, at, value ast.Node) {
		switch strings.ToLower(key) {
		case "cpu", "gpu", "memory", "object_store_memory":
			d.bad(at, "use num_cpus, num_gpus, memory or object_store_memory", "resource %q is one of Ray's own", clip(key))
			return
		}
		if !resourceGrammar.MatchString(key) {
			d.bad(at, "use letters, digits and _.:/-", "resource name %q is not valid", clip(key))
			return
		}
		if n, ok := d.number(value, fmt.Sprintf("resource %q", key)); ok {
			out[key] = n
		}
	})
	return out
}

func (d *decoder) labels(v ast.Node, into map[string]string) map[string]string {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]string{}
	}
	d.each(v, "labels", func(key string, at, value ast.Node) {
		if !labelKeyGrammar.MatchString(key) || strings.HasPrefix(key, "ray.io/") {
			d.bad(at, "use letters, digits and -_. (and an own prefix/, not ray.io/)", "label %q is not valid", clip(key))
			return
		}
		if s, ok := d.match(value, fmt.Sprintf("label %q value", key), labelGrammar, "use up to 63 letters, digits and -_."); ok {
			out[key] = s
		}
	})
	return out
}

// launcherEnv are the variables that the launcher sets, with the reason not to set them by hand.
func launcherEnv(key string) string {
	switch key {
	case "RAY_AUTH_TOKEN":
		return "leave it out: the launcher makes a token and delivers it as a file, which no `docker inspect` shows"
	case "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED", "RAY_GCS_SERVER_PORT":
		return "leave it out: the launcher sets it on every node"
	}
	return ""
}

func (d *decoder) env(v ast.Node, into map[string]string) map[string]string {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]string{}
	}
	d.each(v, "env", func(key string, at, value ast.Node) {
		if !envGrammar.MatchString(key) {
			d.bad(at, "use letters, digits and _", "variable %q is not valid", clip(key))
			return
		}
		if fix := launcherEnv(key); fix != "" {
			d.bad(at, fix, "variable %s is the launcher's", key)
			return
		}
		s, ok := d.text(value, "variable "+key)
		if !ok {
			return
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			d.bad(value, "keep it on one line", "variable %s holds a control character", key)
			return
		}
		out[key] = s
	})
	return out
}

func (d *decoder) path(v ast.Node, what string) string {
	s, ok := d.text(v, what)
	if ok && (!cleanPath(s) || s == "/") {
		d.bad(v, "write an absolute path without .. and special characters", "%s %q is not valid", what, clip(s))
		return ""
	}
	return s
}

func (d *decoder) args(v ast.Node) []string {
	var out []string
	d.list(v, "args", func(e ast.Node) {
		s, ok := d.text(e, "argument")
		if !ok {
			return
		}
		m := argGrammar.FindStringSubmatch(s)
		switch {
		case m == nil:
			d.bad(e, "write --name or --name=value, one argument an element", "argument %q is not one of `ray start`", clip(s))
		case ownFlags[m[1]] != "":
			d.bad(e, "use "+ownFlags[m[1]], "argument %s is the launcher's", m[1])
		default:
			out = append(out, s)
		}
	})
	return out
}

// ownFlags are the flags that the launcher passes itself, and the key to use in their place.
var ownFlags = map[string]string{
	"--head": "head and workers", "--address": "head and workers", "--block": "nothing: it is always passed",
	"--node-ip-address": "private_address", "--port": "ports", "--redis-port": "ports", "--redis-shard-ports": "ports",
	"--redis-password": "nothing: Ray's token protects the cluster", "--gcs-server-port": "ports",
	"--dashboard-host": "`raybuild cluster dashboard`", "--webui-host": "`raybuild cluster dashboard`",
	"--include-dashboard": "nothing: it is always on", "--include-webui": "nothing: it is always on",
	"--dashboard-port": "ports", "--dashboard-agent-listen-port": "ports", "--dashboard-agent-grpc-port": "ports",
	"--node-manager-port": "ports", "--object-manager-port": "ports", "--runtime-env-agent-port": "ports",
	"--metrics-export-port": "ports", "--min-worker-port": "ports", "--max-worker-port": "ports", "--worker-port-list": "ports",
	"--ray-client-server-port": "ports", "--num-cpus": "num_cpus", "--num-gpus": "num_gpus", "--resources": "resources",
	"--memory": "memory", "--object-store-memory": "object_store_memory", "--labels": "labels", "--temp-dir": "temp_dir",
	"--disable-usage-stats": "nothing: it is always passed", "--node-name": "nothing: nodes have their container's name",
}

func (d *decoder) ssh(v ast.Node, h *Host) {
	d.fields(v, "ssh", []field{
		{"user", func(v ast.Node) {
			h.User, _ = d.match(v, "ssh user", userGrammar, "use letters, digits and ._-, not starting with -")
		}},
		{"port", func(v ast.Node) { h.Port, _ = d.port(v, "ssh port") }},
		{"key", func(v ast.Node) {
			h.Key, _ = d.match(v, "ssh key", keyGrammar, "write the path of a private key, such as ~/.ssh/id_ed25519")
		}},
		{"jump", func(v ast.Node) { h.Jump = d.jump(v) }},
		{"socket", func(v ast.Node) { h.Socket = d.path(v, "ssh socket") }},
	})
}

func (d *decoder) jump(v ast.Node) string {
	s, ok := d.text(v, "ssh jump")
	if !ok {
		return ""
	}
	for _, hop := range strings.Split(s, ",") {
		h, err := parseHost(hop)
		if err == nil && h.Local {
			err = fmt.Errorf("%q is not a host to jump over", clip(hop))
		}
		if err != nil {
			d.bad(v, "write [user@]host[:port], several with commas, as ssh -J takes them", "ssh jump: %v", err)
			return ""
		}
	}
	return s
}
