package raybuild

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	libregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/layers"
)

// faulty is a registry with a fault, by its host and port.
func faulty(t *testing.T, fault faultyregistry.Middleware) string {
	t.Helper()
	srv := httptest.NewServer(fault(libregistry.New(libregistry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// A registry that refuses the push ends the call at once, also while another one's token service hangs.
func TestARefusalWaitsForNoOtherRegistry(t *testing.T) {
	t.Parallel()
	refuses := faulty(t, faultyregistry.Refusing(faultyregistry.Post, http.StatusForbidden))
	hangs := faulty(t, func(next http.Handler) http.Handler {
		tokens := faultyregistry.Expiring(func(*http.Request) bool { return false })(next)
		return faultyregistry.Silent(t.Context(), func(r *http.Request) bool {
			return r.URL.Path == "/token" && strings.Contains(r.URL.Query().Get("scope"), "push")
		})(tokens)
	})
	p, err := newProject(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := &BuildOptions{Names: []string{refuses + "/ray:1", hangs + "/ray:1"}, Push: true}
	done := make(chan error, 1)
	go func() {
		_, _, err := p.findExisting(t.Context(), &layers.Graph{Digest: digest.FromString("graph")}, o,
			p.lookAhead(t.Context(), o))
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), refuses) {
			t.Errorf("error %v does not name the registry that refused", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("one registry refused the push, and the call still waits for the other one's token after 20 seconds")
	}
}
