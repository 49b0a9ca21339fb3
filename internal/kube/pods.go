package kube

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pod is as much of a pod as tells why it does not run, and what it runs.
type pod struct {
	Metadata struct {
		Name    string `json:"name"`
		Deleted string `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec   podSpec `json:"spec"`
	Status struct {
		Phase      string             `json:"phase"`
		Conditions []metav1.Condition `json:"conditions"`
		Init       []containerStatus  `json:"initContainerStatuses"`
		Containers []containerStatus  `json:"containerStatuses"`
	} `json:"status"`
}

type podSpec struct {
	Containers []struct {
		Image string `json:"image"`
	} `json:"containers"`
}

// image is that of Ray's container, which is the first; others are the operator's.
func (s podSpec) image() string {
	if len(s.Containers) == 0 {
		return ""
	}
	return s.Containers[0].Image
}

type containerStatus struct {
	Name         string `json:"name"`
	RestartCount int64  `json:"restartCount"`
	State        struct {
		Waiting *reason `json:"waiting"`
	} `json:"state"`
	LastState struct {
		Terminated *reason `json:"terminated"`
	} `json:"lastState"`
}

type reason struct {
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	ExitCode int64  `json:"exitCode"`
}

// pods lists the cluster's pods that are there to stay.
func (c *cluster) pods(ctx context.Context) ([]pod, error) {
	list, err := c.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(c.namespace).
		List(ctx, metav1.ListOptions{LabelSelector: "ray.io/cluster=" + c.name})
	if err != nil {
		return nil, err
	}
	var out []pod
	for _, item := range list.Items {
		var p pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &p); err != nil {
			return nil, fmt.Errorf("read pod %q: %w", item.GetName(), err)
		}
		if p.Metadata.Deleted == "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// podTrouble is why pods are not ready.
type podTrouble struct {
	text    string
	lasting bool // it is not likely to go away by itself
}

// refused is what registries and container runtimes say where a login is missing or wrong.
var refused = regexp.MustCompile(`(?i)\b(401|403|unauthorized|forbidden|denied|authentication required|` +
	`authorization failed|no basic auth)\b`)

func troubleOf(pods []pod) podTrouble {
	var troubles []string
	lasting := false
	for _, p := range pods {
		if text, lasts := p.trouble(); text != "" {
			troubles = append(troubles, fmt.Sprintf("pod %s: %s", p.Metadata.Name, text))
			lasting = lasting || lasts
		}
	}
	slices.Sort(troubles)
	return podTrouble{strings.Join(troubles, "; "), lasting}
}

// trouble says why a pod is not ready, empty when it is or nothing is known. Reasons are those of
// kubelet (pkg/kubelet/images/types.go) and scheduler.
func (p *pod) trouble() (text string, lasting bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == metav1.ConditionFalse {
			return clip(c.Reason + ": " + c.Message), false // nodes may come
		}
	}
	for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
		w := c.State.Waiting
		if w == nil || w.Reason == "PodInitializing" || w.Reason == "ContainerCreating" {
			continue
		}
		text := clip(fmt.Sprintf("container %s: %s: %s", c.Name, w.Reason, w.Message))
		if last := c.LastState.Terminated; last != nil {
			text += fmt.Sprintf(" (%d restarts, last exit code %d %s)", c.RestartCount, last.ExitCode, last.Reason)
		}
		if strings.Contains(w.Reason, "Image") && refused.MatchString(w.Message) {
			text += "; the registry wants a login: name a Secret that has it in kubernetes.image_pull_secrets of " +
				"cluster.yaml (kubectl create secret docker-registry makes one)"
		}
		return text, strings.Contains(w.Reason, "Image")
	}
	return "", false
}

// oldPods fails where pods run another image than the cluster asks for. KubeRay does not replace
// running pods when their template changes, unless spec.upgradeStrategy says so (kuberay#3905). An
// image that something in Kubernetes has rewritten counts by its digest.
func (c *cluster) oldPods(ctx context.Context) error {
	pods, err := c.pods(ctx)
	if err != nil {
		c.Logf("raycluster.ray.io/%s: cannot tell which image its pods run: %s", c.name, clip(err.Error()))
		return nil
	}
	_, digest, _ := strings.Cut(c.image, "@")
	var old []string
	for _, p := range pods {
		if _, is, pinned := strings.Cut(p.Spec.image(), "@"); pinned && is != digest {
			old = append(old, p.Metadata.Name)
		}
	}
	if len(old) == 0 {
		return nil
	}
	slices.Sort(old)
	return fmt.Errorf("RayCluster %q in namespace %q is ready, but %d of %d pods run another image (%s): KubeRay "+
		"changes no running pod; restart the cluster with the new one: kubectl delete pods -n %s -l ray.io/cluster=%s",
		c.name, c.namespace, len(old), len(pods), strings.Join(old, ", "), c.namespace, c.name)
}
