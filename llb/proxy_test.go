package llb_test

import (
	"context"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// TestProxyIsInNoKey: a command with a network has the variables of a proxy, one without has none; and with another
// proxy, or without any, it comes from the cache.
func TestProxyIsInNoKey(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ask := func(e llb.Exec, p llb.Proxy) (text string) {
		t.Helper()
		st := llb.From(w.base).Make(e, llb.Output{Path: "/out", On: llb.Scratch()})
		err := b.Read(t.Context(), st, amd64, llb.Session{}, llb.SolveOptions{Proxy: p},
			func(ctx context.Context, tree llb.Tree) error {
				data, err := tree.ReadFile(ctx, "/answer")
				text = string(data)
				return err
			})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	proxy := llb.Proxy{HTTP: "http://10.0.0.1:3128", HTTPS: "http://10.0.0.1:3129", Except: "local.example"}
	const show = `echo "${http_proxy-} ${HTTPS_PROXY-} ${no_proxy-}" > /out/answer; od -An -N8 -tx1 /dev/urandom >> /out/answer`
	online := sh("x", "show the proxy", show)
	online.Network = llb.Online
	first := ask(online, proxy)
	const want = "http://10.0.0.1:3128 http://10.0.0.1:3129 local.example\n"
	if !strings.HasPrefix(first, want) {
		t.Errorf("the command has the proxy %q, want %q", first, want)
	}
	for _, other := range []llb.Proxy{{}, {HTTP: "http://u:geheim@10.0.0.2:1"}} {
		if again := ask(online, other); again != first {
			t.Errorf("with the proxy %+v the command ran again: %q", other, again)
		}
	}
	if offline := ask(sh("x", "show no proxy", show), proxy); offline[:3] != "  \n" {
		t.Errorf("a command without a network has the proxy %q", offline)
	}
}
