package build

import (
	"regexp"
	"strings"
	"testing"
)

// apt resolves while conda and uv do, and all show on one display what they do. An error of one ends the others, and
// is told as its own.
func TestResolversWorkAtOnce(t *testing.T) {
	h := warmHome(t)
	out := h.run("lock", "--progress", "plain", "--update", "apt", "--update", "env", "--update", "pip")
	apt := regexp.MustCompile(`(?m)^(#\d+) \[apt\] resolve `).FindStringSubmatch(out.stderr)
	if out.code != 0 || apt == nil {
		t.Fatalf("exit %d, and apt's step is not shown:\n%s", out.code, out.stderr)
	}
	env, done := strings.Index(out.stderr, " [env] resolve "), strings.Index(out.stderr, apt[1]+" DONE")
	if env < 0 || done < env {
		t.Errorf("conda did not begin before apt had ended:\n%s", out.stderr)
	}
	if !strings.Contains(out.stderr, " [ray] resolve ray") {
		t.Errorf("uv's step is not shown:\n%s", out.stderr)
	}
	h.write("raybuild.yaml", strings.Replace(shortRecipe(), "apt: [less]", "apt: [less, no-such-package]", 1))
	said := h.refused(1, []string{`resolve layer "apt"`, "no-such-package"}, "lock", "--progress", "plain")
	if strings.Contains(said.stderr, "context canceled") {
		t.Errorf("the end of the others is told as an error:\n%s", said.stderr)
	}
}
