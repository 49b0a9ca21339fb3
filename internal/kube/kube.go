// Package kube speaks to a Kubernetes API server. It owns client-go, and knows of objects only
// RayClusters, what KubeRay's operator says in their status, and what their pods say.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// fieldManager is who owns the fields that Apply sets.
const fieldManager = "raybuild"

// Options say where and how.
type Options struct {
	// default: KUBECONFIG, then ~/.kube/config, then the pod's own service account
	Kubeconfig string
	Context    string                        // default: the kubeconfig's current one
	Namespace  string                        // default: the object's, then the context's
	Force      bool                          // take fields over that another manager owns
	Timeout    time.Duration                 // how long the cluster may take to get ready; default 10 minutes
	Poll       time.Duration                 // pause between two requests for the status; default 1 s
	Logf       func(format string, a ...any) // gets a line for each event; default: nowhere
}

// Result is the applied cluster.
type Result struct {
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	Context   string  `json:"context,omitempty"`
	Changed   bool    `json:"changed"` // the API server has another object than before
	Workers   int64   `json:"ready_workers"`
	Service   string  `json:"head_service,omitempty"` // name of the head's service
	Seconds   float64 `json:"seconds"`
}

// String is the result for people: kubectl's name of the object.
func (r *Result) String() string {
	change := "unchanged"
	if r.Changed {
		change = "applied"
	}
	return fmt.Sprintf("raycluster.ray.io/%s %s and ready in namespace %s (%d workers)", r.Name, change,
		r.Namespace, r.Workers)
}

func rayClusters() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}
}

// requestLimit bounds each request: an API server that is silent is named.
const requestLimit = 15 * time.Second

// cluster is one RayCluster and the way to it.
type cluster struct {
	Options
	client    dynamic.Interface
	namespace string
	name      string
	context   string
	wanted
}

// wanted is what a RayCluster asks for.
type wanted struct {
	workers int64  // the fewest
	grows   bool   // the autoscaler may start more
	image   string // that its pods are to run
}

// Apply gives a RayCluster, as YAML, to the API server by server-side apply, and waits until all of
// its pods are ready. The API server refuses fields that it does not know. No Secret is made or
// read: the operator makes the cluster's token itself, in a Secret that goes with the RayCluster
// (kuberay ray-operator/controllers/ray/raycluster_controller.go, createAuthSecret).
func Apply(ctx context.Context, doc []byte, o Options) (*Result, error) {
	start := time.Now()
	var obj unstructured.Unstructured
	if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
		return nil, fmt.Errorf("read RayCluster: %w", err)
	}
	c, err := connect(&obj, o)
	if err != nil {
		return nil, err
	}
	if c.wanted, err = wantedOf(doc); err != nil {
		return nil, fmt.Errorf("read RayCluster: %w", err)
	}
	before, err := c.get(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, c.explain(ctx, "look for", err)
	}
	data, err := json.Marshal(obj.Object)
	if err != nil {
		return nil, fmt.Errorf("encode RayCluster: %w", err)
	}
	applied, err := c.client.Resource(rayClusters()).Namespace(c.namespace).Patch(ctx, c.name,
		types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: fieldManager, Force: &c.Force, FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, c.explain(ctx, "apply", err)
	}
	r := &Result{Namespace: c.namespace, Name: c.name, Context: c.context,
		Changed: before == nil || differ(before, applied)}
	if r.Changed {
		c.Logf("raycluster.ray.io/%s applied to namespace %s", c.name, c.namespace)
	} else {
		c.Logf("raycluster.ray.io/%s in namespace %s is as wanted: nothing changed", c.name, c.namespace)
	}
	last, err := c.await(ctx, applied.GetGeneration())
	if err != nil {
		return nil, err
	}
	r.Workers, r.Service = last.ReadyWorkers, last.Head.ServiceName
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// differ says whether what people set of an object has changed; its status may have.
func differ(before, after *unstructured.Unstructured) bool {
	return before.GetGeneration() != after.GetGeneration() || !maps.Equal(before.GetLabels(), after.GetLabels())
}

// group is as much of a RayCluster's group as is waited for.
type group struct {
	Replicas    int64 `json:"replicas"`
	MinReplicas int64 `json:"minReplicas"`
	Template    struct {
		Spec podSpec `json:"spec"`
	} `json:"template"`
}

// wantedOf reads what a RayCluster asks for. A group that the autoscaler scales has no replicas.
func wantedOf(doc []byte) (wanted, error) {
	var obj struct {
		Kind string `json:"kind"`
		Spec struct {
			Grows   bool    `json:"enableInTreeAutoscaling"`
			Head    group   `json:"headGroupSpec"`
			Workers []group `json:"workerGroupSpecs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(doc, &obj); err != nil {
		return wanted{}, err
	}
	if obj.Kind != "RayCluster" {
		return wanted{}, fmt.Errorf("it is a %s; hand it to kubectl apply -f", clip(obj.Kind))
	}
	w := wanted{grows: obj.Spec.Grows, image: obj.Spec.Head.Template.Spec.image()}
	for _, g := range obj.Spec.Workers {
		w.workers += max(g.Replicas, g.MinReplicas)
	}
	return w, nil
}

func connect(obj *unstructured.Unstructured, o Options) (*cluster, error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: o.Context})
	c := &cluster{Options: o, name: obj.GetName(), context: o.Context}
	if raw, err := config.RawConfig(); err == nil && c.context == "" {
		c.context = raw.CurrentContext
	}
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes cluster: %w; name it with --kubeconfig and --context", err)
	}
	c.namespace = o.Namespace
	if c.namespace == "" {
		c.namespace = obj.GetNamespace()
	}
	if c.namespace == "" {
		if c.namespace, _, err = config.Namespace(); err != nil {
			return nil, fmt.Errorf("find the Kubernetes namespace: %w", err)
		}
	}
	rest.UserAgent, rest.Timeout = fieldManager, requestLimit
	rest.QPS = -1 // no limit of its own: Options.Poll has one
	rest.WarningHandlerWithContext = warnings{o.Logf}
	if c.client, err = dynamic.NewForConfig(rest); err != nil {
		return nil, fmt.Errorf("reach the Kubernetes cluster: %w", err)
	}
	return c, nil
}

// warnings are what the API server wants users to read.
type warnings struct{ logf func(string, ...any) }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.logf("warning of the API server: %s", text)
}

func (c *cluster) get(ctx context.Context) (*unstructured.Unstructured, error) {
	obj, err := c.client.Resource(rayClusters()).Namespace(c.namespace).Get(ctx, c.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// explain says what to do about an error of the API server.
func (c *cluster) explain(ctx context.Context, verb string, err error) error {
	what := fmt.Errorf("%s RayCluster %q in namespace %q: %w", verb, c.name, c.namespace, err)
	var status *apierrors.StatusError
	switch {
	case ctx.Err() != nil:
		return what
	case !errors.As(err, &status):
		return fmt.Errorf("%w; is the API server of context %q up, and reachable from here?", what, c.context)
	}
	details := status.ErrStatus.Details
	switch {
	case apierrors.IsNotFound(err) && (details == nil || details.Name == ""): // the path is unknown, not the object
		return fmt.Errorf("%w; this Kubernetes knows no RayClusters (ray.io/v1): install the KubeRay operator: "+
			"helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/", what)
	case apierrors.IsNotFound(err) && details.Kind == "namespaces":
		return fmt.Errorf("%w; make it: kubectl create namespace %s", what, c.namespace)
	case apierrors.IsConflict(err):
		return fmt.Errorf("%s RayCluster %q in namespace %q: %s; take them over with --force-conflicts, or leave them "+
			"to their owners",
			verb, c.name, c.namespace, conflicts(status))
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w; the API server does not know the user of context %q: log in again, or name another one "+
			"with --context", what, c.context)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; the user of context %q needs the verbs get, create and patch on "+
			"rayclusters.ray.io there", what, c.context)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fmt.Errorf("%w; if the definition of RayClusters there is too old for what it refuses, update "+
			"KubeRay (token authentication needs 1.5.1)", what)
	}
	return what
}

// conflicts names the fields that others own, and their owners. They stand in the causes of the API server's answer.
func conflicts(s *apierrors.StatusError) string {
	var fields []string
	if s.ErrStatus.Details != nil {
		for _, c := range s.ErrStatus.Details.Causes {
			if c.Type == metav1.CauseTypeFieldManagerConflict {
				fields = append(fields, fmt.Sprintf("%s (%s)", c.Field, c.Message))
			}
		}
	}
	if len(fields) == 0 { // not of apply
		return clip(s.Error())
	}
	return "others have set these fields to other values: " + strings.Join(fields, ", ")
}

// clip keeps a message of others on one line.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}
