package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// status is what KubeRay's operator says of a RayCluster. Source: kuberay
// ray-operator/apis/ray/v1/raycluster_types.go. It is written when one of these facts changes:
// observedGeneration alone does not make the operator write it, so it may stay behind for ever
// (controllers/ray/utils/consistency.go).
type status struct {
	State        string             `json:"state"` // ready, failed, suspended; deprecated, and stays ready once it was
	Reason       string             `json:"reason"`
	Desired      int64              `json:"desiredWorkerReplicas"`
	ReadyWorkers int64              `json:"readyWorkerReplicas"`
	ObservedGen  int64              `json:"observedGeneration"`
	Head         headInfo           `json:"head"`
	Conditions   []metav1.Condition `json:"conditions"` // KubeRay 1.3 and later
}

type headInfo struct {
	ServiceName string `json:"serviceName"`
}

func (s *status) condition(name string) *metav1.Condition {
	return meta.FindStatusCondition(s.Conditions, name)
}

// ready says whether the head and as many workers as are wanted are ready.
func (s *status) ready(w wanted) bool {
	running := s.State == "ready"
	if c := s.condition("HeadPodReady"); c != nil {
		running = c.Status == metav1.ConditionTrue && meta.IsStatusConditionTrue(s.Conditions, "RayClusterProvisioned")
	}
	return running && (s.Desired == w.workers || w.grows && s.Desired > w.workers) && s.ReadyWorkers >= w.workers
}

// String is the progress in a line.
func (s *status) String() string {
	if s.silent() {
		return "KubeRay's operator has not said anything about it yet"
	}
	text := fmt.Sprintf("%d of %d workers ready", s.ReadyWorkers, s.Desired)
	if c := s.condition("HeadPodReady"); c != nil && c.Status == metav1.ConditionTrue {
		text = "head and " + text
	} else if c != nil {
		text = fmt.Sprintf("head not ready (%s), %s", clip(strings.TrimSpace(c.Reason+" "+c.Message)), text)
	}
	if f := s.failure(); f != "" {
		text += "; " + f
	}
	return text
}

func (s *status) silent() bool { return s.State == "" && len(s.Conditions) == 0 }

// failure is what keeps the operator from making it, empty where nothing does.
func (s *status) failure() string {
	if c := s.condition("ReplicaFailure"); c != nil && c.Status == metav1.ConditionTrue {
		return clip(c.Reason + ": " + c.Message)
	}
	switch {
	case s.State == "failed":
		return clip("its state is failed: " + s.Reason)
	case s.State == "suspended", meta.IsStatusConditionTrue(s.Conditions, "RayClusterSuspended"):
		return "it is suspended (spec.suspend)"
	}
	return ""
}

// patience is how often in a row the status shows a failure that lasts before the wait ends: operator and kubelet try
// again meanwhile.
const patience = 60

// await asks for the status until the cluster is ready, and logs each change.
func (c *cluster) await(ctx context.Context, generation int64) (*status, error) {
	end := time.Now().Add(c.Timeout)
	logged, failing := "", 0
	for {
		s, trouble, err := c.observe(ctx)
		if err != nil && (ctx.Err() != nil || !transient(err)) {
			return nil, err
		}
		line := s.String()
		if err != nil {
			line = "the API server does not answer: " + clip(err.Error())
		} else if trouble.text != "" {
			line += "; " + trouble.text
		}
		if line != logged {
			c.Logf("raycluster.ray.io/%s: %s", c.name, line)
			logged = line
		}
		if err == nil && (trouble.lasting || s.failure() != "" && s.ObservedGen >= generation) {
			failing++
		} else {
			failing = 0
		}
		switch {
		case err == nil && s.ready(c.wanted):
			return s, c.oldPods(ctx)
		case failing > patience:
			return nil, c.notReady(line)
		case time.Now().After(end) && err == nil && s.silent():
			return nil, c.notReady(fmt.Sprintf("nobody has taken care of it in %s: is KubeRay's operator running, and "+
				"does it watch this namespace? kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator",
				c.Timeout))
		case time.Now().After(end):
			return nil, c.notReady(fmt.Sprintf("after %s: %s", c.Timeout, line))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for RayCluster %q in namespace %q: %w", c.name, c.namespace,
				context.Cause(ctx))
		case <-time.After(c.Poll):
		}
	}
}

// observe asks for the cluster's status and, while it is not ready, for what is wrong with its pods.
func (c *cluster) observe(ctx context.Context) (*status, podTrouble, error) {
	var s status
	obj, err := c.get(ctx)
	if apierrors.IsNotFound(err) {
		return &s, podTrouble{}, fmt.Errorf("wait for RayCluster %q in namespace %q: somebody deleted it (%w)", c.name,
			c.namespace, err)
	}
	if err != nil {
		return &s, podTrouble{}, c.explain(ctx, "look at", err)
	}
	if raw, ok := obj.Object["status"].(map[string]any); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s); err != nil {
			return &s, podTrouble{}, fmt.Errorf("read the status of RayCluster %q: %w", c.name, err)
		}
	}
	if s.ready(c.wanted) {
		return &s, podTrouble{}, nil
	}
	pods, err := c.pods(ctx)
	if err != nil { // of them the status tells a part
		return &s, podTrouble{text: "its pods cannot be looked at: " + clip(err.Error())}, nil
	}
	return &s, troubleOf(pods), nil
}

func (c *cluster) notReady(why string) error {
	return fmt.Errorf("RayCluster %q in namespace %q is not ready: %s", c.name, c.namespace, why)
}

// transient errors may be gone at the next request.
func transient(err error) bool {
	var s *apierrors.StatusError
	return !errors.As(err, &s) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err)
}
