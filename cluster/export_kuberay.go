package cluster

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Kind is an object of KubeRay.
type Kind string

// Kinds of KubeRay's objects.
const (
	RayCluster Kind = "raycluster" // a cluster that stays
	RayJob     Kind = "rayjob"     // a cluster for one job, which goes with it
	RayService Kind = "rayservice" // a cluster that runs applications of Ray Serve
)

// kubeRay writes an object of KubeRay. KubeRay itself adds the ports, /dev/shm, RAY_ADDRESS, the token
// and the `ray start` command line. Source: kuberay docs/reference/api.md and
// ray-operator/controllers/ray/common/pod.go.
func (e *exporter) kubeRay() mapping {
	operator, err := e.operator()
	if err != nil {
		e.errs = append(e.errs, err)
		return nil
	}
	e.operatorNotes(operator)
	meta := mapping{{Key: "name", Value: e.spec.Name}}
	if e.options.Namespace != "" {
		meta = append(meta, pair{Key: "namespace", Value: e.options.Namespace})
	}
	meta = append(meta, pair{Key: "labels", Value: map[string]string{labelCluster: e.spec.Name}})
	kind, spec := "RayCluster", mapping(nil)
	switch e.kind() {
	case RayCluster:
		spec = e.rayCluster(operator)
	case RayJob:
		kind, spec = "RayJob", e.rayJob(operator)
	case RayService:
		kind, spec = "RayService", e.rayService(operator)
	default:
		e.fail("no such kind %q; use %s, %s or %s", clip(string(e.options.Kind)), RayCluster, RayJob, RayService)
	}
	return mapping{{Key: "apiVersion", Value: "ray.io/v1"}, {Key: "kind", Value: kind},
		{Key: "metadata", Value: meta}, {Key: "spec", Value: spec}}
}

func (e *exporter) kind() Kind {
	if e.options.Kind == "" {
		return RayCluster
	}
	return e.options.Kind
}

// rayCluster is the spec of a RayCluster, which the other kinds have within theirs.
func (e *exporter) rayCluster(operator kubeRayOperator) mapping {
	spec := mapping{{Key: "rayVersion", Value: e.options.Image.RayVersion}}
	if hasToken(e.version) && operator.authOptions {
		spec = append(spec, pair{Key: "authOptions", Value: mapping{{Key: "mode", Value: "token"}}})
	}
	spec = append(spec, e.autoscaler(operator)...)
	head := e.sized(e.spec.Head)
	params := e.startParams(head.node, operator)
	params["dashboard-host"] = "0.0.0.0" // inside the pod's network; the service in front of it is not published
	spec = append(spec, pair{Key: "headGroupSpec", Value: append(e.groupLabels(head.node, operator),
		pair{Key: "rayStartParams", Value: params},
		pair{Key: "template", Value: e.podTemplate("ray-head", head, operator)})})
	var workers []mapping
	for _, g := range e.groups() {
		group := append(mapping{{Key: "groupName", Value: g.name}}, e.replicas(g)...)
		group = append(group, e.groupLabels(g.node, operator)...)
		workers = append(workers, append(group, pair{Key: "rayStartParams", Value: e.startParams(g.node, operator)},
			pair{Key: "template", Value: e.podTemplate("ray-worker", g, operator)}))
	}
	if len(workers) > 0 {
		spec = append(spec, pair{Key: "workerGroupSpecs", Value: workers})
	}
	return spec
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
	if !e.hasHealthPages() && n.Role == Worker {
		out["node-manager-port"] = strconv.Itoa(defaultPorts().NodeManager) // which the probes ask
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

// shellQuote makes one word of a POSIX shell of s.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(shellSafe, r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-"
