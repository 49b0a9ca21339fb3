package cli

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

func TestPlanWhyDiffUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"plan of two images":     {[]string{"plan", "a", "b"}, "at most 1 IMAGE"},
		"plan of no name":        {[]string{"plan", "A B"}, "parse image reference"},
		"why of three images":    {[]string{"why", "a", "b", "c"}, "at most 2 IMAGE"},
		"why without any image":  {[]string{"why"}, "argument IMAGE is missing"},
		"diff of one image":      {[]string{"diff", "a"}, "takes two images"},
		"diff of no name":        {[]string{"diff", "a", "B:"}, "parse image reference"},
		"plan of no compression": {[]string{"plan", "--compression", "lz4", "a"}, "gzip, zstd or estargz"},
	} {
		t.Run(what, func(t *testing.T) {
			got := call(t, dir, c.args...)
			if got.code != exitUsage || !strings.Contains(got.stderr, c.says) || got.stdout != "" {
				t.Errorf("code %d, stdout %q, stderr %q; want 64 and %q", got.code, got.stdout, got.stderr, c.says)
			}
		})
	}
}

// Without a lock, or with one that does not fit, plan resolves nothing and writes nothing.
func TestPlanOfAStaleLock(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store, done := t.TempDir(), make(chan error, 1)
	go func() { done <- registry.Serve(t.Context(), ln, store) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("serve registry: %v", err)
		}
	})
	lock := &layers.Lock{Version: layers.LockVersion, Recipe: digest.FromString("recipe"),
		Platforms: map[string]*layers.LockPlatform{"linux/amd64": {
			Base: layers.LockImage{Reference: "ubuntu:22.04", Digest: digest.FromString("base"), Layers: 1},
			Tool: layers.LockImage{Reference: "ubuntu:22.04", Digest: digest.FromString("base"), Layers: 1},
		}}}
	data, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]bool{"no lock": false, "a lock of nothing": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if write {
				if err := os.WriteFile(filepath.Join(dir, "raybuild.lock"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := call(t, dir, "plan", "--json", ln.Addr().String()+"/ray:1")
			var r raybuild.Plan
			if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != exitChanges {
				t.Fatalf("%v: %+v", err, got)
			}
			if len(r.Stale) == 0 || r.UpToDate || len(r.Notes) == 0 {
				t.Errorf("report is %+v", r)
			}
			if text := call(t, dir, "plan"); text.code != exitChanges || !strings.Contains(text.stdout, "stale") {
				t.Errorf("%+v", text)
			}
			after, err := os.ReadFile(filepath.Join(dir, "raybuild.lock"))
			if write && string(after) != string(data) || !write && err == nil {
				t.Error("plan wrote the lock")
			}
			if _, err := os.Stat(filepath.Join(dir, "home", "engine")); err == nil {
				t.Error("plan made an engine")
			}
		})
	}
	if got := call(t, t.TempDir(), "why", ln.Addr().String()+"/ray:1"); got.code != exitFailed ||
		!strings.Contains(got.stderr, "no image") {
		t.Errorf("%+v", got)
	}
}
