package kube_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/kube"
	"github.com/raybuild/raybuild/internal/kube/kubetest"
)

// TestCase19LoginIsMissing: the registry of the image refuses, and the error names the key that mends it.
func TestCase19LoginIsMissing(t *testing.T) {
	t.Parallel()
	const key = "kubernetes.image_pull_secrets"
	for message, hint := range map[string]bool{
		"failed to authorize: failed to fetch anonymous token: 401 Unauthorized":         true,
		"pull access denied, repository does not exist or may require authorization":     true,
		"unexpected status from HEAD request to https://r.example/v2/ray: 403 Forbidden": true,
		"Get https://r.example/v2/: no basic auth credentials":                           true,
		"r.example/ray@sha256:11: not found":                                             false,
		"dial tcp: lookup r.example: no such host":                                       false,
	} {
		s := kubetest.Start(t)
		s.Operator = steps(status(1, "ImagePullBackOff", 0))
		s.Pods = []map[string]any{podOf("demo-head", image, "ErrImagePull", message)}
		_, err := kube.Apply(t.Context(), exported(t, image, ""), newUser(t, s).Options)
		if err == nil || strings.Contains(err.Error(), key) != hint || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: the error names the key: want %v, got %v", message, hint, err)
		}
	}
}

// A cluster that the autoscaler scales is ready with the fewest workers, and with more.
func TestCase19AutoscaledClusterIsReady(t *testing.T) {
	t.Parallel()
	doc := exported(t, image, "")
	scaled := strings.NewReplacer("      replicas: 2\n", "", "minReplicas: 2", "minReplicas: 1", "maxReplicas: 2",
		"maxReplicas: 9", "spec:\n  rayVersion", "spec:\n  enableInTreeAutoscaling: true\n  rayVersion").
		Replace(string(doc))
	for _, tt := range []struct {
		doc     string
		desired int64
		ready   int64
		want    bool
	}{{scaled, 1, 1, true}, {scaled, 5, 1, true}, {scaled, 5, 5, true}, {scaled, 1, 0, false},
		{string(doc), 5, 5, false}} {
		s := kubetest.Start(t)
		now := status(1, "", 2)
		now["desiredWorkerReplicas"], now["readyWorkerReplicas"] = tt.desired, tt.ready
		s.Operator = steps(now)
		u := newUser(t, s)
		u.Timeout = 300 * time.Millisecond
		if r, err := kube.Apply(t.Context(), []byte(tt.doc), u.Options); (err == nil) != tt.want {
			t.Errorf("%d of %d workers, autoscaling %v: %+v, %v", tt.ready, tt.desired, tt.doc == scaled, r, err)
		}
	}
	if _, err := kube.Apply(t.Context(), []byte("kind: RayJob\nmetadata: {name: a}\n"),
		newUser(t, kubetest.Start(t)).Options); err == nil || !strings.Contains(err.Error(), "kubectl apply -f") {
		t.Errorf("a job: %v", err)
	}
}
