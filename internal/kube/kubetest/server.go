// Package kubetest is a Kubernetes API server in memory, for what raybuild asks of one: RayClusters
// and pods. It is a stand-in, but what a server-side apply is, which fields conflict, and what a
// RayCluster may look like is decided by Kubernetes' own code and by KubeRay's own definition.
// KubeRay's operator is played by the test.
package kubetest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"sigs.k8s.io/yaml"
)

// Namespace is the one namespace that there is, and that of the kubeconfig's context.
const Namespace = "ml"

const token = "a-user-of-kubernetes" //nolint:gosec // of a server that lives as long as a test

// Server is the API server.
type Server struct {
	// Operator is called at each look at a RayCluster and gives its status, nil as long as there is
	// none. look counts from 1 anew after each apply.
	Operator func(obj *unstructured.Unstructured, look int) map[string]any
	// Pods are those of the namespace.
	Pods []map[string]any
	// NoDefinition is a Kubernetes without KubeRay.
	NoDefinition bool
	// Forbidden are pairs of verb and resource that the user may not use, such as "patch rayclusters".
	Forbidden []string

	http    *httptest.Server
	schema  *Schema
	manager *managedfields.FieldManager

	mu       sync.Mutex
	cluster  *unstructured.Unstructured // the one that there is
	looks    int
	requests []string
}

func kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}
}

func resource() schema.GroupResource {
	return schema.GroupResource{Group: "ray.io", Resource: "rayclusters"}
}

// Start serves until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	crd, err := NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		schema: crd, manager: managedfieldstest.NewFakeFieldManager(managedfields.NewDeducedTypeConverter(), kind()),
	}
	s.http = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// Kubeconfig writes a file whose current context, named test, reaches the server, and one named
// stranger, whose user it does not know.
func (s *Server) Kubeconfig(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	text := fmt.Sprintf(
		`{apiVersion: v1, kind: Config, current-context: test,
clusters: [{name: here, cluster: {server: %q, certificate-authority-data: %s}}],
users: [{name: user, user: {token: %q}}, {name: stranger, user: {token: wrong}}],
contexts: [{name: test, context: {cluster: here, user: user, namespace: %q}},
  {name: stranger, context: {cluster: here, user: stranger}}]}`,
		s.http.URL, base64.StdEncoding.EncodeToString(ca), token, Namespace)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Close ends the server: it is down.
func (s *Server) Close() { s.http.Close() }

// Requests are verb and resource of all requests so far, and how an apply was made.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Cluster is the RayCluster as it is stored; nil when there is none.
func (s *Server) Cluster() *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.DeepCopy()
}

// Delete removes the RayCluster, as kubectl delete does.
func (s *Server) Delete() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = nil
}

// SetAs applies fields of the RayCluster as another manager.
func (s *Server) SetAs(t testing.TB, manager string, fields map[string]any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	obj := &unstructured.Unstructured{Object: fields}
	obj.SetGroupVersionKind(kind())
	obj.SetName(s.cluster.GetName())
	obj.SetNamespace(Namespace)
	if err := s.store(obj, manager, true); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.answer(r)
	code := http.StatusOK
	if err != nil {
		var status *apierrors.StatusError
		if !errors.As(err, &status) {
			http.Error(w, err.Error(), http.StatusNotFound) // no path of the API: plain text
			return
		}
		full := status.ErrStatus
		full.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		out, code = full, int(full.Code)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(out); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// answer gives an object, an error of the API, or another error for a path that is none of its own.
func (s *Server) answer(r *http.Request) (any, error) {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	verb := map[string]string{http.MethodGet: "get", http.MethodPatch: "patch"}[r.Method]
	switch {
	case len(part) == 7 && strings.HasPrefix(r.URL.Path, "/apis/ray.io/v1/namespaces/") && part[5] == "rayclusters" &&
		!s.NoDefinition:
		if err := s.admit(r, verb, "rayclusters"); err != nil {
			return nil, err
		}
		if verb == "patch" {
			return s.apply(r, part[4], part[6])
		}
		return s.get(part[4], part[6])
	case len(part) == 5 && strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") && part[4] == "pods":
		if err := s.admit(r, "list", "pods"); err != nil {
			return nil, err
		}
		return map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{},
			"items": s.podsOf(r.URL.Query().Get("labelSelector"))}, nil
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	return nil, errors.New("404 page not found")
}

// admit notes the request, and asks who makes it and whether they may.
func (s *Server) admit(r *http.Request, verb, of string) error {
	what := verb + " " + of
	note := what
	if verb == "patch" {
		q := r.URL.Query()
		note += fmt.Sprintf(" manager=%s force=%s validation=%s", q.Get("fieldManager"), q.Get("force"),
			q.Get("fieldValidation"))
	}
	s.requests = append(s.requests, note)
	if r.Header.Get("Authorization") != "Bearer "+token {
		return apierrors.NewUnauthorized("Unauthorized")
	}
	if slices.Contains(s.Forbidden, what) {
		//nolint:staticcheck // the API server's words
		return apierrors.NewForbidden(schema.GroupResource{Group: resource().Group, Resource: of}, "demo", fmt.Errorf(
			"User %q cannot %s resource %q in API group %q in the namespace %q", "user", verb, of,
			resource().Group, Namespace))
	}
	return nil
}

func (s *Server) get(namespace, name string) (any, error) {
	if s.cluster == nil || namespace != Namespace || s.cluster.GetName() != name {
		return nil, apierrors.NewNotFound(resource(), name)
	}
	s.looks++
	if s.Operator != nil {
		if status := s.Operator(s.cluster.DeepCopy(), s.looks); status != nil {
			s.cluster.Object["status"] = status
		}
	}
	return s.cluster, nil
}

func (s *Server) apply(r *http.Request, namespace, name string) (any, error) {
	if r.Header.Get("Content-Type") != "application/apply-patch+yaml" ||
		r.URL.Query().Get("fieldValidation") != "Strict" {
		return nil, apierrors.NewBadRequest("this server takes strict server-side applies alone")
	}
	if namespace != Namespace {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var obj unstructured.Unstructured
	if err := yaml.Unmarshal(body, &obj.Object); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if ns := obj.GetNamespace(); obj.GetName() != name || ns != "" && ns != namespace {
		return nil, apierrors.NewBadRequest("name and namespace are not those of the path")
	}
	obj.SetNamespace(namespace)
	if err := s.validate(r.Context(), body, name); err != nil {
		return nil, err
	}
	if err := s.store(&obj, r.URL.Query().Get("fieldManager"), r.URL.Query().Get("force") == "true"); err != nil {
		return nil, err
	}
	s.looks = 0
	return s.cluster, nil
}

func (s *Server) validate(ctx context.Context, body []byte, name string) error {
	unknown, others, err := s.schema.Problems(ctx, body)
	switch {
	case err != nil:
		return apierrors.NewBadRequest(err.Error())
	case len(unknown) > 0:
		return apierrors.NewBadRequest("strict decoding error: " + strings.Join(unknown, ", "))
	case len(others) > 0:
		e := apierrors.NewInvalid(kind().GroupKind(), name, nil)
		e.ErrStatus.Message = fmt.Sprintf("RayCluster.ray.io %q is invalid: %s", name, strings.Join(others, ", "))
		return e
	}
	return nil
}

// store merges what a manager applies with what there is, and counts generations of the spec.
func (s *Server) store(obj *unstructured.Unstructured, manager string, force bool) error {
	live := s.cluster.DeepCopy()
	if live == nil {
		live = &unstructured.Unstructured{Object: map[string]any{}}
		live.SetGroupVersionKind(kind())
		live.SetName(obj.GetName())
		live.SetNamespace(obj.GetNamespace())
	}
	merged, err := s.manager.Apply(live, obj, manager, force)
	if err != nil {
		return err
	}
	now := merged.(*unstructured.Unstructured)
	if !same(live.Object["spec"], now.Object["spec"]) {
		now.SetGeneration(live.GetGeneration() + 1)
	}
	s.cluster = now
	return nil
}

func same(x, y any) bool {
	a, errA := json.Marshal(x)
	b, errB := json.Marshal(y)
	return errA == nil && errB == nil && string(a) == string(b)
}

func (s *Server) podsOf(selector string) []map[string]any {
	key, value, _ := strings.Cut(selector, "=")
	out := []map[string]any{}
	for _, p := range s.Pods {
		if got, _, _ := unstructured.NestedString(p, "metadata", "labels", key); got == value {
			out = append(out, p)
		}
	}
	return out
}
