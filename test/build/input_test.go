package build

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stranger is raybuild where nothing was ever built: what it refuses it must refuse before it makes anything.
func stranger(t *testing.T) *home {
	t.Helper()
	need(t)
	h := &home{t: t, dir: filepath.Join(t.TempDir(), "state"), cwd: t.TempDir()}
	t.Cleanup(func() {
		if _, err := os.Stat(h.dir); err == nil {
			t.Errorf("a refused call made %s", h.dir)
		}
	})
	return h
}

// Bad recipes are refused with file and line, all problems at once, before anything runs.
func TestBadRecipes(t *testing.T) {
	const deep = 2000
	tests := []struct {
		name, recipe string
		args         []string
		says         []string
	}{
		{"problems of all kinds at once", "base: ubuntu:22.04\nrya: {version: \"2.52.0\"}\napt: {less: 1}\n" +
			"env: {python: 3.12}\nmirrors: {fetch: [tsuna]}\nray: {version: newest}\nimage: {user: [x]}\n", nil,
			[]string{"raybuild.yaml:2:", `did you mean "ray"`, "raybuild.yaml:3:", "raybuild.yaml:5:",
				`did you mean "tuna"`, "raybuild.yaml:6:", "raybuild.yaml:7:"}},
		{"a bad reference", "base: \"Not A Ref\"\n", nil, []string{"raybuild.yaml:1:7: base:", "Not A Ref"}},
		{"an option for a reference", "base: --privileged\n", nil, []string{"raybuild.yaml:1:7: base:"}},
		{"commands in a package's name", "apt: [\"less; rm -rf /\", \"$(id)\", \"-o=APT::X=y\", \"`id`\"]\n", nil,
			[]string{"apt[0]", "apt[1]", "apt[2]", "apt[3]"}},
		{"options for pip", "pip: [\"--index-url=http://evil/simple\", \"-e .\", \"x @ http://evil/x.whl\"]\n", nil,
			[]string{"pip[0]", "pip[1]", "pip[2]"}},
		{"commands in names of all kinds", "env: {name: \"x;id\", python: \"3.11 && id\", conda: [\"x $(id)\"], " +
			"channels: [\"--override\"]}\nimage: {user: \"ray;id\", workdir: \"x/$(id)\"}\n" +
			"steps: [{name: \"a b\", run: x}, {name: ok, run: y, secrets: [\"../x\"]}]\n", nil,
			[]string{"env.name", "env.python", "env.conda", "env.channels[0]", "image.user", "image.workdir",
				"steps[0].name", "steps[1].secrets[0]"}},
		{"a line break in a variable's name", "image: {env: {\"A\\nB\": x}}\n", nil, []string{"raybuild.yaml:1:"}},
		{"a path that leads out", "files: [{from: ../secret, to: /x}, {from: /etc/shadow, to: /y}, {from: a, to: " +
			"/home/../etc/passwd}]\n", nil, []string{"files[0].from", "files[1].from", "files[2].to"}},
		{"contradictions", "miniconda: {distribution: miniforge, version: py312_26.7.1-1}\n" +
			"env: {conda: [python=3.10]}\npip: [ray]\n", nil,
			[]string{"raybuild.yaml:1:", "raybuild.yaml:2:", "raybuild.yaml:3:", "ray.version"}},
		{"a version of Ray that this Python has not", "ray: {version: \"2.52.0\"}\n" +
			"env: {python: \"3.7\"}\n", nil, []string{"2.52.0", "3.7"}},
		{"no YAML", "base: [\n", nil, []string{"raybuild.yaml:"}},
		{"a cycle", "base: &a [*a]\n", nil, []string{"raybuild.yaml:1:7", "anchors and aliases"}},
		{"a depth", strings.Repeat("[", deep) + strings.Repeat("]", deep), nil, []string{"raybuild.yaml:1:"}},
		{"a flood", "apt:\n" + strings.Repeat("- less\n", 1<<20), nil, []string{"raybuild.yaml"}},
		{"an override of no key", "", []string{"--set", "ray.versoin=1"},
			[]string{"ray.versoin", `did you mean "version"`}},
		{"an override of no type", "", []string{"--set", "apt={a: b}", "--set", "platforms=linux"},
			[]string{"--set", "apt", "platforms"}},
		{"an override without a value", "", []string{"--set", "ray.version"},
			[]string{"--set", "ray.version", "KEY=VALUE"}},
		{"a missing recipe", "", []string{"-f", "elsewhere.yaml"}, []string{"elsewhere.yaml", "raybuild init"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := stranger(t)
			if tt.recipe != "" {
				h.write("raybuild.yaml", tt.recipe)
			}
			start := time.Now()
			h.refused(1, tt.says, append([]string{"lock", "--check"}, tt.args...)...)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("refused after %v", took)
			}
		})
	}
}

// Files beside the recipe are read with the same suspicion.
func TestBadFilesBesideTheRecipe(t *testing.T) {
	tests := []struct {
		name, recipe string
		files        map[string]string
		links        map[string]string
		says         []string
	}{
		{"options in requirements", "pip: {requirements: [r.txt]}\n",
			map[string]string{"r.txt": "requests\n-e ./here\n--index-url http://evil/simple\n"}, nil,
			[]string{"r.txt:2", "editable", "r.txt:3", "--index-url"}},
		{"a URL in requirements", "pip: {requirements: [r.txt]}\n",
			map[string]string{"r.txt": "x @ https://evil/x.whl\n"}, nil, []string{"r.txt:1"}},
		{"requirements that include themselves", "pip: {requirements: [r.txt]}\n",
			map[string]string{"r.txt": "-r s.txt\n", "s.txt": "-r r.txt\n"}, nil, []string{"s.txt:1"}},
		{"requirements behind a link that leads out", "pip: {requirements: [r.txt]}\n", nil,
			map[string]string{"r.txt": "/etc/hostname"}, []string{"r.txt", "leads out"}},
		{"an environment with a pip option", "env: {file: environment.yml}\n",
			map[string]string{"environment.yml": "dependencies:\n- python=3.11\n- pip:\n" +
				"  - --extra-index-url http://evil\n"}, nil, []string{"environment.yml:4"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := stranger(t)
			h.write("raybuild.yaml", tt.recipe)
			for name, text := range tt.files {
				h.write(name, text)
			}
			for name, to := range tt.links {
				if err := os.Symlink(to, filepath.Join(h.cwd, name)); err != nil {
					t.Fatal(err)
				}
			}
			h.refused(1, tt.says, "--frozen", "--push", "127.0.0.1:1/ray")
		})
	}
}

// Local files that are not there, are not what they should be, or lie outside end the build before it begins.
func TestLocalFilesThatCannotBe(t *testing.T) {
	h := warmHome(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, recipe string
		says         []string
	}{
		{"no file", "files: [{from: app, to: /home/ray/app}]",
			[]string{"files: ", "there is no file \"app\" beside the recipe"}},
		{"behind a link that leads out", "files: [{from: linked/secret, to: /home/ray/app}]",
			[]string{"files: ", "linked", "leads out"}},
		{"a link that leads out", "files: [{from: linked, to: /home/ray/app}]",
			[]string{"files: ", "linked", "leads out"}},
		{"no wheel", "pip: {wheels: [./dist/*.whl]}", []string{"dist/*.whl"}},
		{"a wheel that is none", "pip: {wheels: [./bad/*.whl]}", []string{"own-1.0-py3-none-any.whl"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := warmLike(t, h.dir)
			h.write("bad/own-1.0-py3-none-any.whl", "not a zip")
			if err := os.Symlink(outside, filepath.Join(h.cwd, "linked")); err != nil {
				t.Fatal(err)
			}
			h.write("raybuild.yaml", shortRecipe(tt.recipe))
			h.refused(1, tt.says, "--push", ref(t, "1"))
			if h.read("raybuild.lock") != warm.lock {
				t.Error("the lock was changed")
			}
		})
	}
}

// A lock that must not change and does not fit is an error that names what does not fit, and the command.
func TestFrozen(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	before := h.read("raybuild.lock")
	h.write("raybuild.yaml", shortRecipe("pip: [six]"))
	for name, env := range map[string]string{"by flag": "", "in CI": "CI=true"} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			args := []string{"--push", dst}
			if env == "" {
				args = append(args, "--frozen")
			} else {
				h.env = []string{env}
			}
			h.refused(1, []string{"raybuild.lock", "does not fit the recipe", "ray, linux/amd64",
				"raybuild lock"}, args...)
			nothingWritten(t, &h, before, dst)
		})
	}
	h.refused(1, []string{"does not fit", "raybuild lock"}, "lock", "--check")
	h.write("raybuild.yaml", shortRecipe())
	if out := h.run("lock", "--check"); out.code != 0 {
		t.Errorf("a lock that fits: exit %d\n%s", out.code, out.stderr)
	}
	h.push(dst, "--frozen")
}

// A damaged lock is refused with file and line, and left as it is.
func TestDamagedLocks(t *testing.T) {
	h := warmHome(t)
	good := h.read("raybuild.lock")
	sha := regexp.MustCompile(`sha256: [0-9a-f]{64}`)
	path := regexp.MustCompile(`path: (\S+)`)
	for name, bad := range map[string]string{
		"cut in the middle":     good[:len(good)/2],
		"a digest of no bytes":  strings.Replace(good, sha.FindString(good), "sha256: abc", 1),
		"a path that leads out": strings.Replace(good, path.FindString(good), "path: ../../../etc/passwd", 1),
		"an unknown key":        "colour: blue\n" + good,
		"a conflict of a merge": strings.Replace(good, "\n", "\n<<<<<<< HEAD\n", 1),
		"another version":       regexp.MustCompile(`(?m)^version: \d+`).ReplaceAllString(good, "version: 99"),
		"empty":                 "",
	} {
		t.Run(name, func(t *testing.T) {
			if bad == good {
				t.Fatal("the lock is not damaged")
			}
			h := warmLike(t, h.dir)
			h.write("raybuild.lock", bad)
			line := regexp.MustCompile(`raybuild\.lock:\d+`)
			out := h.refused(1, []string{"raybuild.lock"}, "--push", ref(t, "1"))
			if name != "empty" && !line.MatchString(out.stderr) {
				t.Errorf("the error names no line:\n%s", out.stderr)
			}
			if h.read("raybuild.lock") != bad {
				t.Error("the damaged lock was overwritten")
			}
		})
	}
}

// What cannot be meant ends with 64, and every command's help shows by example how it is meant.
func TestUsage(t *testing.T) {
	h := stranger(t)
	for name, args := range map[string][]string{
		"an unknown flag":       {"--pusch"},
		"a flag of a command":   {"lock", "--updat"},
		"a name that is none":   {"--push", "Not/A Name"},
		"a push to nowhere":     {"--push"},
		"an unknown command":    {"inspct"},
		"an unknown subcommand": {"cluster", "upp"},
		"a bad platform":        {"--platform", "sun/sparc/x/y"},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			h.refused(64, []string{"raybuild: "}, args...)
		})
	}
	for _, command := range []string{"", "lock", "graph", "inspect", "mirrors", "doctor", "cache", "cache du",
		"cache prune", "registry serve", "init", "version", "completion",
		"cluster", "cluster plan", "cluster up", "cluster status", "cluster logs", "cluster exec", "cluster submit",
		"cluster bench", "cluster dashboard", "cluster down", "cluster export"} {
		t.Run("help of "+command, func(t *testing.T) {
			h := *h
			h.t = t
			out := h.run(append(strings.Fields(command), "--help")...)
			if out.code != 0 || !strings.Contains(out.stdout, "Usage:") ||
				!strings.Contains(out.stdout, "Example") && !strings.Contains(out.stdout, "Available Commands") {
				t.Errorf("exit %d; no usage or no example in\n%s", out.code, out.stdout+out.stderr)
			}
		})
	}
	if out := h.run("--help"); !strings.Contains(strings.Join(strings.Fields(out.stdout), " "), "Exit codes") {
		t.Error(fmt.Sprint("the help does not list exit codes:\n", out.stdout))
	}
}
