package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/llb"
)

func TestJobSummaryIsAppended(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "summary.md")
	if err := os.WriteFile(file, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := &app{stderr: &bytes.Buffer{}, stdout: &bytes.Buffer{},
		getenv: func(k string) string { return map[string]string{"GITHUB_STEP_SUMMARY": file}[k] }}
	o := &buildOptions{push: true}
	err := a.showBuild(o, &raybuild.Result{
		Steps: []raybuild.Step{{Name: "a"}, {Name: "b", Cached: true}},
		Layers: []raybuild.LayerResult{{Name: "ray", Digest: "sha256:0123456789abcdef0123", Size: 5, Reused: true},
			{Name: "a|b"}},
		Caches: []llb.CacheWork{{Name: "importing cache", Seconds: 1.5, Error: "refused"}},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n### raybuild", "1 of 2 steps run", "cache: 1.5 s, 1 failed", "| ray |",
		"| reused |", `| a\|b |`, "| pushed |"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the summary does not say %q:\n%s", want, data)
		}
	}
}
