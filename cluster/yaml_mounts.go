package cluster

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// mountsValue reads a list of "source:target[:ro]" or {source, target, read_only}.
func mountsValue(dst *[]Mount) strictyaml.Value {
	item := func() strictyaml.Shape {
		return strictyaml.Shape{Either: []strictyaml.Shape{
			{Kind: strictyaml.Text, Grammar: strictyaml.Grammar{What: "source:target[:ro]",
				Pattern: "[^:]+:/[^:]*(:r[ow])?",
				Check:   noNumber}},
			strictyaml.Map(mountKeys(&Mount{})...).Shape()}}
	}
	list := strictyaml.Items("a list of mounts", strictyaml.Func(item, nil))
	return strictyaml.Func(list.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		out := []Mount{}
		targets := map[string]bool{}
		one := func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
			m, ok := readMount(t, n, key)
			switch {
			case !ok:
			case targets[m.Target]:
				t.AddAt(n, key, fmt.Sprintf("target %s is mounted twice", m.Target), "mount one thing at a place")
			default:
				targets[m.Target] = true
				out = append(out, m)
			}
		}
		t.Read(n, key, strictyaml.Items("a list of mounts", strictyaml.Func(nil, one)))
		*dst = out
	})
}

func noNumber(string) (string, string) { return "a number", "" }

func mountKeys(m *Mount) []strictyaml.Key {
	target := absolutePath()
	target.What = "an absolute path in the container"
	return []strictyaml.Key{
		{Name: "source", Doc: "A directory or file of the host, or the name of a volume.", Example: "/data",
			Value: strictyaml.String(&m.Source, mountSource())},
		{Name: "target", Doc: "Where it is in the container.", Example: "/data",
			Value: strictyaml.String(&m.Target, target)},
		{Name: "read_only", Doc: "Whether the container may only read it.", Default: "`false`", Example: "true",
			Value: strictyaml.Flag(&m.ReadOnly)},
	}
}

// mountSource is a path of the host or a volume's name.
func mountSource() strictyaml.Grammar {
	g := volumeGrammar.checked("a path of the host, or a volume's name", func(s string) (string, string) {
		if !volumeGrammar.MatchString(s) && !cleanPath(s) {
			return fmt.Sprintf("mount source %q is not valid", clip(s)),
				"write an absolute path of the host, or a volume's name"
		}
		return "", ""
	})
	g.Pattern += "|" + strings.Trim(pathGrammar.text, "^$")
	return g
}

func readMount(t *strictyaml.Reader, n *strictyaml.Node, key string) (Mount, bool) {
	var m Mount
	before := t.Count()
	if n.Kind == strictyaml.Mapping {
		t.Read(n, key, strictyaml.Map(mountKeys(&m)...))
	} else {
		t.Read(n, key, strictyaml.Each(strictyaml.Grammar{Check: mountText}, func(s string) {
			parts := strings.Split(s, ":")
			m = Mount{Source: parts[0], Target: parts[1], ReadOnly: len(parts) == 3 && parts[2] == "ro"}
		}))
	}
	if t.Count() > before {
		return m, false
	}
	m.Volume = volumeGrammar.MatchString(m.Source)
	if message, fix := mountProblem(m); message != "" {
		t.AddAt(n, key, message, fix)
		return m, false
	}
	return m, true
}

func mountText(s string) (message, fix string) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" {
		return fmt.Sprintf("%q is not a mount", clip(s)), "write source:target or source:target:ro"
	}
	return "", ""
}

// mountProblem says what is wrong with a mount's source or target.
func mountProblem(m Mount) (message, fix string) {
	if !m.Volume && !cleanPath(m.Source) {
		return fmt.Sprintf("mount source %q is not valid", clip(m.Source)),
			"write an absolute path of the host, or a volume's name"
	}
	if !cleanPath(m.Target) || m.Target == "/" {
		return fmt.Sprintf("mount target %q is not valid", clip(m.Target)), "write an absolute path in the container"
	}
	for _, own := range []string{"/dev/shm", tokenDir, "/proc", "/sys"} {
		if m.Target == own || strings.HasPrefix(m.Target, own+"/") {
			return fmt.Sprintf("mount target %s is used by the launcher", m.Target),
				"choose another target; the size of /dev/shm is shm_size"
		}
	}
	return "", ""
}

// portsValue reads the ports of nodes.
func portsValue(s *settings) strictyaml.Value {
	ports := strictyaml.Map(portKeys(&s.node.Ports)...)
	return strictyaml.Func(ports.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		s.ports = n
		t.Read(n, key, ports)
	})
}

func portKeys(p *Ports) []strictyaml.Key {
	byDefault := defaultPorts()
	one := func(name, doc string, dst *int, usual int) strictyaml.Key {
		text := strconv.Itoa(usual)
		return strictyaml.Key{Name: name, Doc: doc, Default: "`" + text + "`", Example: text,
			Value: strictyaml.Int(dst, 1, 65535)}
	}
	return []strictyaml.Key{
		one("gcs", "The head: Ray's global control store, which workers join.", &p.GCS, byDefault.GCS),
		one("dashboard", "The head: dashboard and jobs, on loopback.", &p.Dashboard, byDefault.Dashboard),
		one("client", "The head: Ray Client.", &p.Client, byDefault.Client),
		one("redis_shard", "The head: Redis, before Ray 1.11.", &p.RedisShard, byDefault.RedisShard),
		one("gcs_server", "The head: the GCS server of Ray 0.8.7 to 1.10.", &p.GCSServer, byDefault.GCSServer),
		one("node_manager", "Each node: the raylet.", &p.NodeManager, byDefault.NodeManager),
		one("object_manager", "Each node: transfers of objects.", &p.ObjectManager, byDefault.ObjectManager),
		one("runtime_env_agent", "Each node: the agent for runtime environments.", &p.RuntimeEnvAgent,
			byDefault.RuntimeEnvAgent),
		one("agent_grpc", "Each node: the dashboard's agent, gRPC.", &p.AgentGRPC, byDefault.AgentGRPC),
		one("agent_listen", "Each node: the dashboard's agent, HTTP.", &p.AgentListen, byDefault.AgentListen),
		one("metrics", "Each node: metrics for Prometheus.", &p.Metrics, byDefault.Metrics),
		{Name: "workers", Doc: "Each node: worker processes, at least ten ports.", Example: "10002-10999",
			Default: fmt.Sprintf("`%d-%d`", byDefault.WorkerMin, byDefault.WorkerMax),
			Value:   portRangeValue(&p.WorkerMin, &p.WorkerMax)},
	}
}
