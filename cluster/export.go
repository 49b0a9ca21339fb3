package cluster

import "errors"

// Format is a form that a cluster can be exported to.
type Format string

// Formats of Export.
const (
	KubeRay Format = "kuberay" // RayCluster ray.io/v1
	RayUp   Format = "ray-up"  // cluster YAML of `ray up`, provider local
	Compose Format = "compose" // docker compose, one host
)

// ExportOptions say what the export needs to know beyond the spec.
type ExportOptions struct {
	Image     ImageFacts
	Facts     map[string]HostFacts // to fill in auto values; KubeRay and ray-up need none when the spec is explicit
	Namespace string               // KubeRay; default: left out
}

// Export renders the cluster for another launcher. It is a pure function: the same input gives the same bytes.
func Export(spec *Spec, f Format, o ExportOptions) ([]byte, error) { return nil, errors.New("export") }
