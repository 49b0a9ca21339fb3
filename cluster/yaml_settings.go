package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// settings are what may be said of a node: at the top of the file for all of them, and for the head and each worker
// group.
type settings struct {
	node  Node
	ssh   Host // User, Port, Key, Jump, Socket
	ports *strictyaml.Node
}

// clone copies what a group may change without changing the defaults.
func (s settings) clone() settings {
	s.node.Resources = maps.Clone(s.node.Resources)
	s.node.Labels = maps.Clone(s.node.Labels)
	s.node.Env = maps.Clone(s.node.Env)
	s.node.Mounts = slices.Clone(s.node.Mounts)
	s.node.Args = slices.Clone(s.node.Args)
	s.node.Access = s.node.Access.clone()
	s.node.Pod = s.node.Pod.clone()
	return s
}

// nodeKeyGroup names the keys of settings, which stand in three mappings, for the page.
const nodeKeyGroup = "The keys of a node"

// settingKeys are the keys of settings. Mappings are added to what the defaults hold, lists and values replace it.
func settingKeys(s *settings) []strictyaml.Key {
	keys := slices.Concat(amountKeys(&s.node), containerKeys(s), accessKeys(&s.node.Access),
		[]strictyaml.Key{podKey(&s.node.Pod)})
	for i := range keys {
		keys[i].Group = nodeKeyGroup
	}
	return keys
}

func amountKeys(n *Node) []strictyaml.Key {
	labelValue := labelGrammar.words("a label's value", "use up to 63 letters, digits and -_.")
	return []strictyaml.Key{
		{Name: "num_cpus", Doc: "How many CPUs Ray schedules on. `auto` is all of the host's, shared among its nodes.",
			Default: "`auto`", Example: "8",
			Value: strictyaml.WordOr("auto", func() { n.CPUs = -1 }, strictyaml.Int(&n.CPUs, 0, 4096))},
		{Name: "num_gpus", Doc: "How many GPUs Ray schedules on and Docker gives to the container.", Default: "`0`",
			Example: "4",
			Value:   strictyaml.Int(&n.GPUs, 0, 1024)},
		{Name: "memory", Doc: "How much memory tasks may reserve (`ray start --memory`).", Default: "Ray's own",
			Example: "16g",
			Value:   sizeValue(&n.Memory, 1, "at least 1", "too small")},
		{Name: "object_store_memory", Doc: "The size of Ray's object store, at least 75m.", Default: "`shm_size` / 1.1",
			Example: "8g",
			Value:   sizeValue(&n.ObjectStore, minStore, "at least 75m", "less than Ray takes")},
		{Name: "shm_size",
			Doc: "The size of `/dev/shm`, at least 83m. `auto` is 30 % of the host's memory, shared " +
				"among its nodes.",
			Default: "`auto`", Example: "1000m",
			Value: strictyaml.WordOr("auto", func() { n.SHM = 0 },
				sizeValue(&n.SHM, minSHM, "auto or at least 83m",
					"too small for Ray's smallest object store of 75 MiB"))},
		{Name: "resources", Doc: "Ray's custom resources: a name and how much the node has of it.", Default: "none",
			Example: "{fast_disk: 1}", Value: resourcesValue(&n.Resources)},
		{Name: "labels", Doc: "Labels of the node, for versions of Ray that have them.", Default: "none",
			Example: "{zone: a}",
			Value:   strictyaml.Pairs(&n.Labels, labelName(), labelValue)},
	}
}

func containerKeys(s *settings) []strictyaml.Key {
	n := &s.node
	return []strictyaml.Key{
		{Name: "env", Doc: "Environment variables of the container.", Default: "none",
			Example: `{OMP_NUM_THREADS: "1"}`,
			Value: strictyaml.Pairs(&n.Env, envName(), strictyaml.Grammar{What: "text in one line",
				Check: envText, Bools: true})},
		{Name: "mounts", Doc: "Directories of the host and volumes in the container: source:target[:ro], or " +
			"a mapping. A source without a slash is a volume's name. A new volume is the image's user's.",
			Default: "none", Example: `["/data:/data:ro"]`,
			Value: mountsValue(&n.Mounts)},
		{Name: "args", Doc: "Further arguments of `ray start`, such as --name=value.", Default: "none",
			Example: `["--verbose"]`,
			Value:   strictyaml.Strings(&n.Args, startArgument())},
		{Name: "ports", Doc: "The ports of a node. A further node of the same host takes ports above them.",
			Example: "{gcs: 6379, workers: 10002-10999}", Value: portsValue(s)},
		{Name: "temp_dir",
			Doc: "Ray's `--temp-dir` in the container. Another node on the same host gets a number at the path's " +
				"end.",
			Default: "`" + defaultTemp + "`", Example: "/scratch/ray",
			Value: strictyaml.String(&n.TempDir, absolutePath())},
		{Name: "read_only",
			Doc: "The container writes nothing of the image: only `/tmp`, `/var/tmp`, `/run`, `temp_dir`, the home " +
				"of the image's user, and its mounts. What it writes there is gone when the node is made again.",
			Default: "`false`", Example: "true", Value: strictyaml.Flag(&n.ReadOnly)},
		{Name: "ssh", Doc: "How hosts are reached, where their URLs do not say it.", Default: "as `~/.ssh/config` says",
			Example: "{user: ubuntu, key: ~/.ssh/id_ed25519}", Value: strictyaml.Map(sshKeys(&s.ssh)...)},
	}
}

// resourcesValue reads Ray's custom resources.
func resourcesValue(dst *map[string]float64) strictyaml.Value {
	names := resourceGrammar.checked("a resource's name", func(s string) (string, string) {
		switch strings.ToLower(s) {
		case "cpu", "gpu", "memory", "object_store_memory":
			return fmt.Sprintf("resource %q is one of Ray's own", clip(s)),
				"use num_cpus, num_gpus, memory or object_store_memory"
		}
		if !resourceGrammar.MatchString(s) {
			return fmt.Sprintf("%q is not a resource's name", clip(s)), "use letters, digits and _.:/-"
		}
		return "", ""
	})
	names.Except = []string{"CPU", "GPU", "cpu", "gpu", "memory", "object_store_memory"}
	entries := strictyaml.Entries(names, func(name string) strictyaml.Value {
		return amountValue(func(v float64) { (*dst)[name] = v })
	})
	return strictyaml.Func(entries.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if *dst == nil {
			*dst = map[string]float64{}
		}
		t.Read(n, key, entries)
	})
}

// amountValue reads an amount with at most four decimals, the granularity of Ray's resources.
func amountValue(set func(float64)) strictyaml.Value {
	shape := func() strictyaml.Shape { return strictyaml.Shape{Kind: strictyaml.Number, Decimals: true} }
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		const fix = "write a number such as 2 or 0.5, with at most four decimals"
		v, err := strconv.ParseFloat(n.Text, 64)
		switch {
		case n.Kind == strictyaml.Mapping || n.Kind == strictyaml.List || n.Kind == strictyaml.Null:
			t.WrongKind(n, key, "a number")
		case n.Kind != strictyaml.Number || err != nil || !numberGrammar.MatchString(n.Text):
			t.AddAt(n, key, strictyaml.Quote(n.Text)+" is not an amount", fix)
		default:
			set(v)
		}
	})
}

func labelName() strictyaml.Grammar {
	return labelKeyGrammar.checked("a label's name", func(s string) (string, string) {
		if !labelKeyGrammar.MatchString(s) || strings.HasPrefix(s, "ray.io/") {
			return fmt.Sprintf("%q is not a label's name", clip(s)),
				"use letters, digits and -_. (and an own prefix/, not " +
					"ray.io/)"
		}
		return "", ""
	})
}

// launcherEnv are the variables that the launcher sets, with the reason not to set them by hand.
func launcherEnv() map[string]string {
	const (
		set   = "leave it out: the launcher sets it on every node"
		token = "leave it out: the launcher makes a token and delivers it as a file, so `docker inspect` does not " +
			"show it"
	)
	return map[string]string{
		"RAY_AUTH_TOKEN": token, "RAY_ADDRESS": set, "RAY_AUTH_MODE": set, "RAY_AUTH_TOKEN_PATH": set,
		"RAY_USAGE_STATS_ENABLED": set,
		"RAY_GCS_SERVER_PORT":     set,
	}
}

func envName() strictyaml.Grammar {
	own := launcherEnv()
	g := envGrammar.checked("a variable's name", func(s string) (string, string) {
		if !envGrammar.MatchString(s) {
			return fmt.Sprintf("%q is not a variable's name", clip(s)), "use letters, digits and _"
		}
		if fix := own[s]; fix != "" {
			return fmt.Sprintf("variable %s is set by the launcher", s), fix
		}
		return "", ""
	})
	g.Except = slices.Sorted(maps.Keys(own))
	return g
}

func envText(s string) (string, string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "a control character", "keep it on one line"
	}
	return "", ""
}

// startArgument is an argument of `ray start` that the launcher does not pass itself.
func startArgument() strictyaml.Grammar {
	return argGrammar.checked("an argument of `ray start`", func(s string) (string, string) {
		m := argGrammar.FindStringSubmatch(s)
		switch {
		case m == nil:
			return fmt.Sprintf("%q is not an argument of `ray start`", clip(s)),
				"write --name or --name=value, one argument an element"
		case ownFlags[m[1]] != "":
			return fmt.Sprintf("argument %s is set by the launcher", m[1]), "use " + ownFlags[m[1]]
		}
		return "", ""
	})
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
	"--metrics-export-port": "ports", "--min-worker-port": "ports", "--max-worker-port": "ports",
	"--worker-port-list":       "ports",
	"--ray-client-server-port": "ports", "--num-cpus": "num_cpus", "--num-gpus": "num_gpus", "--resources": "resources",
	"--memory": "memory", "--object-store-memory": "object_store_memory", "--labels": "labels",
	"--temp-dir":            "temp_dir",
	"--disable-usage-stats": "nothing: it is always passed",
	"--node-name":           "nothing: nodes have their container's name",
}

func sshKeys(h *Host) []strictyaml.Key {
	user := userGrammar.words("a user of ssh", "use letters, digits and ._-, not starting with -")
	key := keyGrammar.words("the path of a private key", "write one such as ~/.ssh/id_ed25519")
	return []strictyaml.Key{
		{Name: "user", Doc: "The user to log in as.", Example: "ubuntu", Value: strictyaml.String(&h.User, user)},
		{Name: "port", Doc: "The port of the host's SSH server.", Default: "`22`", Example: "2222",
			Value: strictyaml.Int(&h.Port, 1, 65535)},
		{Name: "key", Doc: "The file of the private key.", Default: "the agent's keys, and those in ~/.ssh",
			Example: "~/.ssh/id_ed25519",
			Value:   strictyaml.String(&h.Key, key)},
		{Name: "jump", Doc: "Hosts to go through, as `ssh -J` takes them.", Default: "none", Example: "me@bastion:22",
			Value: strictyaml.String(&h.Jump, jumpHosts())},
		{Name: "socket", Doc: "Docker's socket on the host.", Default: "`/var/run/docker.sock`",
			Example: "/run/podman/podman.sock",
			Value:   strictyaml.String(&h.Socket, absolutePath())},
	}
}

func jumpHosts() strictyaml.Grammar {
	return jumpGrammar.checked("[user@]host[:port], several with commas", func(s string) (string, string) {
		for _, hop := range strings.Split(s, ",") {
			h, err := parseHost(hop)
			if err == nil && h.Local {
				err = fmt.Errorf("%q is not a host to jump over", clip(hop))
			}
			if err != nil {
				return err.Error(), "write [user@]host[:port], several with commas, as ssh -J takes them"
			}
		}
		return "", ""
	})
}
