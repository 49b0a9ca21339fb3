package cluster

import (
	"maps"
	"slices"
	"time"
)

// Kubernetes is what a cluster on Kubernetes has as a whole. The export to KubeRay alone reads it.
type Kubernetes struct {
	PullSecrets    []string      // names of Secrets with logins of registries
	ServiceAccount string        // of all pods; empty: the namespace's default
	ArbitraryUID   bool          // the platform chooses the pods' user, as OpenShift's restricted SCC does
	FSGroup        int64         // owns the pods' volumes; 0: the group of the image's user
	IdleTimeout    time.Duration // after which the autoscaler removes a worker; 0: Ray's own
	Upscaling      string        // the autoscaler's upscalingMode; empty: KubeRay's own
}

// Pod is what the pod of a node has beside its container on a host. The export to KubeRay alone reads it.
type Pod struct {
	NodeSelector  map[string]string
	Tolerations   []Toleration
	Mounts        []PodMount
	GPUResource   string            // that num_gpus asks for; empty: that of the devices, else nvidia.com/gpu
	Limits        map[string]string // further resources, by Kubernetes' names
	PriorityClass string
	RuntimeClass  string
	Annotations   map[string]string
	Labels        map[string]string // of the pod, not of Ray's node
}

// Toleration lets a pod on machines with a taint.
type Toleration struct {
	Key    string
	Value  string        // empty: any
	Effect string        // empty: any
	Stay   time.Duration // how long the pod stays after a NoExecute taint came; 0: for ever
}

// PodMount is a volume of Kubernetes in a container. One of Claim, ConfigMap, Secret, Host, EmptyDir, Memory and
// Ephemeral is set.
type PodMount struct {
	Target   string
	ReadOnly bool
	SubPath  string // the part of the volume that is mounted; empty: all of it

	Claim        string // name of a PersistentVolumeClaim
	ConfigMap    string // name
	Secret       string // name
	Host         string // path on the Kubernetes node
	EmptyDir     int64  // limit in bytes of a directory on the Kubernetes node
	Memory       int64  // limit in bytes of a directory in memory
	Ephemeral    int64  // bytes of a volume that comes and goes with the pod
	StorageClass string // of Ephemeral; empty: the default one
}

// Autoscale is how many pods a worker group has, where something scales it.
type Autoscale struct {
	Min int // -1: as many as the group has nodes
	Max int // 0: the group is not scaled
}

// clone copies what a group may change.
func (p Pod) clone() Pod {
	p.NodeSelector, p.Limits = maps.Clone(p.NodeSelector), maps.Clone(p.Limits)
	p.Annotations, p.Labels = maps.Clone(p.Annotations), maps.Clone(p.Labels)
	p.Tolerations, p.Mounts = slices.Clone(p.Tolerations), slices.Clone(p.Mounts)
	return p
}

// kinds are the keys of what a mount may be, of those that are set.
func (m PodMount) kinds() (out []string) {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"claim", m.Claim != ""}, {"config_map", m.ConfigMap != ""}, {"secret", m.Secret != ""},
		{"host_path", m.Host != ""}, {"empty_dir", m.EmptyDir != 0}, {"memory", m.Memory != 0},
		{"ephemeral", m.Ephemeral != 0},
	} {
		if k.set {
			out = append(out, k.key)
		}
	}
	return out
}

// owned tells whether kubelet gives the volume to the pod's group (fsGroup).
func (m PodMount) owned() bool { return m.Host == "" }
