package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// kubeRay writes a RayCluster. KubeRay itself adds the ports, the probes, /dev/shm, RAY_ADDRESS,
// the token and the `ray start` command line. Source: kuberay docs/reference/api.md and
// ray-operator/controllers/ray/common/pod.go.
func (e *exporter) kubeRay() mapping {
	operator, err := e.operator()
	if err != nil {
		e.errs = append(e.errs, err)
		return nil
	}
	e.operatorNotes(operator)
	spec := mapping{{Key: "rayVersion", Value: e.options.Image.RayVersion}}
	if hasToken(e.version) && operator.authOptions {
		spec = append(spec, pair{Key: "authOptions", Value: mapping{{Key: "mode", Value: "token"}}})
	}
	head := e.sized(e.spec.Head)
	params := e.startParams(head.node, operator)
	params["dashboard-host"] = "0.0.0.0" // inside the pod's network; the service in front of it is not published
	spec = append(spec, pair{Key: "headGroupSpec", Value: append(e.groupLabels(head.node, operator),
		pair{Key: "rayStartParams", Value: params},
		pair{Key: "template", Value: e.podTemplate("ray-head", head, operator)})})
	var workers []mapping
	for _, g := range e.groups() {
		group := mapping{{Key: "groupName", Value: g.name}, {Key: "replicas", Value: g.count},
			{Key: "minReplicas", Value: g.count}, {Key: "maxReplicas", Value: g.count}}
		group = append(group, e.groupLabels(g.node, operator)...)
		workers = append(workers, append(group, pair{Key: "rayStartParams", Value: e.startParams(g.node, operator)},
			pair{Key: "template", Value: e.podTemplate("ray-worker", g, operator)}))
	}
	if len(workers) > 0 {
		spec = append(spec, pair{Key: "workerGroupSpecs", Value: workers})
	}
	meta := mapping{{Key: "name", Value: e.spec.Name}}
	if e.options.Namespace != "" {
		meta = append(meta, pair{Key: "namespace", Value: e.options.Namespace})
	}
	meta = append(meta, pair{Key: "labels", Value: map[string]string{labelCluster: e.spec.Name}})
	return mapping{{Key: "apiVersion", Value: "ray.io/v1"}, {Key: "kind", Value: "RayCluster"},
		{Key: "metadata", Value: meta}, {Key: "spec", Value: spec}}
}

// startParams are the values of `ray start` that KubeRay does not find out itself. KubeRay pastes
// them into a shell's command line, so each value is quoted for one where it is not made of
// harmless characters.
func (e *exporter) startParams(n Node, operator kubeRayOperator) map[string]string {
	out := map[string]string{"num-cpus": strconv.Itoa(n.CPUs),
		"object-store-memory": strconv.FormatInt(n.ObjectStore, 10)}
	if n.GPUs > 0 {
		out["num-gpus"] = strconv.Itoa(n.GPUs)
	}
	if len(n.Resources) > 0 {
		b, err := json.Marshal(n.Resources)
		if err != nil {
			e.fail("encode resources of %s: %w", n.Group, err)
		}
		out["resources"] = shellQuote(string(b))
	}
	// Labels and further arguments take the road of StartArgs, which knows what the version has.
	args, err := StartArgs(e.options.Image.RayVersion, StartInput{Role: Worker, HeadAddress: "head:1", Labels: n.Labels,
		Extra: n.Args})
	if err != nil {
		e.fail("%s: %w", n.Group, err)
	}
	var names []string
	if !operator.groupLabels {
		names = append(names, "--labels")
	}
	for _, x := range n.Args {
		name, _, _ := strings.Cut(x, "=")
		names = append(names, name)
	}
	for _, a := range args {
		name, value, hasValue := strings.Cut(a, "=")
		switch {
		case !slices.Contains(names, name):
		case hasValue:
			out[strings.TrimPrefix(name, "--")] = shellQuote(value)
		default:
			out[strings.TrimPrefix(name, "--")] = "true"
		}
	}
	return out
}

func (e *exporter) podTemplate(container string, g nodeGroup, operator kubeRayOperator) mapping {
	limits := mapping{{Key: "cpu", Value: strconv.Itoa(max(1, g.node.CPUs))},
		{Key: "memory", Value: fmt.Sprintf("%dMi", g.total>>20)}}
	if a := g.node.Access; len(a.Devices)+len(a.Groups)+len(a.Ulimits) > 0 || a.Runtime != "" {
		e.note("devices, group_add, ulimits and runtime of %s are not in its pods: Kubernetes gives devices by the "+
			"resources of a device plugin, ulimits by the container runtime, and runtimes by runtimeClassName", g.name)
	}
	if g.node.GPUs > 0 && !g.node.Access.bringsGPUs() {
		limits = append(limits, pair{Key: "nvidia.com/gpu", Value: strconv.Itoa(g.node.GPUs)})
	}
	c := mapping{{Key: "name", Value: container}, {Key: "image", Value: e.image},
		{Key: "resources", Value: mapping{{Key: "requests", Value: limits}, {Key: "limits", Value: limits}}},
		{Key: "securityContext", Value: containerSecurity(g.node)}}
	env := []mapping{{{Key: "name", Value: "RAY_USAGE_STATS_ENABLED"}, {Key: "value", Value: "0"}}}
	if hasToken(e.version) && !operator.authOptions {
		env = append(env, mapping{{Key: "name", Value: "RAY_AUTH_MODE"}, {Key: "value", Value: "token"}},
			mapping{{Key: "name", Value: "RAY_AUTH_TOKEN"}, {Key: "valueFrom", Value: mapping{{Key: "secretKeyRef",
				Value: mapping{{Key: "name", Value: e.spec.Name}, {Key: "key", Value: "auth_token"}}}}}})
	}
	for _, k := range slices.Sorted(maps.Keys(g.node.Env)) {
		// Kubernetes expands $(NAME); a doubled $ stands for one.
		env = append(env, mapping{{Key: "name", Value: k},
			{Key: "value", Value: strings.ReplaceAll(g.node.Env[k], "$(", "$$(")}})
	}
	c = append(c, pair{Key: "env", Value: env})
	volumes, mounts := e.podVolumes(g)
	if len(mounts) > 0 {
		c = append(c, pair{Key: "volumeMounts", Value: mounts})
	}
	pod := mapping{{Key: "securityContext", Value: e.podSecurity()}, {Key: "containers", Value: []mapping{c}}}
	if len(volumes) > 0 {
		pod = append(pod, pair{Key: "volumes", Value: volumes})
	}
	return mapping{{Key: "spec", Value: pod}}
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

// podSecurity runs the pod as the image's user, and never as root.
func (e *exporter) podSecurity() mapping {
	user, group, _ := strings.Cut(e.options.Image.User, ":")
	uid, err := strconv.ParseInt(user, 10, 32)
	if err != nil || uid == 0 {
		uid, group = 1000, ""
		if user == "0" || user == "root" || user == "" {
			e.note("the image runs as root: the pods run it as user 1000, which needs a writable home there")
		}
	}
	out := mapping{{Key: "runAsNonRoot", Value: true}, {Key: "runAsUser", Value: uid}}
	if gid, err := strconv.ParseInt(group, 10, 32); err == nil {
		out = append(out, pair{Key: "runAsGroup", Value: gid})
	}
	return append(out, pair{Key: "seccompProfile", Value: mapping{{Key: "type", Value: "RuntimeDefault"}}})
}

func (e *exporter) podVolumes(g nodeGroup) (volumes, mounts []mapping) {
	for i, m := range g.node.Mounts {
		name := fmt.Sprintf("mount-%d", i+1)
		var source pair
		if m.Volume {
			claim := slug(m.Source)
			e.note("volume %s is the persistent volume claim %s, which has to be there", m.Source, claim)
			source = pair{Key: "persistentVolumeClaim",
				Value: mapping{{Key: "claimName", Value: claim}, {Key: "readOnly", Value: m.ReadOnly}}}
		} else {
			e.note("%s is read from each Kubernetes node that a pod runs on", m.Source)
			source = pair{Key: "hostPath", Value: mapping{{Key: "path", Value: m.Source}}}
		}
		volumes = append(volumes, mapping{{Key: "name", Value: name}, source})
		mounts = append(mounts, mapping{{Key: "name", Value: name}, {Key: "mountPath", Value: m.Target},
			{Key: "readOnly", Value: m.ReadOnly}})
	}
	home := homeOf(e.options.Image.User)
	for i, target := range g.node.writablePaths(e.options.Image.User) {
		if target == home { // unlike Docker's, an empty volume would hide the image's files
			e.note("the home %s is read-only: mount a volume there if jobs write to it", home)
			continue
		}
		name := fmt.Sprintf("write-%d", i+1)
		volumes = append(volumes, mapping{{Key: "name", Value: name}, {Key: "emptyDir", Value: mapping{}}})
		mounts = append(mounts, mapping{{Key: "name", Value: name}, {Key: "mountPath", Value: target}})
	}
	return volumes, mounts
}

// shellQuote makes one word of a POSIX shell of s.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(shellSafe, r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-"
