package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rayUpToken is where `ray up` puts the token in each container.
const rayUpToken = "/tmp/raybuild-auth-token"

// withoutV2 keeps the autoscaler's second version out, which `ray up` turns on since 2.50: it
// counts the head as one of the workers of provider local, and starts one too few. Earlier versions
// know no such variable, and take no notice.
const withoutV2 = "RAY_enable_autoscaler_v2=0 "

// rayUp writes the cluster YAML of `ray up` with its provider local. That launcher has one SSH user
// and key, one Docker configuration for the head and one for the workers, and one start command for
// all workers. Source: ray python/ray/autoscaler/ray-schema.json and local/example-full.yaml.
// min_workers is not in the schema; left out, it is the number of worker_ips
// (autoscaler/_private/local/config.py).
func (e *exporter) rayUp() mapping {
	e.oneUser()
	groups := e.groups()
	head := e.sized(e.spec.Head)
	start := func(n Node) []string { return e.start(n, headAddress("$RAY_HEAD_IP", e.spec.Head.Ports.GCS), "") }
	if !sameStart(groups, start) || !slices.EqualFunc(groups[min(1, len(groups)):], groups[:max(0, len(groups)-1)],
		sameContainer) {
		e.fail("`ray up` starts all workers alike, and the worker groups differ; make them equal, or use " +
			"--format kuberay")
	}
	docker := mapping{{Key: "image", Value: e.image}, {Key: "container_name", Value: e.spec.Name},
		{Key: "pull_before_run", Value: false},
		{Key: "disable_shm_size_detection", Value: true}, {Key: "head_run_options", Value: e.runOptions(head)}}
	worker := []string{}
	workerStart := []string{}
	if len(groups) > 0 {
		docker = append(docker, pair{Key: "worker_run_options", Value: e.runOptions(groups[0])})
		workerStart = append(workerStart, "ray stop", "ulimit -n 65536; "+commandLine(start(groups[0].node)))
		for _, w := range e.spec.Workers {
			worker = append(worker, rayUpAddress(w))
		}
	}
	if e.spec.MinWorkers < len(e.spec.Workers) {
		e.note("min_workers %d of cluster.yaml is not carried over: `ray up` wants all workers", e.spec.MinWorkers)
	}
	out := mapping{{Key: "cluster_name", Value: e.spec.Name}, {Key: "max_workers", Value: len(e.spec.Workers)},
		{Key: "docker", Value: docker},
		{Key: "provider", Value: mapping{{Key: "type", Value: "local"},
			{Key: "head_ip", Value: rayUpAddress(e.spec.Head)}, {Key: "worker_ips", Value: worker}}},
		{Key: "auth", Value: e.auth()}}
	if hasToken(e.version) {
		e.note("the token: `ray get-auth-token --generate` on the machine that runs `ray up`")
		out = append(out, pair{Key: "file_mounts", Value: map[string]string{rayUpToken: "~/.ray/auth_token"}})
	}
	e.note("`ray up` copies the SSH key to the head, checks no host keys, and starts containers that do not " +
		"survive a reboot")
	e.note("it needs rsync on this machine, on every host and in the image, and ssh in the image (`apt: [rsync, " +
		"openssh-client]` in raybuild.yaml)")
	e.note("it returns when the head runs; workers join later: `ray exec THIS.yaml 'ray status'`")
	headStart := append(start(head.node), "--autoscaling-config=~/ray_bootstrap_config.yaml")
	return append(out,
		pair{Key: "initialization_commands", Value: []string{"touch ~/.bashrc"}},
		pair{Key: "head_start_ray_commands", Value: []string{"ray stop",
			"ulimit -n 65536; " + withoutV2 + commandLine(headStart)}},
		pair{Key: "worker_start_ray_commands", Value: workerStart})
}

// commandLine is an argv for a shell, without --block: `ray up` runs it in a container that lives on its own.
func commandLine(args []string) string {
	var out []string
	for _, a := range args {
		switch {
		case a == "--block":
		case strings.HasPrefix(a, "--address=$RAY_HEAD_IP:"), strings.HasPrefix(a, "--autoscaling-config=~"):
			out = append(out, a) // expanded by the shell on the node
		default:
			out = append(out, shellQuote(a))
		}
	}
	return strings.Join(out, " ")
}

// oneUser finds what provider local cannot say.
func (e *exporter) oneUser() {
	seen := map[string]bool{}
	for _, n := range e.spec.Nodes() {
		h, first := n.Host, e.spec.Head.Host
		switch {
		case h.Local:
			e.fail("node %s: `ray up` reaches hosts over SSH; name this machine by its address", n.ID)
		case seen[h.ID()]:
			e.fail("node %s: `ray up` runs one node on a host", n.ID)
		case h.User != first.User || h.Key != first.Key || h.Jump != first.Jump:
			e.fail("host %s: `ray up` has one SSH user, key and jump host for all", h.ID())
		case h.Port != 0 && h.Port != 22:
			e.fail("host %s: `ray up` knows no SSH port; put it into ~/.ssh/config", h.ID())
		}
		seen[h.ID()] = true
	}
}

// rayUpAddress is the address that `ray up` and the nodes use.
func rayUpAddress(n Node) string {
	if n.Host.Private.IsValid() {
		return n.Host.Private.String()
	}
	return n.Host.Address
}

func (e *exporter) auth() mapping {
	h, login := e.spec.Head.Host, e.options.Login
	user := cmp.Or(h.User, login.User)
	if user == "" {
		user = "ubuntu"
		e.note("cluster.yaml names no SSH user: ubuntu is a guess")
	}
	out := mapping{{Key: "ssh_user", Value: user}}
	// Without a key `ray up` reaches the head by what ssh finds by itself, and the head reaches no worker.
	key := cmp.Or(login.Key, h.Key)
	if key != "" {
		out = append(out, pair{Key: "ssh_private_key", Value: key})
	}
	if key == "" || login.Missing != "" {
		e.missing("auth.ssh_private_key, a key without passphrase; this machine and the head use it to reach all "+
			"hosts (%s); the head has no SSH agent, so an agent's keys do not help: put in its file, or say `ssh: "+
			"{key: FILE}` in cluster.yaml and export again",
			cmp.Or(login.Missing, "cluster.yaml names none"))
	}
	if h.Jump != "" {
		out = append(out, pair{Key: "ssh_proxy_command", Value: "ssh -W %h:%p -J " + shellQuote(h.Jump)})
	}
	return out
}

// runOptions are the arguments of `docker run`, which `ray up` pastes into a shell's command line.
func (e *exporter) runOptions(g nodeGroup) []string {
	out := []string{"--init", fmt.Sprintf("--shm-size=%d", g.node.SHM),
		"--security-opt=no-new-privileges"}
	for _, flag := range g.node.Access.runFlags() {
		out = append(out, shellQuote(flag))
	}
	if g.node.GPUs > 0 && !g.node.Access.bringsGPUs() {
		out = append(out, fmt.Sprintf("--gpus=%d", g.node.GPUs))
	}
	in := envInput{Address: headAddress(rayUpAddress(e.spec.Head), e.spec.Head.Ports.GCS)}
	if hasToken(e.version) {
		in.TokenPath = rayUpToken
	}
	env, err := rayEnv(e.options.Image.RayVersion, in)
	if err != nil {
		e.fail("%s: %w", g.name, err)
	}
	all := maps.Clone(g.node.Env)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, env)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, shellQuote("--env="+k+"="+all[k]))
	}
	for _, m := range g.node.Mounts {
		v := "--volume=" + m.Source + ":" + m.Target
		if m.ReadOnly {
			v += ":ro"
		}
		out = append(out, shellQuote(v))
	}
	if g.node.ReadOnly {
		out = append(out, "--read-only")
	}
	for _, target := range g.node.writablePaths(e.options.Image.User) {
		out = append(out, shellQuote("--volume="+target))
	}
	return out
}

func sameContainer(a, b nodeGroup) bool {
	return a.node.SHM == b.node.SHM && a.node.GPUs == b.node.GPUs && a.node.Access.equal(b.node.Access) &&
		maps.Equal(a.node.Env, b.node.Env) &&
		slices.Equal(a.node.Mounts, b.node.Mounts) && slices.Equal(a.node.writablePaths(""), b.node.writablePaths(""))
}
