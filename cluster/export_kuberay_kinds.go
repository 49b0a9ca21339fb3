package cluster

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// autoscaler turns Ray's autoscaler on if a group of workers has autoscale. KubeRay runs it beside the head, from the
// head's image. Source: kuberay docs/guidance/autoscaler.md and controllers/ray/common/pod.go.
func (e *exporter) autoscaler(operator kubeRayOperator) mapping {
	if !slices.ContainsFunc(e.spec.Workers, func(n Node) bool { return n.Autoscale.Max > 0 }) {
		return nil
	}
	if e.version.before(2) {
		e.fail("autoscale: Ray %s has no autoscaler for KubeRay; use Ray 2, or remove autoscale",
			e.options.Image.RayVersion)
		return nil
	}
	// A namespace with the restricted Pod Security Standard takes no container that does not say this.
	options := mapping{{Key: "securityContext", Value: containerSecurity(Node{})}}
	if t := e.spec.Kubernetes.IdleTimeout; t > 0 {
		options = append(options, pair{Key: "idleTimeoutSeconds", Value: int64(t / time.Second)})
	}
	if u := e.spec.Kubernetes.Upscaling; u != "" {
		options = append(options, pair{Key: "upscalingMode", Value: u})
	}
	if env := e.tokenEnv(operator); len(env) > 0 {
		options = append(options, pair{Key: "env", Value: env})
	}
	if name := e.spec.Kubernetes.ServiceAccount; name != "" {
		e.note("KubeRay gives the service account %s the rights that the autoscaler needs; it has to be there before",
			name)
	}
	return mapping{{Key: "enableInTreeAutoscaling", Value: true}, {Key: "autoscalerOptions", Value: options}}
}

// replicas is how many pods a group has. The autoscaler owns replicas where it works: an export that named it would
// take the pods away that the autoscaler has started. KubeRay starts minReplicas.
func (e *exporter) replicas(g nodeGroup) mapping {
	a := g.node.Autoscale
	if a.Max == 0 {
		return mapping{{Key: "replicas", Value: g.count}, {Key: "minReplicas", Value: g.count},
			{Key: "maxReplicas", Value: g.count}}
	}
	low := a.Min
	if low < 0 {
		low = min(g.count, a.Max)
	}
	return mapping{{Key: "minReplicas", Value: low}, {Key: "maxReplicas", Value: a.Max}}
}

// rayJob is the spec of a RayJob.
func (e *exporter) rayJob(operator kubeRayOperator) mapping {
	e.forOperatorsClient(operator)
	if len(e.options.Entrypoint) == 0 {
		e.fail("a %s needs the job's command; give it after --, such as `-- python train.py`", RayJob)
	}
	words := make([]string, len(e.options.Entrypoint))
	for i, w := range e.options.Entrypoint {
		if strings.ContainsFunc(w, func(r rune) bool { return !strings.ContainsRune(shellSafe+" ", r) }) {
			e.fail("the job's argument %q: KubeRay and Ray have two shells read it, which change such characters; put "+
				"the command into a script of the image, and name the script", clip(w))
		}
		words[i] = shellQuote(w)
	}
	spec := mapping{{Key: "entrypoint", Value: strings.Join(words, " ")}}
	if env := e.runtimeEnv(); env != "" {
		spec = append(spec, pair{Key: "runtimeEnvYAML", Value: env})
	}
	e.note("the job's log: kubectl logs -f job/%s; the cluster goes when the job has ended", e.spec.Name)
	return append(spec, pair{Key: "shutdownAfterJobFinishes", Value: true},
		pair{Key: "submitterPodTemplate", Value: e.submitter()},
		pair{Key: "rayClusterSpec", Value: e.rayCluster(operator)})
}

// runtimeEnv is the job's runtime environment, which KubeRay puts between double quotes of a shell.
func (e *exporter) runtimeEnv() string {
	text := string(e.options.RuntimeEnv)
	var env map[string]any
	if err := yaml.Unmarshal(e.options.RuntimeEnv, &env); err != nil {
		e.fail("read the runtime environment: %w; write a mapping, such as `pip: [requests]`", err)
	}
	if i := strings.IndexAny(text, "$`"); i >= 0 {
		e.fail("the runtime environment has a %q, which the shell of KubeRay's submitter would read; put the value "+
			"into the image, or into env of cluster.yaml", text[i])
	}
	return text
}

// submitter is the pod that hands the job in. KubeRay's own default knows no pull secret, and no security context.
func (e *exporter) submitter() mapping {
	head := e.spec.Head
	c := mapping{{Key: "name", Value: "ray-job-submitter"}, {Key: "image", Value: e.image},
		{Key: "resources", Value: mapping{ // KubeRay's
			{Key: "requests", Value: mapping{{Key: "cpu", Value: "500m"}, {Key: "memory", Value: "200Mi"}}},
			{Key: "limits", Value: mapping{{Key: "cpu", Value: "1"}, {Key: "memory", Value: "1Gi"}}}}},
		{Key: "securityContext", Value: containerSecurity(Node{})}}
	pod := append(mapping{{Key: "restartPolicy", Value: "Never"},
		{Key: "securityContext", Value: e.podSecurity(false)}}, e.podPlace(head.Pod)...)
	return mapping{{Key: "spec", Value: append(pod, pair{Key: "containers", Value: []mapping{c}})}}
}

// rayService is the spec of a RayService.
func (e *exporter) rayService(operator kubeRayOperator) mapping {
	e.forOperatorsClient(operator)
	e.checkServe()
	e.note("requests go to port %d of the service %s-serve-svc", servePort, e.spec.Name)
	return mapping{{Key: "serveConfigV2", Value: string(e.options.Serve)},
		{Key: "rayClusterConfig", Value: e.rayCluster(operator)}}
}

// checkServe reads as much of a configuration of Serve as KubeRay's services need.
func (e *exporter) checkServe() {
	const fix = "`serve build` writes one"
	var config struct {
		Applications []map[string]any `yaml:"applications"`
		HTTP         struct {
			Host string `yaml:"host"`
			Port int    `yaml:"port"`
		} `yaml:"http_options"`
	}
	switch err := yaml.Unmarshal(e.options.Serve, &config); {
	case len(e.options.Serve) == 0:
		e.fail("a %s needs a configuration of Serve; give it with --serve-config FILE, %s", RayService, fix)
	case err != nil:
		e.fail("read the configuration of Serve: %w; %s", err, fix)
	case len(config.Applications) == 0:
		e.fail("the configuration of Serve has no applications; %s", fix)
	case config.HTTP.Port != 0 && config.HTTP.Port != servePort:
		e.fail("the configuration of Serve has http_options.port %d, and KubeRay's service reaches port %d; remove it",
			config.HTTP.Port, servePort)
	case config.HTTP.Host != "" && config.HTTP.Host != "0.0.0.0" && config.HTTP.Host != "::":
		e.fail("the configuration of Serve has http_options.host %q, where no other pod reaches it; remove it",
			clip(config.HTTP.Host))
	}
}

// forOperatorsClient refuses what the operator could not talk to: for jobs and services it asks Ray's dashboard itself.
func (e *exporter) forOperatorsClient(operator kubeRayOperator) {
	switch {
	case e.version.before(2):
		e.fail("a %s needs Ray 2, and the image has Ray %s; use %s", e.kind(), e.options.Image.RayVersion, RayCluster)
	case hasToken(e.version) && !operator.authOptions:
		e.fail("a %s needs KubeRay 1.5.1 or later for Ray %s: an older operator has no token, and Ray's dashboard "+
			"would not answer it; update KubeRay", e.kind(), e.options.Image.RayVersion)
	}
}
