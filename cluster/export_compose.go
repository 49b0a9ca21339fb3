package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// composeToken is where a compose secret named ray_token is mounted.
const composeToken = "/run/secrets/ray_token"

// compose writes a compose file for one host: a network of its own, in which all nodes reach each
// other and nobody else does, the dashboard published on loopback, and the token as a file secret.
func (e *exporter) compose() mapping {
	if hosts := e.spec.Hosts(); len(hosts) > 1 {
		e.fail("docker compose runs on one host, and the cluster has %d; use `raybuild cluster up` or --format kuberay",
			len(hosts))
		return nil
	}
	head := e.sized(e.spec.Head)
	address := headAddress("head", e.spec.Head.Ports.GCS)
	service := e.service(head, e.start(head.node, "", "0.0.0.0"), address)
	port := e.spec.Head.Ports.Dashboard
	service = append(service, pair{Key: "ports", Value: []string{fmt.Sprintf("127.0.0.1:%d:%d", port, port)}})
	ready := "service_started"
	if e.version.atLeast(1, 4) { // `ray health-check`
		ready = "service_healthy"
		service = append(service, pair{Key: "healthcheck", Value: mapping{
			{Key: "test", Value: []string{"CMD", "ray", "health-check", "--address", address}},
			{Key: "interval", Value: "5s"}, {Key: "timeout", Value: "10s"}, {Key: "retries", Value: 10},
			{Key: "start_period", Value: "20s"}}})
	}
	services := mapping{{Key: "head", Value: service}}
	for _, g := range e.groups() {
		s := e.service(g, e.start(g.node, address, ""), address)
		s = append(s,
			pair{Key: "depends_on", Value: mapping{{Key: "head", Value: mapping{{Key: "condition", Value: ready}}}}},
			pair{Key: "deploy", Value: mapping{{Key: "replicas", Value: g.count}}})
		services = append(services, pair{Key: "worker-" + g.name, Value: s})
	}
	out := mapping{{Key: "name", Value: e.spec.Name}, {Key: "services", Value: services}}
	if v := e.volumes(); len(v) > 0 {
		out = append(out, pair{Key: "volumes", Value: v})
	}
	if hasToken(e.version) {
		e.note("the token: umask 077; openssl rand -hex 32 > ray_token, and the same in RAY_AUTH_TOKEN of every client")
		out = append(out, pair{
			Key: "secrets", Value: mapping{{Key: "ray_token", Value: mapping{{Key: "file", Value: "./ray_token"}}}},
		})
	}
	return out
}

// composeAccess is what a service may use of its host.
func (e *exporter) composeAccess(n Node) mapping {
	var limits mapping
	for _, u := range n.Access.limits(noFile) {
		limits = append(limits, pair{Key: u.Name,
			Value: mapping{{Key: "soft", Value: u.Limit}, {Key: "hard", Value: u.Limit}}})
	}
	out := mapping{{Key: "ulimits", Value: limits}}
	for _, list := range []struct {
		key    string
		values []string
	}{{"devices", n.Access.Devices}, {"cap_add", n.Access.CapAdd}, {"group_add", n.Access.Groups}} {
		if len(list.values) > 0 {
			out = append(out, pair{Key: list.key, Value: list.values})
		}
	}
	if n.Access.Runtime != "" {
		out = append(out, pair{Key: "runtime", Value: n.Access.Runtime})
	}
	if n.GPUs > 0 && !n.Access.bringsGPUs() {
		e.note("replicas of one service get the same GPUs, the first ones: keep one node with GPUs on a host")
		out = append(out,
			pair{Key: "gpus", Value: []mapping{{{Key: "driver", Value: "nvidia"}, {Key: "count", Value: n.GPUs}}}})
	}
	return out
}

func (e *exporter) service(g nodeGroup, args []string, address string) mapping {
	in := envInput{Address: address}
	if hasToken(e.version) {
		in.TokenPath = composeToken
	}
	env := map[string]string{}
	maps.Copy(env, g.node.Env)
	own, err := rayEnv(e.options.Image.RayVersion, in)
	if err != nil {
		e.fail("%s: %w", g.name, err)
	}
	maps.Copy(env, own)
	for k, v := range env {
		env[k] = dollar(v)
	}
	command := make([]string, len(args))
	for i, a := range args {
		command[i] = dollar(a)
	}
	out := mapping{{Key: "image", Value: e.image}, {Key: "entrypoint", Value: []string{}},
		{Key: "command", Value: command}, {Key: "environment", Value: env},
		{Key: "init", Value: true}, {Key: "restart", Value: "unless-stopped"},
		{Key: "stop_grace_period", Value: fmt.Sprintf("%ds", stopTimeout)},
		{Key: "shm_size", Value: fmt.Sprintf("%db", g.node.SHM)},
		{Key: "security_opt", Value: []string{"no-new-privileges:true"}}}
	out = append(out, e.composeAccess(g.node)...)
	var mounts []mapping
	for _, m := range g.node.Mounts {
		kind := "bind"
		if m.Volume {
			kind = "volume"
		}
		mounts = append(mounts, mapping{{Key: "type", Value: kind}, {Key: "source", Value: m.Source},
			{Key: "target", Value: m.Target}, {Key: "read_only", Value: m.ReadOnly}})
	}
	for _, target := range g.node.writablePaths(e.options.Image.User) {
		mounts = append(mounts, mapping{{Key: "type", Value: "volume"}, {Key: "target", Value: target}})
	}
	if len(mounts) > 0 {
		out = append(out, pair{Key: "volumes", Value: mounts})
	}
	if g.node.ReadOnly {
		out = append(out, pair{Key: "read_only", Value: true})
	}
	if hasToken(e.version) {
		out = append(out, pair{Key: "secrets", Value: []string{"ray_token"}})
	}
	return out
}

// volumes declares the named volumes of all nodes.
func (e *exporter) volumes() map[string]any {
	out := map[string]any{}
	for _, n := range e.spec.Nodes() {
		for _, m := range n.Mounts {
			if m.Volume {
				out[m.Source] = map[string]string{"name": m.Source}
			}
		}
	}
	return out
}

// dollar keeps compose from expanding variables.
func dollar(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// sameStart says whether the workers of all groups can be started by one command line.
func sameStart(groups []nodeGroup, start func(Node) []string) bool {
	for _, g := range groups[min(1, len(groups)):] {
		if !slices.Equal(start(g.node), start(groups[0].node)) {
			return false
		}
	}
	return true
}
