package cluster

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// mounts reads a list of "source:target[:ro]" or {source, target, read_only}.
func (d *decoder) mounts(v ast.Node) []Mount {
	out := []Mount{}
	targets := map[string]bool{}
	d.list(v, "mounts", func(e ast.Node) {
		m, ok := d.mount(e)
		if !ok {
			return
		}
		if targets[m.Target] {
			d.bad(e, "mount one thing at a place", "target %s is mounted twice", m.Target)
			return
		}
		targets[m.Target] = true
		out = append(out, m)
	})
	return out
}

func (d *decoder) mount(e ast.Node) (Mount, bool) {
	var m Mount
	switch e.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		before := len(d.problems)
		d.fields(e, "mount", []field{
			{"source", func(v ast.Node) { m.Source, _ = d.text(v, "mount source") }},
			{"target", func(v ast.Node) { m.Target, _ = d.text(v, "mount target") }},
			{"read_only", func(v ast.Node) { m.ReadOnly = d.boolean(v, "read_only") }},
		})
		if len(d.problems) > before {
			return m, false
		}
	default:
		s, ok := d.text(e, "mount")
		if !ok {
			return m, false
		}
		parts := strings.Split(s, ":")
		if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" {
			d.bad(e, "write source:target or source:target:ro", "mount %q is not valid", clip(s))
			return m, false
		}
		m = Mount{Source: parts[0], Target: parts[1], ReadOnly: len(parts) == 3 && parts[2] == "ro"}
	}
	return m, d.checkMount(e, &m)
}

func (d *decoder) checkMount(e ast.Node, m *Mount) bool {
	m.Volume = volumeGrammar.MatchString(m.Source)
	if !m.Volume && !cleanPath(m.Source) {
		d.bad(e, "write an absolute path of the host, or a volume's name", "mount source %q is not valid", clip(m.Source))
		return false
	}
	if !cleanPath(m.Target) || m.Target == "/" {
		d.bad(e, "write an absolute path in the container", "mount target %q is not valid", clip(m.Target))
		return false
	}
	for _, own := range []string{"/dev/shm", TokenDir, "/proc", "/sys"} {
		if m.Target == own || strings.HasPrefix(m.Target, own+"/") {
			d.bad(e, "choose another target; the size of /dev/shm is shm_size", "mount target %s is the launcher's", m.Target)
			return false
		}
	}
	return true
}

// ports reads the ports of nodes.
func (d *decoder) ports(v ast.Node, s *settings) {
	p := &s.node.Ports
	if s.set == nil {
		s.set = map[string]bool{}
	}
	one := func(key string, to *int) field {
		return field{key, func(v ast.Node) {
			if n, ok := d.port(v, "port "+key); ok {
				*to, s.set[key] = n, true
			}
		}}
	}
	d.fields(v, "ports", []field{
		one("gcs", &p.GCS), one("dashboard", &p.Dashboard), one("client", &p.Client), one("redis_shard", &p.RedisShard),
		one("gcs_server", &p.GCSServer),
		one("node_manager", &p.NodeManager), one("object_manager", &p.ObjectManager),
		one("runtime_env_agent", &p.RuntimeEnvAgent), one("agent_grpc", &p.AgentGRPC), one("agent_listen", &p.AgentListen),
		one("metrics", &p.Metrics),
		{"workers", func(v ast.Node) {
			if first, last, ok := d.portRange(v, "ports workers"); ok {
				p.WorkerMin, p.WorkerMax, s.set["workers"] = first, last, true
			}
		}},
	})
}
