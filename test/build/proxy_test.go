package build

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestCase33StepsUseTheProxy: a step with a network asks the proxy of this machine's environment for what nothing else
// reaches. The image has nothing of it.
func TestCase33StepsUseTheProxy(t *testing.T) {
	asked := &atomic.Int64{}
	ln, err := net.Listen("tcp", net.JoinHostPort(testneeds.OutsideAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "only.the.proxy.example" {
			asked.Add(1)
			fmt.Fprintln(w, "hello")
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	proxy.Listener = ln
	proxy.Start()
	t.Cleanup(proxy.Close)

	h := warmHome(t)
	run := "wget -q -T 10 -t 1 -O /opt/hello http://only.the.proxy.example/hello"
	h.write("raybuild.yaml", onlineRecipe(run, true))
	// raybuild's own downloads take no proxy here: it knows one host alone.
	own := "NO_PROXY=127.0.0.1,localhost,.org,.com," + testneeds.OutsideAddress(t)
	h.env = append(h.env, "http_proxy="+proxy.URL, own)
	h.push(ref(t, "1"), "--graph-tag=false", "--reuse=false")
	if asked.Load() != 1 {
		t.Errorf("the step asked the proxy %d times, want once", asked.Load())
	}
	out := h.run("inspect", "--json", ref(t, "1"))
	if out.code != 0 || !json.Valid([]byte(out.stdout)) || strings.Contains(strings.ToLower(out.stdout), "_proxy") ||
		strings.Contains(out.stdout, proxy.URL) {
		t.Errorf("the image has the proxy: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	// Siblings: a step without a network has none, and a proxy that no step reaches is named.
	h.write("raybuild.yaml", onlineRecipe("test -z \"${http_proxy-}${HTTP_PROXY-}\"", false))
	h.push(ref(t, "3"), "--graph-tag=false")
	h.write("raybuild.yaml", onlineRecipe("test -n \"${http_proxy-}\"", true))
	h.env = append(h.env, "http_proxy=http://127.0.0.1:1")
	if got := h.push(ref(t, "4"), "--graph-tag=false"); !strings.Contains(got.stderr, "do not reach the proxy") {
		t.Errorf("a proxy on loopback is not named:\n%s", tail(got.stderr, 30))
	}
}
