package build

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/internal/world/mirror"
)

type fault = mirror.Fault

// wheelOf matches the wheel of a project, and not its metadata.
func wheelOf(project string) string { return "/" + project + `-[^/]*\.whl$` }

// both is a recipe's mirrors.fetch: A first, then B.
func both() string { return "mirrors.fetch=[" + testEnv.A.Fetch() + ", " + testEnv.B.Fetch() + "]" }

func host(m world.Mirror) string { return strings.TrimPrefix(m.URL, "http://") }

// faulted counts the requests that a mirror answered with a fault.
func faulted(t *testing.T, m world.Mirror, mode string) int {
	t.Helper()
	n := 0
	for _, r := range requests(t, m) {
		if r.Fault == mode {
			n++
		}
	}
	return n
}

// found tells whether the registry has a tag.
func found(t *testing.T, ref string) bool {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.Head(parsed)
	var answer *transport.Error
	if err != nil && (!errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// lockOnly resolves the recipe, and throws away what came with that: the build has to fetch it.
func (h *home) lockOnly() {
	h.t.Helper()
	if out := h.run("lock"); out.code != 0 {
		h.t.Fatalf("raybuild lock: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "artifacts")); err != nil {
		h.t.Fatal(err)
	}
}

// A liar is found out while resolving too.
func TestNextMirrorServesTheResolver(t *testing.T) {
	h := warmHome(t)
	honest(t)
	if err := testEnv.A.Fault(fault{Mode: "lying", Match: wheelOf("lz4")}); err != nil {
		t.Fatal(err)
	}
	out := h.push(ref(t, "1"), "--set", both(), "--set", "pip=[lz4]")
	if want := "warning: mirror " + host(testEnv.A) +
		" sent wrong bytes for lz4-4.3.3-"; !strings.Contains(out.stderr, want) {
		t.Errorf("the output does not say %q:\n%s", want, tail(out.stderr, 40))
	}
}

// A mirror that fails one file is passed over for the next one; each file is one that no other test
// of the shared builder fetches.
func TestNextMirrorServesWhatTheFirstFails(t *testing.T) {
	h := warmHome(t)
	tests := []struct {
		name, project string
		fault         fault
		says          string // in the output; "" is nothing about it
	}{
		{"wrong bytes", "multidict", fault{Mode: "lying"},
			"warning: mirror " + host(testEnv.A) + " sent wrong bytes for multidict-6.1.0-"},
		{"not there", "ormsgpack", fault{Mode: "404"}, ""},
		{"truncated", "gast", fault{Mode: "truncate"}, ""},
		{"connection closed", "termcolor", fault{Mode: "broken"}, ""},
		{"in trouble", "colorful", fault{Mode: "500"}, ""},
		{"stalls", "distlib", fault{Mode: "stall"}, ""},
		{"slow", "pytz", fault{Mode: "slow", BytesPerSecond: 2000}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			honest(t)
			h := warmLike(t, h.dir)
			h.write("raybuild.yaml", shortRecipe("pip: ["+tt.project+"]"))
			h.lockOnly()
			tt.fault.Match = wheelOf(tt.project)
			if err := testEnv.A.Fault(tt.fault); err != nil {
				t.Fatal(err)
			}
			out := h.push(ref(t, "1"), "--set", both())
			if faulted(t, testEnv.A, tt.fault.Mode) == 0 {
				t.Errorf("mirror A was never asked for the wheel of %s", tt.project)
			}
			if !strings.Contains(out.stderr, tt.says) {
				t.Errorf("the output does not say %q:\n%s", tt.says, tail(out.stderr, 40))
			}
			if tt.says == "" && strings.Contains(out.stderr, "warning") {
				t.Errorf("a warning about nothing that matters:\n%s", tail(out.stderr, 40))
			}
		})
	}
}

// What no mirror brings is an error that names artifact, hosts and answers; once a mirror is well the same call works.
func TestArtifactThatNobodyBrings(t *testing.T) {
	h := warmHome(t)
	tests := []struct {
		name string
		mode string
		args []string
		says []string
	}{
		{"a liar alone", "lying", nil, []string{"absl_py-2.1.0", host(testEnv.A), "wrong bytes", "sha256:"}},
		{"404 everywhere", "404", []string{"--set", both()}, []string{"absl_py-2.1.0", host(testEnv.A), host(testEnv.B),
			"404 Not Found", "raybuild lock --update"}},
		{"500 everywhere", "500", []string{"--set", both()}, []string{"absl_py-2.1.0", host(testEnv.A), host(testEnv.B),
			"500 Internal Server Error"}},
	}
	dst := ref(t, "1")
	h.write("raybuild.yaml", shortRecipe("pip: [absl-py]"))
	h.lockOnly()
	before := h.read("raybuild.lock")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			honest(t)
			for _, m := range []world.Mirror{testEnv.A, testEnv.B} {
				if err := m.Fault(fault{Match: wheelOf("absl_py"), Mode: tt.mode}); err != nil {
					t.Fatal(err)
				}
			}
			h := *h
			h.t = t
			h.refused(1, tt.says, append([]string{"--push", "--progress", "plain", "--metadata-file", "meta.json", dst},
				tt.args...)...)
			nothingWritten(t, &h, before, dst)
		})
	}
	h.push(dst)
}

// nothingWritten checks that a call that failed left lock, metadata and tag alone.
func nothingWritten(t *testing.T, h *home, lock, dst string) {
	t.Helper()
	if got := h.read("raybuild.lock"); got != lock {
		t.Errorf("the failed build changed the lock:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(h.cwd, "meta.json")); err == nil {
		t.Error("the failed build wrote metadata")
	}
	if found(t, dst) {
		t.Errorf("the failed build tagged %s", dst)
	}
}

// A mirror that dies in the middle of a build, and of a file, does not end it.
func TestMirrorDiesInTheMiddle(t *testing.T) {
	h := coldHome(t)
	honest(t)
	const alive = 20 // requests that it answers before
	for _, f := range []fault{{Mode: "truncate", After: alive, Times: 1}, {Mode: "broken", After: alive}} {
		if err := testEnv.A.Fault(f); err != nil {
			t.Fatal(err)
		}
	}
	out := h.push(ref(t, "1"), "--set", both())
	if out.meta.Digest != warm.digest {
		t.Errorf("the image is %s, want %s", out.meta.Digest, warm.digest)
	}
	if faulted(t, testEnv.A, "truncate") != 1 || faulted(t, testEnv.A, "broken") == 0 ||
		testEnv.B.Stats().Requests == 0 {
		t.Errorf("mirror A cut %d answers and refused %d, mirror B was asked %d times: want 1, some, some",
			faulted(t, testEnv.A, "truncate"), faulted(t, testEnv.A, "broken"), testEnv.B.Stats().Requests)
	}
}
