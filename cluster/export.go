package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Format is a form that a cluster can be exported to.
type Format string

// Formats of Export.
const (
	KubeRay Format = "kuberay" // RayCluster, RayJob or RayService ray.io/v1, for KubeRay 1.2 to 1.7
	RayUp   Format = "ray-up"  // cluster YAML of `ray up`, provider local
	Compose Format = "compose" // docker compose, one host
)

// ExportOptions hold what Export needs beside the spec.
type ExportOptions struct {
	Image     ImageFacts // Ref or a digest in the spec's image, and RayVersion, are needed
	Namespace string     // KubeRay; empty: left out
	Login     Login      // RayUp: the login of the head's host, from LoginOf; default: the user and key of the spec
	Operator  string     // KubeRay: the operator's version, 1.2 or later; empty: 1.5.1 or later

	Kind       Kind     // KubeRay: the object; default RayCluster
	Entrypoint []string // RayJob: the job's command, word by word
	RuntimeEnv []byte   // RayJob: the job's runtime environment, YAML; may be empty
	Serve      []byte   // RayService: the configuration of Ray Serve, YAML
}

// Export writes the cluster for another launcher. It is a pure function: the same input gives the same bytes. Comments
// at the top say what the other launcher cannot do, and what is a guess. Export fails if the other launcher has no
// form for the cluster.
func Export(spec *Spec, f Format, o ExportOptions) ([]byte, error) {
	v, err := supported(o.Image.RayVersion)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", f, err)
	}
	e := &exporter{spec: spec, options: o, version: v, image: o.Image.Ref}
	if e.image == "" {
		e.image = spec.Image
	}
	if !strings.Contains(e.image, "@sha256:") {
		return nil, fmt.Errorf("export %s: image %q has no digest; give name@sha256:…", f, e.image)
	}
	var doc mapping
	switch f {
	case KubeRay:
		doc = e.kubeRay()
	case RayUp:
		doc = e.rayUp()
	case Compose:
		doc = e.compose()
	default:
		return nil, fmt.Errorf("export %q: no such format; use %s, %s or %s", clip(string(f)), KubeRay, RayUp, Compose)
	}
	if err := errors.Join(e.errs...); err != nil {
		return nil, fmt.Errorf("export %s: %w", f, err)
	}
	body, err := doc.write()
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", f, err)
	}
	return append([]byte(e.comment()), body...), nil
}

// exporter holds one export; what it could not carry over is in notes.
type exporter struct {
	spec    *Spec
	options ExportOptions
	version version
	image   string
	notes   []string
	errs    []error
}

func (e *exporter) note(format string, a ...any) {
	if n := fmt.Sprintf(format, a...); !slices.Contains(e.notes, n) {
		e.notes = append(e.notes, n)
	}
}

// MissingMark begins a comment of an export. The comment says what the file lacks before it works.
const MissingMark = "# - missing: "

func (e *exporter) missing(format string, a ...any) { e.note("missing: "+format, a...) }

func (e *exporter) fail(format string, a ...any) { e.errs = append(e.errs, fmt.Errorf(format, a...)) }

func (e *exporter) comment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Cluster %s, written by `raybuild cluster export`.\n", e.spec.Name)
	for _, n := range e.notes {
		fmt.Fprintf(&b, "# - %s\n", n)
	}
	return b.String()
}

// nodeGroup is a number of equal nodes.
type nodeGroup struct {
	name  string
	node  Node // the first one, with sizes filled in
	count int
	total int64 // memory of the whole container, bytes
}

// groups gathers the workers by group; hosts of one group that differ in size count as the smallest.
func (e *exporter) groups() []nodeGroup {
	var out []nodeGroup
	for _, n := range e.spec.Workers {
		g := e.sized(n)
		if i := slices.IndexFunc(out, func(x nodeGroup) bool { return x.name == n.Group }); i < 0 {
			g.count = 1
			out = append(out, g)
		} else {
			o := &out[i]
			o.count++
			if g.node.CPUs != o.node.CPUs || g.node.SHM != o.node.SHM {
				e.note("the hosts of group %s differ: its nodes have the size of the smallest", n.Group)
				o.node.CPUs, o.total = min(o.node.CPUs, g.node.CPUs), min(o.total, g.total)
				o.node.SHM, o.node.ObjectStore = min(o.node.SHM, g.node.SHM),
					min(o.node.ObjectStore, g.node.ObjectStore)
			}
		}
	}
	return out
}

// Sizes of a node for which the file has none.
const (
	guessCPUs   = 2
	guessMemory = 4 << 30 // for each CPU
)

// sized fills in what the file leaves to the host. It guesses: an export asks no host.
func (e *exporter) sized(n Node) nodeGroup {
	share := 0
	for _, x := range e.spec.Nodes() {
		if x.Host.ID() == n.Host.ID() {
			share++
		}
	}
	cpus := n.CPUs
	if cpus < 0 {
		cpus = guessCPUs
		e.note("num_cpus of %s is auto in cluster.yaml: %d is a guess", n.Group, guessCPUs)
	}
	if n.SHM == 0 && n.ObjectStore == 0 {
		e.note("shm_size of %s is auto in cluster.yaml: its memory is a guess", n.Group)
	}
	f := hostFacts{CPUs: guessCPUs * share, Memory: int64(share) * guessMemory * int64(max(1, cpus))}
	p := &planner{spec: e.spec, version: e.version, perHost: map[string]int{n.Host.ID(): share}}
	n = p.sizes(n, f)
	total := f.Memory / int64(share)
	if n.Memory > 0 {
		total = n.Memory + n.SHM
	} else if float64(n.SHM) > float64(total)*autoPart {
		total = int64(float64(n.SHM)/autoPart) / granule * granule
	}
	return nodeGroup{name: n.Group, node: n, total: total}
}

// start is the argv of a node that finds its own address, in a network of its own.
func (e *exporter) start(n Node, head, dashboard string) []string {
	ports := defaultPorts()
	ports.GCS, ports.Dashboard, ports.Client = e.spec.Head.Ports.GCS, e.spec.Head.Ports.Dashboard,
		e.spec.Head.Ports.Client
	args, err := StartArgs(e.options.Image.RayVersion, StartInput{Role: n.Role, HeadAddress: head, CPUs: n.CPUs,
		GPUs: n.GPUs, Memory: n.Memory,
		ObjectStore: n.ObjectStore, Resources: n.Resources, Labels: n.Labels, Ports: ports, TempDir: n.TempDir,
		Dashboard: dashboard,
		Client:    e.options.Image.Client, Extra: n.Args})
	if err != nil {
		e.fail("%s: %w", n.Group, err)
	}
	return args
}
