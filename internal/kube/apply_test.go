package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/kube"
	"github.com/raybuild/raybuild/internal/kube/kubetest"
)

const (
	image = "registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	other = "registry.example/ray@sha256:2222222222222222222222222222222222222222222222222222222222222222"

	patience = time.Minute // of a user who waits for what comes at once
)

// exported is what raybuild exports: a head and two workers.
func exported(t *testing.T, image, more string) []byte {
	t.Helper()
	spec, err := cluster.Load("cluster.yaml", []byte("name: demo\nimage: "+image+
		"\nhead: {host: u@10.0.0.1, num_cpus: 1, shm_size: 1g}\n"+
		"workers: [{name: w, hosts: [\"u@10.0.0.[2-3]\"], num_cpus: 2, shm_size: 1g}]\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := cluster.Export(spec, cluster.KubeRay,
		cluster.ExportOptions{Image: cluster.ImageFacts{Ref: image, RayVersion: "2.55.0"}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// status is as KubeRay writes it: calculateStatus in kuberay's
// ray-operator/controllers/ray/raycluster_controller.go. head is why the head is not ready, empty
// when it is.
func status(generation int64, head string, ready int, more ...map[string]any) map[string]any {
	condition := func(kind string, yes bool, reason, message string) map[string]any {
		is := "False"
		if yes {
			is = "True"
		}
		return map[string]any{"type": kind, "status": is, "reason": reason, "message": message,
			"lastTransitionTime": "2026-11-25T12:00:00Z"}
	}
	out := map[string]any{"observedGeneration": generation, "desiredWorkerReplicas": int64(2),
		"minWorkerReplicas": int64(2), "maxWorkerReplicas": int64(2),
		"desiredCPU": "5", "head": map[string]any{}, "lastUpdateTime": "2026-11-25T12:00:00Z"}
	if ready > 0 {
		out["readyWorkerReplicas"], out["availableWorkerReplicas"] = int64(ready), int64(ready)
	}
	conditions := []any{condition("HeadPodReady", head == "", "HeadPodRunningAndReady", "")}
	if head != "" {
		conditions[0] = condition("HeadPodReady", false, head, "containers with unready status: [ray-head]")
	}
	all := head == "" && ready == 2
	if all {
		out["state"], out["head"] = "ready", map[string]any{"serviceName": "demo-head-svc", "podName": "demo-head"}
	}
	conditions = append(conditions, condition("RayClusterProvisioned", all,
		map[bool]string{true: "AllPodRunningAndReadyFirstTime", false: "RayClusterPodsProvisioning"}[all], ""))
	for _, m := range more {
		conditions = append(conditions, m)
	}
	out["conditions"] = conditions
	return out
}

// steps makes the operator write one status after the other, one at each look. nil is an operator
// that has nothing to write.
func steps(all ...map[string]any) func(*unstructured.Unstructured, int) map[string]any {
	return func(_ *unstructured.Unstructured, look int) map[string]any { return all[min(look, len(all))-1] }
}

// podOf is a pod as kubelet tells of it. waiting is why its container waits, empty when it runs.
func podOf(name, image, waiting, message string) map[string]any {
	state := map[string]any{"running": map[string]any{}}
	if waiting != "" {
		state = map[string]any{"waiting": map[string]any{"reason": waiting, "message": message}}
	}
	return map[string]any{"kind": "Pod", "apiVersion": "v1",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"ray.io/cluster": "demo"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "ray", "image": image}}},
		"status": map[string]any{"phase": "Pending",
			"containerStatuses": []any{map[string]any{"name": "ray", "ready": waiting == "", "state": state}}}}
}

// user is a launch against the server: its log is what the user sees.
type user struct {
	log strings.Builder
	kube.Options
}

func newUser(t *testing.T, s *kubetest.Server) *user {
	u := &user{Options: kube.Options{Kubeconfig: s.Kubeconfig(t), Timeout: patience, Poll: time.Millisecond}}
	u.Logf = func(format string, a ...any) {
		fmt.Fprintf(&u.log, format+"\n", a...)
		t.Logf(format, a...)
	}
	return u
}

func TestApplyWaitsUntilAllPodsAreReadyAndChangesNothingAgain(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	s.Operator = steps(nil, status(1, "ContainerCreating", 0), status(1, "", 1), status(1, "", 2))
	u := newUser(t, s)
	r, err := kube.Apply(t.Context(), exported(t, image, ""), u.Options)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Changed || r.Workers != 2 || r.Service != "demo-head-svc" || r.Namespace != kubetest.Namespace ||
		r.Context != "test" {
		t.Errorf("got %+v", r)
	}
	at := 0
	for _, want := range []string{"applied to namespace ml", "operator has not said anything",
		"head not ready (ContainerCreating", "1 of 2 workers ready", "2 of 2 workers ready"} {
		i := strings.Index(u.log.String()[at:], want)
		if i < 0 {
			t.Fatalf("the log has no %q after what it says before:\n%s", want, u.log.String())
		}
		at += i
	}
	if mode, _, _ := unstructured.NestedString(s.Cluster().Object, "spec", "authOptions", "mode"); mode != "token" {
		t.Errorf("the stored RayCluster has authentication %q", mode)
	}
	if all := s.Requests(); !slices.Contains(all, "patch rayclusters manager=raybuild force=false validation=Strict") ||
		slices.ContainsFunc(all, func(r string) bool {
			return !strings.HasSuffix(r, " rayclusters") && !strings.HasSuffix(r, " pods") &&
				!strings.HasPrefix(r, "patch ")
		}) {
		t.Errorf("requests: %q", all) // none is for a Secret
	}

	u = newUser(t, s)
	r, err = kube.Apply(t.Context(), exported(t, image, ""), u.Options)
	if err != nil || r.Changed || s.Cluster().GetGeneration() != 1 ||
		!strings.Contains(u.log.String(), "nothing changed") || !strings.Contains(r.String(), "unchanged") {
		t.Errorf("again: %+v, %v, generation %d\n%s", r, err, s.Cluster().GetGeneration(), u.log.String())
	}

	// KubeRay writes no status for a change that moves nothing in it: observedGeneration stays behind.
	s.Operator = nil
	r, err = kube.Apply(t.Context(), exported(t, image, "env: {A: b}\n"), newUser(t, s).Options)
	if err != nil || !r.Changed || s.Cluster().GetGeneration() != 2 {
		t.Errorf("a change of which the operator says nothing: %+v, %v", r, err)
	}
}

func TestFewerReadyWorkersThanAskedForAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	more := status(2, "", 2)
	more["desiredWorkerReplicas"], more["readyWorkerReplicas"] = int64(3), int64(3)
	s.Operator = func(obj *unstructured.Unstructured, look int) map[string]any {
		if obj.GetGeneration() == 1 || look < 3 { // it has not seen the change at once
			return status(1, "", 2)
		}
		return more
	}
	u := newUser(t, s)
	if _, err := kube.Apply(t.Context(), exported(t, image, ""), u.Options); err != nil {
		t.Fatal(err)
	}
	doc := strings.NewReplacer("replicas: 2", "replicas: 3", "Replicas: 2",
		"Replicas: 3").Replace(string(exported(t, image, "")))
	if r, err := kube.Apply(t.Context(), []byte(doc), u.Options); err != nil || r.Workers != 3 {
		t.Errorf("with a worker more: %+v, %v", r, err)
	}
}

func TestConflictNamesFieldAndManagerAndForceTakesItOver(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	s.Operator = steps(status(1, "", 2))
	u := newUser(t, s)
	doc := exported(t, image, "")
	if _, err := kube.Apply(t.Context(), doc, u.Options); err != nil {
		t.Fatal(err)
	}
	s.SetAs(t, "autopilot", map[string]any{"spec": map[string]any{"rayVersion": "2.40.0"}})
	_, err := kube.Apply(t.Context(), doc, u.Options)
	t.Log(err)
	for _, part := range []string{".spec.rayVersion", `"autopilot"`, "--force-conflicts", `RayCluster "demo"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %s: %v", part, err)
		}
	}
	version := func() string {
		v, _, _ := unstructured.NestedString(s.Cluster().Object, "spec", "rayVersion")
		return v
	}
	if version() != "2.40.0" {
		t.Errorf("the field was taken over unasked: %s", version())
	}
	u.Force = true
	if _, err := kube.Apply(t.Context(), doc, u.Options); err != nil || version() != "2.55.0" {
		t.Errorf("with force: %v, ray %s", err, version())
	}
}

func TestPodsThatKeepAnotherImageAreNamed(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	s.Operator = steps(status(1, "", 2))
	s.Pods = []map[string]any{podOf("demo-head", image, "", ""), podOf("demo-w-1", image, "", ""),
		podOf("demo-w-2", other, "", "")}
	u := newUser(t, s)
	_, err := kube.Apply(t.Context(), exported(t, other, ""), u.Options)
	t.Log(err)
	if err == nil || !strings.Contains(err.Error(), "2 of 3 pods run another image (demo-head, demo-w-1)") ||
		!strings.Contains(err.Error(), "kubectl delete pods -n ml -l ray.io/cluster=demo") {
		t.Errorf("got %v", err)
	}
	s.Pods = []map[string]any{podOf("demo-head", strings.Replace(other, "registry.example", "mirror.example", 1), "",
		"")}
	if _, err := kube.Apply(t.Context(), exported(t, other, ""), u.Options); err != nil {
		t.Errorf("the same image by another name: %v", err)
	}
}

func TestApplyFailures(t *testing.T) {
	t.Parallel()
	quota := map[string]any{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateWorkerPod",
		"message": "pods \"demo-w\" is forbidden: exceeded quota"}
	for _, tt := range []struct {
		what string
		with func(*kubetest.Server, *user)
		doc  func([]byte) []byte
		want []string
	}{
		{"no KubeRay", func(s *kubetest.Server, _ *user) { s.NoDefinition = true }, nil,
			[]string{"install the KubeRay operator", "helm install kuberay-operator"}},
		{"may not apply", func(s *kubetest.Server, _ *user) { s.Forbidden = []string{"patch rayclusters"} }, nil,
			[]string{`cannot patch resource "rayclusters"`, "get, create and patch on rayclusters.ray.io",
				`namespace "ml"`}},
		{"may not look", func(s *kubetest.Server, _ *user) { s.Forbidden = []string{"get rayclusters"} }, nil,
			[]string{`cannot get resource "rayclusters"`}},
		{"unknown user", func(_ *kubetest.Server, u *user) { u.Context, u.Namespace = "stranger", "ml" }, nil,
			[]string{"does not know the user of context \"stranger\"", "--context"}},
		{"no such context", func(_ *kubetest.Server, u *user) { u.Context = "prod" }, nil,
			[]string{`context "prod" does not exist`, "--kubeconfig"}},
		{"no such kubeconfig", func(_ *kubetest.Server, u *user) { u.Kubeconfig = "/nowhere/config" }, nil,
			[]string{"/nowhere/config", "--kubeconfig"}},
		{"no such namespace", func(_ *kubetest.Server, u *user) { u.Namespace = "typo" }, nil,
			[]string{`namespaces "typo" not found`, "kubectl create namespace typo"}},
		{"server is down", func(s *kubetest.Server, _ *user) { s.Close() }, nil,
			[]string{"connection refused", `is the API server of context "test" up`}},
		{"a field that the definition lacks", nil,
			func(b []byte) []byte { return []byte(strings.Replace(string(b), "authOptions:", "authOption:", 1)) },
			[]string{`unknown field "spec.authOption"`, "update KubeRay"}},
		{"a value that the definition refuses", nil,
			func(b []byte) []byte { return []byte(strings.Replace(string(b), "mode: token", "mode: open", 1)) },
			[]string{"spec.authOptions.mode", "is invalid"}},
		{"nobody cares", func(_ *kubetest.Server, u *user) { u.Timeout = 20 * time.Millisecond }, nil,
			[]string{"nobody has taken care of it in 20ms", "is KubeRay's operator running"}},
		{"a worker is late", func(s *kubetest.Server, u *user) {
			s.Operator, u.Timeout = steps(status(1, "", 1)), 20*time.Millisecond
			s.Pods = []map[string]any{podOf("demo-w-2", image, "CrashLoopBackOff",
				"back-off 10s restarting failed container")}
		}, nil, []string{"after 20ms: head and 1 of 2 workers ready",
			"pod demo-w-2: container ray: CrashLoopBackOff: back-off 10s"}},
		{"an image that cannot be pulled", func(s *kubetest.Server, _ *user) {
			s.Operator = steps(status(1, "ImagePullBackOff", 0))
			s.Pods = []map[string]any{podOf("demo-head", image, "ImagePullBackOff",
				"Back-off pulling image: 401 Unauthorized")}
		}, nil, []string{"is not ready: head not ready (ImagePullBackOff",
			"pod demo-head: container ray: ImagePullBackOff: Back-off pulling image: 401 Unauthorized"}},
		{"no quota", func(s *kubetest.Server, _ *user) { s.Operator = steps(status(1, "", 0, quota)) }, nil,
			[]string{"is not ready: head and 0 of 2", "FailedCreateWorkerPod", "exceeded quota"}},
		{"deleted meanwhile", func(s *kubetest.Server, _ *user) {
			s.Operator = func(_ *unstructured.Unstructured, look int) map[string]any {
				if look == 2 {
					go s.Delete() // this look still sees it
				}
				return nil
			}
		}, nil, []string{"wait for RayCluster \"demo\" in namespace \"ml\": somebody deleted it"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := kubetest.Start(t)
			u := newUser(t, s)
			if tt.with != nil {
				tt.with(s, u)
			}
			doc := exported(t, image, "")
			if tt.doc != nil {
				doc = tt.doc(doc)
			}
			r, err := kube.Apply(t.Context(), doc, u.Options)
			t.Log(err)
			if err == nil {
				t.Fatalf("it succeeds: %+v", r)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q", part)
				}
			}
			if strings.Contains(err.Error(), patience.String()) { // the limit, which only an error at its end names
				t.Error("it has waited for what cannot come")
			}
		})
	}
}

func TestPodsThatMayNotBeSeenDoNotKeepItFromBeingReady(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	s.Forbidden = []string{"list pods"}
	s.Operator = steps(status(1, "ContainerCreating", 0), status(1, "", 2))
	u := newUser(t, s)
	if _, err := kube.Apply(t.Context(), exported(t, image, ""), u.Options); err != nil ||
		!strings.Contains(u.log.String(), `cannot list resource "pods"`) {
		t.Errorf("%v\n%s", err, u.log.String())
	}
}

func TestInterruptedWaitEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	u := newUser(t, s)
	u.Poll, u.Timeout = time.Hour, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	s.Operator = func(*unstructured.Unstructured, int) map[string]any {
		cancel() // somebody types ^C while it waits
		return nil
	}
	if _, err := kube.Apply(ctx, exported(t, image, ""), u.Options); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if s.Cluster() == nil {
		t.Error("what was applied is gone")
	}
}

func TestResultAsJSON(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(kube.Result{Namespace: "ml", Name: "demo", Changed: true, Workers: 2,
		Service: "demo-head-svc"})
	if want := `{"namespace":"ml","name":"demo","changed":true,"ready_workers":2,"head_service":"demo-head-svc","seconds":0}`; err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
}
