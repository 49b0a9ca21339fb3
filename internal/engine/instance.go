package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// maxSocketPath is sizeof(sockaddr_un.sun_path) less its NUL, unix(7).
const maxSocketPath = 107

// proxyVars are what net/http and crypto/x509 read from the environment: they
// hold for a whole process, so they belong to the choice of the instance.
func proxyVars() []string {
	return []string{
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
		"http_proxy", "https_proxy", "no_proxy", "all_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR",
	}
}

// processEnv gives Options.Env, or its default.
func (o Options) processEnv() []string {
	env := o.Env
	if env == nil {
		for _, k := range proxyVars() {
			if v := os.Getenv(k); v != "" {
				env = append(env, k+"="+v)
			}
		}
	}
	env = slices.Clone(env)
	slices.Sort(env)
	return slices.Compact(env)
}

// insecure gives Options.Insecure sorted, each once, in lower case.
func (o Options) insecure() []string {
	out := make([]string, 0, len(o.Insecure))
	for _, h := range o.Insecure {
		out = append(out, strings.ToLower(strings.TrimSpace(h)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// instance names the state directory for these settings: "default", or a hash
// of those that BuildKit can only take per process. Nothing else belongs in
// it, as another instance starts with an empty cache.
func (o Options) instance() (string, error) {
	hosts, env := o.insecure(), o.processEnv()
	if len(hosts) == 0 && len(env) == 0 {
		return "default", nil
	}
	for _, h := range hosts {
		if h == "" || strings.ContainsAny(h, "/ \t\n@") {
			return "", fmt.Errorf("read insecure registry %q: want host or host:port", h)
		}
	}
	for _, kv := range env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return "", fmt.Errorf("read engine environment %q: want KEY=VALUE", k)
		}
	}
	// JSON keeps ["a","b"] and ["a b"] apart; it cannot fail on strings.
	key, _ := json.Marshal([2][]string{hosts, env})
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:6]), nil
}
