package layers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// solver is a sandbox in which resolvers give the answers, one after the other, as files by name. It notes what each
// step is made of.
type solver struct {
	Sandbox
	answers []map[string]string
	asked   []string
}

func (s *solver) Export(ctx context.Context, st llb.Stage, _ llb.Platform, dir string, _ llb.Session,
	_ llb.SolveOptions) error {
	if st.Err() != nil {
		return st.Err()
	}
	def, err := st.State().Marshal(ctx)
	if err != nil {
		return err
	}
	text := ""
	for _, op := range def.Def {
		text += string(op)
	}
	s.asked = append(s.asked, text)
	for name, text := range s.answers[min(len(s.asked), len(s.answers))-1] {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// noGPU is what conda says where nothing provides __cuda (26.7.1 with libmamba, shortened).
const noGPU = `{"exception_name": "LibMambaUnsatisfiableError", "message": "Encountered problems while solving:\n` +
	`  - nothing provides __cuda needed by pytorch-gpu-2.7.1-cuda126_mkl_hc0e7fb4_300"}`

// resolveConda resolves the environment of a recipe with a conda that gives the answer.
func resolveConda(t *testing.T, recipe, answer string) (asked []string, err error) {
	t.Helper()
	s := &solver{answers: []map[string]string{{"solution.json": answer}}}
	res := &Resolver{name: "linux/amd64", old: &LockPlatform{}, platform: llb.Platform{OS: "linux",
		Architecture: "amd64"}, locked: &LockPlatform{Tool: LockImage{Reference: "ubuntu:22.04", Glibc: "2.35",
		Digest: digest.Digest("sha256:" + sumA)}}}
	r := loadText(t, recipe)
	in, end := ResolveInput{Recipe: r, Sources: &lockSources{},
		Sandbox: func(context.Context) (Sandbox, error) { return s, nil }}.shared()
	res.in = in
	res.stack = newStack(res.platform, res.locked).Add("miniconda", "miniconda", "", frame("miniconda", condaPrefix))
	_, err = resolveEnv(t.Context(), res, recipeLayers(r, nil)[3].(env))
	if err := end(); err != nil {
		t.Error(err)
	}
	return s.asked, err
}

// Case 9: packages that need the virtual package __cuda, on a machine without a GPU.
func TestCase9PackagesThatNeedCUDA(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, recipe, says, never string }{
		{"a package for GPUs", `env: {conda: [pytorch-gpu, "cuda-version=12.6"]}`, `needs a GPU (__cuda), and a build ` +
			`has none: set env.cuda to the CUDA version of the driver on your hosts, which nvidia-smi shows, such as ` +
			`env.cuda: "12.6"`, ""},
		{"conda's own words stay", `env: {conda: [pytorch-gpu]}`, "nothing provides __cuda needed by pytorch-gpu-2.7.1", ""},
		{"another CUDA than the recipe's", `env: {conda: [pytorch-gpu], cuda: "11.8"}`,
			`needs another CUDA (__cuda) than env.cuda: "11.8"`, "has none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked, err := resolveConda(t, tt.recipe, noGPU)
			if err == nil || !strings.Contains(err.Error(), tt.says) ||
				tt.never != "" && strings.Contains(err.Error(), tt.never) {
				t.Errorf("the error is %v, want one with %q", err, tt.says)
			}
			if len(asked) != 1 {
				t.Fatalf("conda was asked %d times", len(asked))
			}
		})
	}
	_, err := resolveConda(t, "env: {conda: [nope]}", `{"exception_name": "PackagesNotFoundError", "message": "nope"}`)
	if err == nil || strings.Contains(err.Error(), "env.cuda") {
		t.Errorf("another error speaks of CUDA: %v", err)
	}
}

// Case 9: conda's solver is told the recipe's CUDA, and none if the recipe has none, whatever the builder has.
func TestCase9SolverIsToldOfCUDA(t *testing.T) {
	t.Parallel()
	for recipe, want := range map[string]string{
		`env: {cuda: "12.6"}`: "CONDA_OVERRIDE_CUDA=12.6", `env: {cuda: 12.6}`: "CONDA_OVERRIDE_CUDA=12.6",
		`env: {name: ray}`: "CONDA_OVERRIDE_CUDA=",
	} {
		asked, _ := resolveConda(t, recipe, noGPU)
		if len(asked) != 1 || !strings.Contains(asked[0], want) ||
			want == "CONDA_OVERRIDE_CUDA=" && strings.Contains(asked[0], want+"1") ||
			!strings.Contains(asked[0], "CONDA_OVERRIDE_GLIBC=2.35") {
			t.Errorf("%s: conda was not told %s", recipe, want)
		}
	}
	plain, gpu := loadText(t, "{}"), loadText(t, `env: {cuda: "12.6"}`)
	if plain.Digest() == gpu.Digest() {
		t.Error("env.cuda is not in the lock's digest of the recipe")
	}
	inputs := func(r *Recipe) string {
		all, err := layerInputs(r, "sha256:x")
		if err != nil {
			t.Fatal(err)
		}
		return all["env"].String()
	}
	if inputs(plain) == inputs(gpu) {
		t.Error("env.cuda is no input of the layer env")
	}
	text, err := gpu.marshal()
	if err != nil || !strings.Contains(string(text), "12.6") {
		t.Errorf("the record's recipe lacks env.cuda: %v\n%s", err, text)
	}
}

// Case 9: conda's own specifications, with builds and keys in brackets, also in environment.yml.
func TestCase9SpecificationsOfConda(t *testing.T) {
	specs := map[string]condaMatch{ // and what they are taken apart into
		"pytorch=*=*cuda*":                            {"", "pytorch", "=*=*cuda*"},
		"libblas=*=*openblas":                         {"", "libblas", "=*=*openblas"},
		"libblas * *mkl":                              {"", "libblas", "* *mkl"},
		"numpy=1.26=py312*":                           {"", "numpy", "=1.26=py312*"},
		"numpy=*":                                     {"", "numpy", "=*"},
		"numpy >= 1.26, < 2":                          {"", "numpy", ">= 1.26, < 2"},
		"conda-forge::X":                              {"conda-forge", "x", ""},
		"conda-forge/linux-64::x=1=h_0":               {"conda-forge/linux-64", "x", "=1=h_0"},
		"x[version='>=1',build='*cuda*']":             {"", "x", ">=1"},
		`x[version=">=1,<2|3.*", build=*cuda*]`:       {"", "x", ">=1,<2|3.*"},
		"x[build_number=3,subdir=linux-64]":           {"", "x", ""},
		"nvidia::x[channel=conda-forge]":              {"conda-forge", "x", ""},
		"x=1[md5=" + strings.Repeat("0", 32) + "]":    {"", "x", "=1"},
		"x[sha256='" + strings.Repeat("a", 64) + "']": {"", "x", ""},
	}
	var rows []people
	for spec, want := range specs {
		got, message, fix := parseMatchSpec(spec)
		if message != "" || got != want {
			t.Errorf("%q is read as %+v (%s; %s), want %+v", spec, got, message, fix, want)
		}
		rows = append(rows, people{name: spec, recipe: withEnvironment, conda: []string{spec},
			files: environment("dependencies:\n- '" + strings.ReplaceAll(spec, "'", "''") + "'\n")})
	}
	for spec, want := range map[string]string{
		"x[version='>=1'":                  "what is in brackets has no end",
		"x[]":                              "what is in brackets has no end",
		"x[license=MIT]":                   `the key "license" is not taken; use version, build`,
		"x[version='>=1;ls']":              `">=1;ls" is no version`,
		"x[build='$(ls)']":                 "is no build",
		"x[channel='https://h.example/c']": "is a file, not a package",
		"x[version >=1]":                   "is no key with a value",
		"__cuda>=12":                       `set env.cuda to the CUDA version`,
		"__glibc":                          "it stands for the machine",
	} {
		if _, message, fix := parseMatchSpec(spec); !strings.Contains(message+"; "+fix, want) {
			t.Errorf("%q: %q; %q, want %q", spec, message, fix, want)
		}
	}
	rows = append(rows, people{name: "Python in brackets", recipe: withEnvironment, python: "3.11",
		files: environment("dependencies: [\"python[version='>=3.8,<3.12']\"]")},
		people{name: "a channel of Anaconda's", recipe: withEnvironment,
			files: environment("dependencies: [\"pkgs/main::x\"]"), want: "bound to Anaconda's terms of service"})
	checkPeople(t, rows)
	for _, spec := range []string{"defaults::x", "x[channel=pkgs/main]"} {
		if _, err := LoadRecipe([]byte("env: {conda: ['"+spec+"']}"), "raybuild.yaml", nil); err == nil ||
			!strings.Contains(err.Error(), "set miniconda.accept_anaconda_terms: true") {
			t.Errorf("%s: %v", spec, err)
		}
	}
}
