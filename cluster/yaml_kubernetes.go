package cluster

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Names of Kubernetes. Sources: k8s.io/apimachinery/pkg/util/validation (IsDNS1123Subdomain, IsQualifiedName,
// IsValidLabelValue), k8s.io/apimachinery/pkg/api/resource (Quantity).
const (
	objectExpr    = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*`
	qualifiedExpr = `([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?`
	valueExpr     = `([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?`
	quantityExpr  = `[0-9]{1,15}(\.[0-9]{1,3})?(m|[kMGTP]|[KMGTP]i)?`
	subPathExpr   = `[A-Za-z0-9_][A-Za-z0-9._@+=~,%-]*(/[A-Za-z0-9_][A-Za-z0-9._@+=~,%-]*)*`
)

// objectName is the grammar of the name of an object of Kubernetes.
func objectName(what string) strictyaml.Grammar {
	return strictyaml.Pattern(what, objectExpr, 253, "use lower-case letters, digits, - and dots")
}

func qualifiedName(what string) strictyaml.Grammar {
	return strictyaml.Pattern(what, qualifiedExpr, 317, "use letters, digits and -_. (and a prefix/, in lower case)")
}

func kubeValue(what string) strictyaml.Grammar {
	g := strictyaml.Pattern(what, valueExpr, 63, "use up to 63 letters, digits and -_.")
	g.Bools = true
	return g
}

// kubernetesKey is what a cluster on Kubernetes has as a whole.
func (doc *document) kubernetesKey() strictyaml.Key {
	k := &doc.spec.Kubernetes
	return strictyaml.Key{Name: "kubernetes", Doc: "What the cluster has on Kubernetes: `cluster export --format " +
		"kuberay` alone reads it. What a node's pod has is in `pod`.", Default: "none",
		Example: "{image_pull_secrets: [regcred]}", Value: strictyaml.Map(kubernetesKeys(k)...)}
}

func kubernetesKeys(k *Kubernetes) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "image_pull_secrets", Doc: "Secrets with the login of the image's registry. They have to be in the " +
			"namespace.", Default: "none: the registry is public, or the machines have a login",
			Example: "[regcred]",
			Value:   strictyaml.Strings(&k.PullSecrets, objectName("the name of a Secret"))},
		{Name: "service_account", Doc: "The service account of all pods. It has to be in the namespace.",
			Default: "the namespace's default; with `autoscale`, one that KubeRay makes", Example: "ray",
			Value: strictyaml.String(&k.ServiceAccount, objectName("the name of a service account"))},
		{Name: "arbitrary_uid", Doc: "The platform chooses the user of the pods, as OpenShift does " +
			"(restricted SCC): the export names no user, group and fsGroup.",
			Default: "`false`: the image's user", Example: "true", Value: strictyaml.Flag(&k.ArbitraryUID)},
		{Name: "fs_group", Doc: "The group that owns the pods' volumes, so that Ray can write there.",
			Default: "the group of the image's user", Example: "2000",
			Value: strictyaml.Int(&k.FSGroup, 1, 1<<31-1)},
		{Name: "idle_timeout", Doc: "How long a worker may be idle before the autoscaler removes it, from 1s to 24h.",
			Default: "Ray's own, `1m`", Example: "5m", Value: durationValue(&k.IdleTimeout)},
		{Name: "upscaling", Doc: "How fast the autoscaler adds workers. Conservative: at most as many as there are.",
			Default: "`Default`", Example: "Conservative",
			Value: strictyaml.String(&k.Upscaling, strictyaml.OneOf("a mode of the autoscaler", "Default",
				"Conservative", "Aggressive"))},
	}
}

// podKey is what a node's pod has.
func podKey(p *Pod) strictyaml.Key {
	return strictyaml.Key{Name: "pod", Doc: "What the node's pod has on Kubernetes: `cluster export --format " +
		"kuberay` alone reads it.", Default: "none", Example: "{node_selector: {pool: gpu}}",
		Value: strictyaml.Map(podKeys(p)...)}
}

func podKeys(p *Pod) []strictyaml.Key {
	return append([]strictyaml.Key{
		{Name: "node_selector", Doc: "Labels that the machine must have.", Default: "none",
			Example: "{cloud.google.com/gke-accelerator: nvidia-l4}",
			Value:   strictyaml.Pairs(&p.NodeSelector, qualifiedName("a label's name"), kubeValue("a label's value"))},
		{Name: "tolerations", Doc: "Taints of machines that the pod accepts.", Default: "none",
			Example: "[{key: nvidia.com/gpu, effect: NoSchedule}]", Value: tolerationsValue(&p.Tolerations)},
		{Name: "mounts", Doc: "Volumes of Kubernetes in the container. One with the target of an entry of the node's " +
			"`mounts` takes its place.", Default: "none", Example: "[{target: /data, claim: team-data}]",
			Value: podMountsValue(&p.Mounts)},
		{Name: "gpu_resource", Doc: "The resource that `num_gpus` asks for.",
			Default: "`nvidia.com/gpu`, or that of the GPUs in `devices`",
			Example: "amd.com/gpu",
			Value:   strictyaml.String(&p.GPUResource, extendedResource())},
		{Name: "limits", Doc: "Further resources of the pod, by Kubernetes' names.", Default: "none",
			Example: `{rdma/hca: "1", ephemeral-storage: 100Gi}`,
			Value: strictyaml.Pairs(&p.Limits, podResource(), strictyaml.Pattern("an amount", quantityExpr, 32,
				"write a number with k, M, G, Ki, Mi, Gi or m, such as 100Gi"))},
	}, podClassKeys(p)...)
}

func podClassKeys(p *Pod) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "priority_class", Doc: "The pod's priority class.", Default: "none", Example: "high",
			Value: strictyaml.String(&p.PriorityClass, objectName("the name of a priority class"))},
		{Name: "runtime_class", Doc: "The pod's runtime class.", Default: "none", Example: "nvidia",
			Value: strictyaml.String(&p.RuntimeClass, objectName("the name of a runtime class"))},
		{Name: "annotations", Doc: "Annotations of the pod.", Default: "none",
			Example: `{sidecar.istio.io/inject: "false"}`,
			Value: strictyaml.Pairs(&p.Annotations, qualifiedName("an annotation's name"),
				strictyaml.Grammar{What: "text in one line", Check: envText, Bools: true})},
		{Name: "labels", Doc: "Labels of the pod, such as those that quotas and queues read. Ray's are in the " +
			"node's `labels`.", Default: "none", Example: "{team: search}",
			Value: strictyaml.Pairs(&p.Labels, podLabel(), kubeValue("a label's value"))},
	}
}

// extendedResource is a resource that a device plugin gives.
func extendedResource() strictyaml.Grammar {
	g := qualifiedName("a resource of a device plugin")
	check := g.Check
	g.Check = func(s string) (string, string) {
		if m, fix := check(s); m != "" {
			return m, fix
		}
		if !strings.Contains(s, "/") {
			return strictyaml.Quote(s) + " is not a resource of a device plugin",
				"write it with its prefix, such as nvidia.com/gpu; `kubectl describe node` shows it"
		}
		return "", ""
	}
	return g
}

// podResource is a resource that no other key asks for.
func podResource() strictyaml.Grammar {
	g := qualifiedName("a resource")
	check := g.Check
	g.Except = []string{"cpu", "memory"}
	g.Check = func(s string) (string, string) {
		switch s {
		case "cpu":
			return "cpu has a key of its own", "use num_cpus"
		case "memory":
			return "memory has a key of its own", "use memory and shm_size"
		}
		return check(s)
	}
	return g
}

// podLabel is a label that KubeRay does not set itself.
func podLabel() strictyaml.Grammar {
	g := qualifiedName("a label's name")
	check := g.Check
	g.Check = func(s string) (string, string) {
		if strings.HasPrefix(s, "ray.io/") {
			return strictyaml.Quote(s) + " is set by KubeRay", "leave it out"
		}
		return check(s)
	}
	return g
}

func tolerationsValue(dst *[]Toleration) strictyaml.Value {
	list := strictyaml.Items("a list of tolerations", strictyaml.Map(tolerationKeys(&Toleration{})...))
	return strictyaml.Func(list.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		out := []Toleration{}
		t.Read(n, key, strictyaml.Items("a list of tolerations", strictyaml.Func(nil,
			func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
				var one Toleration
				t.Read(n, key, strictyaml.Map(tolerationKeys(&one)...))
				if one.Stay > 0 && one.Effect != "NoExecute" {
					t.AddAt(n, key, "seconds is for effect NoExecute alone",
						"say `effect: NoExecute`, or leave seconds out")
				}
				out = append(out, one)
			})))
		*dst = out
	})
}

func tolerationKeys(o *Toleration) []strictyaml.Key {
	var seconds int64
	return []strictyaml.Key{
		{Name: "key", Doc: "The taint's key.", Required: true, Example: "nvidia.com/gpu",
			Value: strictyaml.String(&o.Key, qualifiedName("a taint's key"))},
		{Name: "value", Doc: "The taint's value.", Default: "any", Example: "present",
			Value: strictyaml.String(&o.Value, kubeValue("a taint's value"))},
		{Name: "effect", Doc: "The taint's effect.", Default: "any", Example: "NoSchedule",
			Value: strictyaml.String(&o.Effect, strictyaml.OneOf("an effect of taints", "NoSchedule",
				"PreferNoSchedule", "NoExecute"))},
		{Name: "seconds", Doc: "How long the pod stays when a taint with effect NoExecute comes.", Default: "for ever",
			Example: "300", Value: strictyaml.Int(&seconds, 1, 1<<31-1).Then(func() {
				o.Stay = time.Duration(seconds) * time.Second
			})},
	}
}

// podMountsValue reads a list of volumes of Kubernetes.
func podMountsValue(dst *[]PodMount) strictyaml.Value {
	list := strictyaml.Items("a list of mounts", strictyaml.Map(podMountKeys(&PodMount{})...))
	return strictyaml.Func(list.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		out := []PodMount{}
		t.Read(n, key, strictyaml.Items("a list of mounts", strictyaml.Func(nil,
			func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
				before := t.Count()
				var m PodMount
				t.Read(n, key, strictyaml.Map(podMountKeys(&m)...))
				if t.Count() > before {
					return
				}
				if message, fix := podMountProblem(m); message != "" {
					t.AddAt(n, key, message, fix)
				} else if slices.ContainsFunc(out, func(o PodMount) bool { return o.Target == m.Target }) {
					t.AddAt(n, key, fmt.Sprintf("target %s is mounted twice", m.Target), "mount one thing at a place")
				}
				out = append(out, m)
			})))
		*dst = out
	})
}

// podMountProblem says what is wrong with a volume as a whole.
func podMountProblem(m PodMount) (message, fix string) {
	const one = "say one of claim, config_map, secret, host_path, empty_dir, memory and ephemeral"
	switch kinds := m.kinds(); {
	case len(kinds) == 0:
		return fmt.Sprintf("does not say what is mounted at %s", m.Target), one
	case len(kinds) > 1:
		return fmt.Sprintf("mounts %s at %s", strings.Join(kinds, " and "), m.Target), one
	case m.StorageClass != "" && m.Ephemeral == 0:
		return "storage_class is for an ephemeral volume", "a claim has a storage class already: leave it out"
	}
	return mountProblem(Mount{Volume: true, Target: m.Target})
}

func podMountKeys(m *PodMount) []strictyaml.Key {
	target := absolutePath()
	target.What = "an absolute path in the container"
	size := func(dst *int64) strictyaml.Value { return sizeValue(dst, 1, "at least 1", "too small") }
	return []strictyaml.Key{
		{Name: "target", Doc: "Where it is in the container.", Required: true, Example: "/data",
			Value: strictyaml.String(&m.Target, target)},
		{Name: "claim", Doc: "A PersistentVolumeClaim. It has to be in the namespace.", Example: "team-data",
			Value: strictyaml.String(&m.Claim, objectName("the name of a claim"))},
		{Name: "config_map", Doc: "A ConfigMap: a file for each key.", Example: "settings",
			Value: strictyaml.String(&m.ConfigMap, objectName("the name of a ConfigMap"))},
		{Name: "secret", Doc: "A Secret: a file for each key.", Example: "hf-token",
			Value: strictyaml.String(&m.Secret, objectName("the name of a Secret"))},
		{Name: "host_path", Doc: "A directory or file of the machine.", Example: "/mnt/nvme",
			Value: strictyaml.String(&m.Host, absolutePath())},
		{Name: "empty_dir", Doc: "An empty directory of the machine's disk, and how much it may hold. It goes with " +
			"the pod.", Example: "50g", Value: size(&m.EmptyDir)},
		{Name: "memory", Doc: "An empty directory in memory, and how much it may hold. The pod asks for that much " +
			"memory more.", Example: "2g", Value: size(&m.Memory)},
		{Name: "ephemeral", Doc: "A new volume of this size. It goes with the pod.", Example: "200g",
			Value: size(&m.Ephemeral)},
		{Name: "storage_class", Doc: "The storage class of an ephemeral volume.", Default: "the default one",
			Example: "fast", Value: strictyaml.String(&m.StorageClass, objectName("the name of a storage class"))},
		{Name: "sub_path", Doc: "The part of the volume that is mounted.", Default: "all of it",
			Example: "models/llama", Value: strictyaml.String(&m.SubPath, subPath())},
		{Name: "read_only", Doc: "Whether the container may only read it.", Default: "`false`", Example: "true",
			Value: strictyaml.Flag(&m.ReadOnly)},
	}
}

// subPath is a relative path that stays in its volume.
func subPath() strictyaml.Grammar {
	g := strictyaml.Pattern("a path in the volume", subPathExpr, 1024, "write a relative path such as models/llama")
	check := g.Check
	g.Check = func(s string) (string, string) {
		if m, fix := check(s); m != "" {
			return m, fix
		}
		if path.Clean(s) != s {
			return strictyaml.Quote(s) + " is not a clean path", "write it without . and .."
		}
		return "", ""
	}
	return g
}

// autoscaleKey says how many pods a group of workers may have.
func autoscaleKey(g *group) strictyaml.Key {
	return strictyaml.Key{Name: "autoscale", Doc: "On Kubernetes, Ray's autoscaler starts and ends pods of the " +
		"group as tasks need them. The launcher on hosts starts all of `hosts`, and takes no notice.",
		Default: "as many pods as the group has nodes", Example: "{min: 0, max: 10}",
		Value: autoscaleValue(&g.node.Autoscale)}
}

func autoscaleValue(a *Autoscale) strictyaml.Value {
	keys := func(a *Autoscale) []strictyaml.Key {
		return []strictyaml.Key{
			{Name: "max", Doc: "The most pods.", Required: true, Example: "10",
				Value: strictyaml.Int(&a.Max, 1, 100_000)},
			{Name: "min", Doc: "The fewest pods. The group starts with them.",
				Default: "as many as the group has nodes, and `max` if these are more",
				Example: "0", Value: strictyaml.Int(&a.Min, 0, 100_000)},
		}
	}
	return strictyaml.Func(strictyaml.Map(keys(&Autoscale{})...).Shape,
		func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
			before := t.Count()
			*a = Autoscale{Min: -1}
			t.Read(n, key, strictyaml.Map(keys(a)...))
			if t.Count() == before && a.Min > a.Max {
				t.AddAt(n, key, fmt.Sprintf("min is %d, more than max, %d", a.Min, a.Max),
					"write the smaller number as min")
			}
		})
}
