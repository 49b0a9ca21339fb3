package launcher

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestPlainRegistryThatEnginesRefuse has a registry without TLS that the hosts' Engines do not know
// as such, while the launcher does.
func TestPlainRegistryThatEnginesRefuse(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "plain")
	// The hosts' Engines take plain HTTP from all addresses of the bed's network.
	ln, err := net.Listen("tcp", testneeds.OutsideAddress(t)+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: b.Store, ReadHeaderTimeout: time.Minute}
	go server.Serve(ln) //nolint:errcheck // it serves until the test ends
	t.Cleanup(func() { server.Close() })
	plain := ln.Addr().String()
	spec := b.Spec(t, "plain", strings.Replace(b.image, b.Registry, plain, 1), "", 2)
	_, err = cluster.Up(t.Context(), spec, b.Options(t))
	t.Log(err)
	line := fmt.Sprintf(`"insecure-registries": [%q]`, plain)
	for _, want := range []string{b.Addr(1), b.Addr(2), line, "/etc/docker/daemon.json", "systemctl reload docker"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	for i := 1; i <= 2; i++ {
		if out := b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq", "--filter",
			"label=raybuild.role=worker"); strings.TrimSpace(out) != "" {
			t.Errorf("host %d: something was started: %s", i, out)
		}
	}
}
