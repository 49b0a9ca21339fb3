package registry

import (
	"net/http"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// unsaid takes a header out of a registry's answers.
type unsaid struct {
	http.ResponseWriter
	header string
}

func (u unsaid) WriteHeader(status int) {
	u.Header().Del(u.header)
	u.ResponseWriter.WriteHeader(status)
}

// A registry that lists referrers and only does not say so needs no fallback tag, so it does not matter why that cannot be read.
func TestAttachWhereTheFallbackTagIsRefused(t *testing.T) {
	fallback := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/sha256-") }
	for what, fault := range map[string]faultyregistry.Middleware{
		"with 403":   faultyregistry.Refusing(fallback, http.StatusForbidden),
		"by silence": faultyregistry.Silent(t.Context(), fallback),
	} {
		t.Run(what, func(t *testing.T) {
			host, asked := start(t, func(next http.Handler) http.Handler {
				next = fault(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unsaid{w, "Oci-Subject"}, r) })
			})
			push(t, host+"/ray:1", image(t, amd64(), nil))
			if _, err := client(Options{}).Attach(t.Context(), host+"/ray:1", documents()...); err != nil {
				t.Errorf("what is not needed cannot be read, and the documents are not attached: %v", err)
			}
			if n := asked.count("PUT /v2/ray/manifests/sha256-"); n != 0 {
				t.Errorf("a fallback tag was written %d times where the registry lists referrers", n)
			}
			for _, d := range documents() {
				if got, err := client(Options{}).Attached(t.Context(), host+"/ray:1", d.ArtifactType); err != nil || len(got) != 1 {
					t.Errorf("attached as %s: %+v, error %v", d.ArtifactType, got, err)
				}
			}
		})
	}
	t.Run("where it is needed", func(t *testing.T) {
		noAPI := faultyregistry.Refusing(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }, http.StatusNotFound)
		refused := faultyregistry.Refusing(fallback, http.StatusForbidden)
		host, _ := start(t, func(next http.Handler) http.Handler {
			next = noAPI(refused(next))
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unsaid{w, "Oci-Subject"}, r) })
		})
		push(t, host+"/ray:1", image(t, amd64(), nil))
		if _, err := client(Options{}).Attach(t.Context(), host+"/ray:1", documents()...); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("error %v does not say that the fallback tag cannot be read", err)
		}
	})
}
