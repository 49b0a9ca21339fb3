package layers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/llb"
)

// activated is the environment of the files, after the layer's step has noted its variables, and what the note says.
func activated(t *testing.T, files map[string]string) (prefix, note string) {
	t.Helper()
	const python = "/usr/bin/python3"
	testneeds.Programs(t, python)
	conda, work := t.TempDir(), t.TempDir()
	prefix = filepath.Join(conda, "envs", "ray")
	for _, dir := range []string{"bin", "etc/conda/activate.d", "etc/conda/env_vars.d"} {
		if err := os.MkdirAll(filepath.Join(prefix, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(python, filepath.Join(prefix, "bin/python")); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(prefix, "etc/conda", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-euc", "settle() { :; }\n"+envActivateText, "raybuild", conda,
		prefix)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + work, "TMPDIR=" + work, "LEAKED=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(prefix, "etc/raybuild/activate.sh"))
	if err != nil {
		t.Fatal(err)
	}
	return prefix, string(data)
}

// sh runs a script as a shell of the image with the variables of the environment.
func sh(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-euc"}, args...)...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/nowhere"}, env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// Case 22: the variables that packages set when an environment is activated.
func TestCase22VariablesOfActivation(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		env   []string // of the shell
		ask   string   // printed by a shell
		want  string   // with PREFIX for the environment
	}{
		"openjdk": {map[string]string{"activate.d/openjdk_activate.sh": "export " +
			"JAVA_HOME_CONDA_BACKUP=${JAVA_HOME:-}\n" +
			"export JAVA_HOME=$CONDA_PREFIX/lib/jvm\n"}, nil, "$JAVA_HOME", "PREFIX/lib/jvm"},
		"gdal and proj": {map[string]string{"activate.d/gdal.sh": "if [ -n \"$GDAL_DATA\" ]; then\n" +
			"  export _CONDA_SET_GDAL_DATA=$GDAL_DATA\nfi\nexport GDAL_DATA=$CONDA_PREFIX/share/gdal\n",
			"activate.d/proj4.sh": "export PROJ_DATA=$CONDA_PREFIX/share/proj"}, nil, "$GDAL_DATA $PROJ_DATA",
			"PREFIX/share/gdal PREFIX/share/proj"},
		"compilers, whose scripts need bash": {map[string]string{"activate.d/activate-gxx.sh": "function _tc() {\n" +
			"  local -a names=(CXX:g++ CC:gcc)\n  for n in \"${names[@]}\"; do\n" +
			"    export \"${n%%:*}=x86_64-conda-linux-gnu-${n##*:}\"\n  done\n}\n_tc\n" +
			"export CFLAGS=\"-O2 -isystem $CONDA_PREFIX/include\"\n"}, nil, "$CXX $CC $CFLAGS",
			"x86_64-conda-linux-gnu-g++ x86_64-conda-linux-gnu-gcc -O2 -isystem PREFIX/include"},
		"a list of variables": {map[string]string{"env_vars.d/cuda.json": `{"CUDA_HOME": "/x", "N": 1}`}, nil,
			"$CUDA_HOME $N", "/x 1"},
		"quotes, lines and what a shell would run": {map[string]string{
			"activate.d/q.sh": "export Q='a\"b'\"'\"'c $(id) `id`\nd'"}, nil, "$Q", "a\"b'c $(id) `id`\nd"},
		"PATH": {map[string]string{"activate.d/nvcc.sh": "export PATH=$CONDA_PREFIX/nvvm/bin:$PATH"}, nil, "$PATH",
			"PREFIX/nvvm/bin:/usr/bin:/bin"},
		"what is set stays": {map[string]string{"activate.d/x.sh": "export X=1 Y=2"}, []string{"X=own"}, "$X $Y",
			"own 2"},
		"a script that fails": {map[string]string{"activate.d/a.sh": "false", "activate.d/b.sh": "export X=1"}, nil,
			"$X", "1"},
		"a script that ends early":  {map[string]string{"activate.d/a.sh": "export X=1; exit 3"}, nil, "$X", "1"},
		"a script of another shell": {map[string]string{"activate.d/a.fish": "set -x X 1"}, nil, "${X-none}", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix, note := activated(t, tt.files)
			want, file := strings.ReplaceAll(tt.want, "PREFIX", prefix), prefix+"/etc/raybuild/activate.sh"
			if got := sh(t, tt.env, `. "$1"; printf '%s' "`+tt.ask+`"`, "sh", file); got != want {
				t.Errorf("a shell has %q, want %q:\n%s", got, want, note)
			}
			step := append(slices.Clone(tt.env), "CONDA_PREFIX="+prefix)
			if got := sh(t, step, stepActivateText+`/bin/sh -euc "$1"`, "sh", `printf '%s' "`+tt.ask+`"`,
				"0:0"); got != want {
				t.Errorf("a step has %q, want %q", got, want)
			}
			for _, never := range []string{"LEAKED", "SHLVL", "PWD", "CONDA_PREFIX", "LC_ALL"} {
				if strings.Contains(note, never) {
					t.Errorf("the note has %s:\n%s", never, note)
				}
			}
		})
	}
	_, one := activated(t, map[string]string{"activate.d/h.sh": "export H=$HOME/.cache CONDA_BACKUP_X=1"})
	if strings.Contains(one, "H=") || strings.Contains(one, "BACKUP") {
		t.Errorf("a home of the build, or a backup, is noted:\n%s", one)
	}
	if got := sh(t, []string{"CONDA_PREFIX=/nowhere"}, stepActivateText+`/bin/sh -euc "$1"`, "sh", "echo a\necho b",
		"0:0"); got != "a\nb" {
		t.Errorf("a step without an environment prints %q", got)
	}
}

// Case 22: an image whose packages want nothing is the same as before, and one with such packages is another in the
// environment, the shells' profile and the steps.
func TestCase22OnlyImagesWithSuchPackagesChange(t *testing.T) {
	t.Parallel()
	packages := []Artifact{{Kind: KindConda, Name: "python", Version: "3.11.9", Origin: "conda-forge",
		Path: "linux-64/python-3.11.9-h_0.conda", SHA256: sumA}, {Kind: KindConda, Name: "openjdk", Version: "23",
		Origin: "conda-forge", Path: "linux-64/openjdk-23-h_0.conda", SHA256: sumA}}
	with := slices.Clone(packages)
	with[1].For = map[string]string{forActivates: "yes"}
	e := env{Env: Env{Name: "ray"}}
	run := step{Step: Step{Name: "x", Run: "true"}}
	inputs := func(packages []Artifact) (texts []string) {
		t.Helper()
		on := newStack(llb.Platform{OS: "linux", Architecture: "amd64"}, &LockPlatform{Tool: LockImage{
			Reference: "ubuntu:22.04", Digest: digest.Digest("sha256:" + sumA)}})
		before := on.Add("miniconda", "miniconda", "", frame("miniconda", condaPrefix))
		after, err := e.Apply(before, packages)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []struct {
			d    described
			on   Stack
			made string
		}{{e, before, "env"}, {e, before, "activate"}, {run, after, "x"}} {
			set, err := s.d.inputs(s.on, s.made, packages)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, set.values[stepTextInput])
		}
		return texts
	}
	plain, more := inputs(packages), inputs(with)
	for i, want := range []string{textDigest(preludeText, historyText, envCreateText),
		textDigest(env{Env: Env{Name: "NAME"}}.profile(false)), textDigest(preludeText, stepText)} {
		if plain[i] != want {
			t.Errorf("input %d of an image without such packages has changed", i)
		}
		if more[i] == want {
			t.Errorf("input %d of an image with such packages is as without", i)
		}
	}
	for name, want := range map[string]bool{"etc/conda/activate.d/x.sh": true, "etc/conda/env_vars.d/x.json": true,
		"etc/conda/activate.d/x.fish": false, "etc/conda/deactivate.d/x.sh": false,
		"share/etc/conda/activate.d/x.sh": false} {
		data := condaPackage(t, map[string]string{name: "#"})
		if _, got, err := distsOf("x-1-0.conda", bytes.NewReader(data), int64(len(data))); err != nil || got != want {
			t.Errorf("%s: %v (%v), want %v", name, got, err, want)
		}
	}
}
