package cluster

// KubeRay's probes run wget in the image: before 1.6, from then on for Ray before 2.53, and always
// for the workers of a RayService. An image need not have it, and without it no pod gets ready. KubeRay
// leaves probes alone that a template has, so the export writes those that kubelet makes itself.
// Source: kuberay ray-operator/controllers/ray/common/pod.go, initLivenessAndReadinessProbe.

// Ports that KubeRay's containers use: it passes none of cluster.yaml's to Ray.
const (
	agentPort     = 52365 // Ray's default for --dashboard-agent-listen-port
	dashboardPort = 8265
	gcsPort       = 6379
	servePort     = 8000
)

// hasHealthPages tells whether Ray has the pages that probes ask: /api/local_raylet_healthz and /api/gcs_healthz.
// The wheels of 2.0.0 and later have them (ray/dashboard/modules/healthz). They need no token.
func (e *exporter) hasHealthPages() bool { return e.version.atLeast(2) }

// usesWget tells whether KubeRay's own probes run wget.
func (e *exporter) usesWget(role Role, operator kubeRayOperator) bool {
	return operator.version.before(1, 6) || e.version.before(2, 53) || e.kind() == RayService && role == Worker
}

// probes are the fields of a container that keep KubeRay's wget out. Times and limits are KubeRay's
// (controllers/ray/utils/constant.go).
func (e *exporter) probes(role Role, operator kubeRayOperator) mapping {
	if !e.usesWget(role, operator) {
		return nil
	}
	alive := e.alive(role)
	ready, failures := alive, 10
	if e.kind() == RayService && role == Worker { // it gets requests once its proxy answers
		ready, failures = httpGet("/-/healthz", servePort), 1
	}
	probe := func(action pair, delay, failures int) mapping {
		return mapping{action, {Key: "initialDelaySeconds", Value: delay}, {Key: "timeoutSeconds", Value: 5},
			{Key: "periodSeconds", Value: 5}, {Key: "failureThreshold", Value: failures}}
	}
	return mapping{{Key: "livenessProbe", Value: probe(alive, 30, 120)},
		{Key: "readinessProbe", Value: probe(ready, 10, failures)}}
}

// alive asks whether Ray works in a pod. A head before 2.53 has no page that tells of raylet and GCS: the GCS is asked,
// and `ray start --block` ends when the raylet does.
func (e *exporter) alive(role Role) pair {
	switch {
	case !e.hasHealthPages() && role == Head:
		return tcpSocket(gcsPort)
	case !e.hasHealthPages():
		return tcpSocket(defaultPorts().NodeManager)
	case e.version.atLeast(2, 53):
		return httpGet("/api/healthz", agentPort)
	case role == Head:
		return httpGet("/api/gcs_healthz", dashboardPort)
	}
	return httpGet("/api/local_raylet_healthz", agentPort)
}

func httpGet(path string, port int) pair {
	return pair{Key: "httpGet", Value: mapping{{Key: "path", Value: path}, {Key: "port", Value: port}}}
}

func tcpSocket(port int) pair {
	return pair{Key: "tcpSocket", Value: mapping{{Key: "port", Value: port}}}
}
