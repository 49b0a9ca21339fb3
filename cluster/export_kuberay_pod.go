package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (e *exporter) podTemplate(container string, g nodeGroup, operator kubeRayOperator) mapping {
	limits := e.podLimits(g)
	c := mapping{{Key: "name", Value: container}, {Key: "image", Value: e.image},
		{Key: "resources", Value: mapping{{Key: "requests", Value: limits}, {Key: "limits", Value: limits}}},
		{Key: "securityContext", Value: containerSecurity(g.node)}}
	if env := e.podEnv(g.node, operator); len(env) > 0 {
		c = append(c, pair{Key: "env", Value: env})
	}
	c = append(c, e.probes(g.node.Role, operator)...)
	volumes, mounts, owned := e.podVolumes(g)
	if len(mounts) > 0 {
		c = append(c, pair{Key: "volumeMounts", Value: mounts})
	}
	pod := append(mapping{{Key: "securityContext", Value: e.podSecurity(owned)}}, e.podPlace(g.node.Pod)...)
	pod = append(pod, pair{Key: "containers", Value: []mapping{c}})
	if len(volumes) > 0 {
		pod = append(pod, pair{Key: "volumes", Value: volumes})
	}
	var out mapping
	var meta mapping
	if len(g.node.Pod.Labels) > 0 {
		meta = append(meta, pair{Key: "labels", Value: g.node.Pod.Labels})
	}
	if len(g.node.Pod.Annotations) > 0 {
		meta = append(meta, pair{Key: "annotations", Value: g.node.Pod.Annotations})
	}
	if len(meta) > 0 {
		out = append(out, pair{Key: "metadata", Value: meta})
	}
	return append(out, pair{Key: "spec", Value: pod})
}

// podLimits is what a node's container asks for, and may use at most.
func (e *exporter) podLimits(g nodeGroup) mapping {
	memory := g.total
	for _, m := range g.node.Pod.Mounts {
		memory += m.Memory
	}
	limits := mapping{{Key: "cpu", Value: strconv.Itoa(max(1, g.node.CPUs))},
		{Key: "memory", Value: fmt.Sprintf("%dMi", memory>>20)}}
	a := g.node.Access
	if len(a.Devices)+len(a.Groups)+len(a.Ulimits) > 0 || a.Runtime != "" {
		e.note("devices, group_add, ulimits and runtime of %s are not in its pods: Kubernetes gives devices by the "+
			"resources of a device plugin (pod: {gpu_resource, limits}), ulimits by the container runtime, and "+
			"runtimes by pod.runtime_class", g.name)
	}
	if g.node.GPUs > 0 {
		name := g.node.Pod.GPUResource
		if name == "" {
			name = a.gpuResource()
		}
		if name == "" {
			e.note("the pods of %s ask for no GPU: no resource is known for its devices; name the device plugin's "+
				"with pod: {gpu_resource: …}", g.name)
		} else {
			limits = append(limits, pair{Key: name, Value: strconv.Itoa(g.node.GPUs)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.node.Pod.Limits)) {
		limits = append(limits, pair{Key: name, Value: g.node.Pod.Limits[name]})
	}
	return limits
}

// gpuResource is the resource of Kubernetes that gives the GPUs which the devices are, empty where it is not known. A
// name of CDI is vendor/class=device, and the vendors' device plugins call their resources vendor/class.
func (a Access) gpuResource() string {
	if !a.bringsGPUs() {
		return "nvidia.com/gpu"
	}
	for _, d := range a.Devices {
		switch name, _, _ := strings.Cut(d, "="); {
		case !ownGPU.MatchString(d):
		case isCDI(d):
			return name
		case strings.HasPrefix(d, "/dev/kfd"):
			return "amd.com/gpu"
		}
	}
	return ""
}

// podEnv are a node's variables.
func (e *exporter) podEnv(n Node, operator kubeRayOperator) []mapping {
	env := []mapping{{{Key: "name", Value: "RAY_USAGE_STATS_ENABLED"}, {Key: "value", Value: "0"}}}
	env = append(env, e.tokenEnv(operator)...)
	if _, ok := n.Env["USER"]; !ok && e.spec.Kubernetes.ArbitraryUID {
		// A user without an entry in /etc/passwd has no name, and programs that ask for it fail (getpass.getuser).
		env = append(env, mapping{{Key: "name", Value: "USER"}, {Key: "value", Value: "ray"}})
	}
	for _, k := range slices.Sorted(maps.Keys(n.Env)) {
		// Kubernetes expands $(NAME); a doubled $ stands for one.
		env = append(env, mapping{{Key: "name", Value: k},
			{Key: "value", Value: strings.ReplaceAll(n.Env[k], "$(", "$$(")}})
	}
	return env
}

// tokenEnv hands over the token where the operator does not.
func (e *exporter) tokenEnv(operator kubeRayOperator) []mapping {
	if !hasToken(e.version) || operator.authOptions {
		return nil
	}
	return []mapping{{{Key: "name", Value: "RAY_AUTH_MODE"}, {Key: "value", Value: "token"}},
		{{Key: "name", Value: "RAY_AUTH_TOKEN"}, {Key: "valueFrom", Value: mapping{{Key: "secretKeyRef",
			Value: mapping{{Key: "name", Value: e.spec.Name}, {Key: "key", Value: "auth_token"}}}}}}}
}

// containerSecurity is what a node's container may do.
func containerSecurity(n Node) mapping {
	capabilities := mapping{{Key: "drop", Value: []string{"ALL"}}}
	if len(n.Access.CapAdd) > 0 {
		capabilities = append(capabilities, pair{Key: "add", Value: n.Access.CapAdd})
	}
	out := mapping{{Key: "allowPrivilegeEscalation", Value: false}, {Key: "capabilities", Value: capabilities}}
	if n.ReadOnly {
		out = append(out, pair{Key: "readOnlyRootFilesystem", Value: true})
	}
	return out
}

// podSecurity runs the pod as the image's user, and never as root. owned tells that there are volumes which kubelet
// gives to the pod's group: a claim's root is root's otherwise.
func (e *exporter) podSecurity(owned bool) mapping {
	k := e.spec.Kubernetes
	out := mapping{{Key: "runAsNonRoot", Value: true}}
	fsGroup := k.FSGroup
	if !k.ArbitraryUID {
		uid, gid := e.podUser()
		out = append(out, pair{Key: "runAsUser", Value: uid})
		if gid > 0 {
			out = append(out, pair{Key: "runAsGroup", Value: gid})
		}
		if fsGroup == 0 && owned {
			if fsGroup = gid; gid <= 0 {
				fsGroup = uid
			}
		}
	}
	if fsGroup > 0 { // a large volume is walked through once, and not at each start
		out = append(out, pair{Key: "fsGroup", Value: fsGroup},
			pair{Key: "fsGroupChangePolicy", Value: "OnRootMismatch"})
	}
	return append(out, pair{Key: "seccompProfile", Value: mapping{{Key: "type", Value: "RuntimeDefault"}}})
}

// podUser are the ids of the image's user. gid is 0 where it is not known.
func (e *exporter) podUser() (uid, gid int64) {
	user, group, _ := strings.Cut(e.options.Image.User, ":")
	uid, err := strconv.ParseInt(user, 10, 32)
	if err != nil || uid == 0 {
		uid, group = 1000, ""
		if user == "0" || user == "root" || user == "" {
			e.note("the image runs as root: the pods run it as user 1000, which needs a writable home there")
		} else {
			e.note("the image names its user %s without a number: 1000 is a guess", strconv.Quote(clip(user)))
		}
	}
	if gid, err = strconv.ParseInt(group, 10, 32); err != nil {
		gid = 0
	}
	return uid, gid
}

// podPlace is where a pod runs, and as whom it pulls its image.
func (e *exporter) podPlace(p Pod) mapping {
	out := e.podAccount()
	if len(p.NodeSelector) > 0 {
		out = append(out, pair{Key: "nodeSelector", Value: p.NodeSelector})
	}
	var tolerations []mapping
	for _, t := range p.Tolerations {
		one := mapping{{Key: "key", Value: t.Key}}
		if t.Value == "" {
			one = append(one, pair{Key: "operator", Value: "Exists"})
		} else {
			one = append(one, pair{Key: "operator", Value: "Equal"}, pair{Key: "value", Value: t.Value})
		}
		if t.Effect != "" {
			one = append(one, pair{Key: "effect", Value: t.Effect})
		}
		if t.Stay > 0 {
			one = append(one, pair{Key: "tolerationSeconds", Value: int64(t.Stay / time.Second)})
		}
		tolerations = append(tolerations, one)
	}
	if len(tolerations) > 0 {
		out = append(out, pair{Key: "tolerations", Value: tolerations})
	}
	if p.PriorityClass != "" {
		out = append(out, pair{Key: "priorityClassName", Value: p.PriorityClass})
	}
	if p.RuntimeClass != "" {
		out = append(out, pair{Key: "runtimeClassName", Value: p.RuntimeClass})
	}
	return out
}

// podAccount is as whom all pods run and pull their image.
func (e *exporter) podAccount() mapping {
	var out mapping
	if name := e.spec.Kubernetes.ServiceAccount; name != "" {
		out = append(out, pair{Key: "serviceAccountName", Value: name})
	}
	var secrets []mapping
	for _, name := range e.spec.Kubernetes.PullSecrets {
		secrets = append(secrets, mapping{{Key: "name", Value: name}})
	}
	if len(secrets) > 0 {
		out = append(out, pair{Key: "imagePullSecrets", Value: secrets})
	}
	return out
}
