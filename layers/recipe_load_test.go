package layers

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/llb"
)

// loadText loads a recipe from text without Check.
func loadText(t *testing.T, text string, sets ...string) *Recipe {
	t.Helper()
	r, err := LoadRecipe([]byte(text), "raybuild.yaml", sets)
	if err != nil {
		t.Fatalf("load recipe: %v\n%s", err, text)
	}
	return r
}

// problemsOf are the lines of the error that a recipe is refused with.
func problemsOf(t *testing.T, text string, sets ...string) []string {
	t.Helper()
	r, err := LoadRecipe([]byte(text), "raybuild.yaml", sets)
	if err == nil {
		t.Fatalf("loaded %+v, want an error\n%s", r, text)
	}
	var bad *RecipeError
	if !errors.As(err, &bad) {
		t.Fatalf("error of type %T, want *RecipeError: %v", err, err)
	}
	return strings.Split(err.Error(), "\n")
}

func TestDefaultRecipe(t *testing.T) {
	t.Parallel()
	r := &Recipe{Dir: "."}
	r.fillDefaults()
	for name, text := range map[string]string{"nothing": "", "a comment": "# nothing here\n", "an empty mapping": "{}",
		"nulls": "apt:\nsteps:\nmirrors:\n"} {
		loaded, err := LoadRecipe([]byte(text), "", nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		loaded.Ray.Extras = r.Ray.Extras
		if !reflect.DeepEqual(loaded, r) {
			t.Errorf("%s loads as\n%+v\nwant the default\n%+v", name, loaded, r)
		}
	}
	want := &Recipe{
		Base:      "ubuntu:22.04",
		Mirrors:   Mirrors{Fetch: []Mirror{mustPreset("official")}},
		Miniconda: Miniconda{Distribution: "miniconda", Version: "py312_26.7.1-1"},
		Env:       Env{Name: "ray", Python: "3.12", Channels: []string{"conda-forge"}},
		Ray:       Ray{Version: newestRay(), Extras: []string{"default", "rllib", "tune"}},
		Image:     ImageConfig{User: "ray", Workdir: "/home/ray"},
		Layers:    LayerRules{Budget: 90, MaxSize: 512 << 20},
		Platforms: []string{"linux/amd64"},
		Dir:       ".",
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("default recipe is\n%+v\nwant\n%+v", r, want)
	}
	if notes, err := Check(r); err != nil || len(notes) != 0 {
		t.Errorf("check of the default recipe: notes %v, error %v", notes, err)
	}
}

const everything = `
base: ubuntu:22.04
mirrors:
  fetch: [tuna, official]
  image: tuna
apt: [wget, vim, git]
miniconda: {version: py312_25.7.0-2}
env: {name: ray, python: 3.10, conda: [libgcc-ng], channels: [conda-forge], file: environment.yml}
ray: {version: 2.52.0, extras: [tune, default, rllib]}
pip: [tensorflow, "requests>=2"]
files: [{from: ./app, to: /home/ray/app}]
steps: [{name: extras, run: "echo $HOME", needs: [ray], network: false, secrets: [token], limits: {time: 90m}}]
limits: {memory: 1.5GiB, pids: 4096}
image: {user: ray, workdir: /home/ray, env: {A: 1}, labels: {a.b: x}, annotations: {}, entrypoint: [], cmd: [bash]}
layers: {budget: 50, max_size: 1GB, compression: zstd}
platforms: [linux/arm64, linux/amd64]
smoke: python -m ours.selftest
trust: {signed_by: [{key: ./keys/cosign.pub}, {issuer: https://a.example/, subject_regexp: "v.*"}], root: root.json}
`

func TestLoadEverything(t *testing.T) {
	t.Parallel()
	r := loadText(t, everything)
	want := &Recipe{
		Base:      "ubuntu:22.04",
		Mirrors:   Mirrors{Fetch: []Mirror{mustPreset("tuna"), mustPreset("official")}, Image: r.Mirrors.Image},
		Apt:       Apt{Packages: []string{"git", "vim", "wget"}},
		Miniconda: Miniconda{Distribution: "miniconda", Version: "py312_25.7.0-2"},
		Env: Env{Name: "ray", Python: "3.10", Conda: []string{"libgcc-ng"}, Channels: []string{"conda-forge"},
			File: "environment.yml"},
		Ray:   Ray{Version: "2.52.0", Extras: []string{"default", "rllib", "tune"}},
		Pip:   Pip{Packages: []string{"tensorflow", "requests>=2"}},
		Files: []FileCopy{{From: "app", To: "/home/ray/app"}},
		Steps: []Step{{Name: "extras", Run: "echo $HOME", Needs: []string{"ray"}, Secrets: []string{"token"},
			Limits: llb.Limits{Time: 90 * time.Minute}}},
		Limits: llb.Limits{Memory: 3 << 29, PIDs: 4096},
		Image: ImageConfig{User: "ray", Workdir: "/home/ray", Env: map[string]string{"A": "1"},
			Labels:      map[string]string{"a.b": "x"},
			Annotations: map[string]string{}, Cmd: []string{"bash"}},
		Layers:    LayerRules{Budget: 50, MaxSize: 1 << 30, Compression: "zstd"},
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Smoke:     Smoke{Command: "python -m ours.selftest"},
		Trust: Trust{SignedBy: []Signer{{Key: "keys/cosign.pub"}, {Issuer: "https://a.example/", SubjectRegexp: "v.*"}},
			Root: "root.json"},
		Dir: ".",
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("loaded\n%+v\nwant\n%+v", r, want)
	}
	if !reflect.DeepEqual(*r.Mirrors.Image, mustPreset("tuna")) {
		t.Errorf("mirrors.image is %+v", r.Mirrors.Image)
	}
}

func TestLongForms(t *testing.T) {
	t.Parallel()
	r := loadText(t, `
mirrors:
  fetch:
    - {apt: "http://127.0.0.1:8080/debian", conda: "http://127.0.0.1:8080/anaconda/",
       pip: "http://127.0.0.1:8080/pypi/simple/", installer: "http://127.0.0.1:8080/i"}
    - official
  image: {pip: https://pypi.example.org/simple}
apt:
  packages: [vim]
  repositories: [{url: "https://apt.example.org/ubuntu/", suite: noble, components: [main], key: keys/example.asc}]
miniconda: {distribution: miniforge, version: 26.3.2-3, accept_anaconda_terms: true}
env: {channels: [defaults]}
pip:
  requirements: [./requirements.txt]
  packages: [torch]
  wheels: ["./dist/*.whl"]
  extra_indexes: [{url: "https://download.pytorch.org/whl/cpu/", packages: [Torch, torch_vision]}]
ray: {extras: []}
`)
	own := r.Mirrors.Fetch[0]
	wantOwn := Mirror{
		Name: "127.0.0.1:8080", Own: true,
		Ubuntu: "http://127.0.0.1:8080/debian", UbuntuSecurity: "http://127.0.0.1:8080/debian",
		Ports:  "http://127.0.0.1:8080/debian-ports",
		Debian: "http://127.0.0.1:8080/debian", DebianSecurity: "http://127.0.0.1:8080/debian-security",
		CondaPkgs: "http://127.0.0.1:8080/anaconda/pkgs", CondaCloud: "http://127.0.0.1:8080/anaconda/cloud",
		PipIndex: "http://127.0.0.1:8080/pypi/simple", PipFiles: "http://127.0.0.1:8080/pypi",
		Miniconda: "http://127.0.0.1:8080/i", Miniforge: "http://127.0.0.1:8080/i",
	}
	if !reflect.DeepEqual(own, wantOwn) {
		t.Errorf("own mirror is\n%+v\nwant\n%+v", own, wantOwn)
	}
	if got := r.Mirrors.Image.PipIndex; got != "https://pypi.example.org/simple" {
		t.Errorf("image's index is %q", got)
	}
	wantRepo := AptRepository{URL: "https://apt.example.org/ubuntu", Suite: "noble", Components: []string{"main"},
		Key: "keys/example.asc"}
	if !reflect.DeepEqual(r.Apt.Repositories, []AptRepository{wantRepo}) {
		t.Errorf("repositories are %+v", r.Apt.Repositories)
	}
	wantPip := Pip{Packages: []string{"torch"}, Requirements: []string{"requirements.txt"},
		Wheels: []string{"dist/*.whl"},
		ExtraIndexes: []ExtraIndex{{URL: "https://download.pytorch.org/whl/cpu",
			Packages: []string{"torch", "torch-vision"}}}}
	if !reflect.DeepEqual(r.Pip, wantPip) {
		t.Errorf("pip is %+v, want %+v", r.Pip, wantPip)
	}
	if r.Ray.Extras == nil || len(r.Ray.Extras) != 0 {
		t.Errorf("extras are %#v, want an empty list, which is not the default", r.Ray.Extras)
	}
}

func TestFetchForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"tuna":                               {"tuna"},
		"[ustc, official]":                   {"ustc", "official"},
		"{pip: \"http://h.example/simple\"}": {"h.example"},
		"[{conda: \"https://c.example/conda\"}, aliyun]": {"c.example", "aliyun"},
	} {
		r := loadText(t, "mirrors: {fetch: "+text+"}")
		var names []string
		for _, m := range r.Mirrors.Fetch {
			names = append(names, m.Name)
		}
		if !reflect.DeepEqual(names, want) || r.Mirrors.FetchAuto {
			t.Errorf("fetch: %s loads as %v (auto %v), want %v", text, names, r.Mirrors.FetchAuto, want)
		}
	}
	auto := loadText(t, "mirrors: {fetch: auto}")
	var names []string
	for _, m := range auto.Mirrors.Fetch {
		names = append(names, m.Name)
	}
	if want := append([]string{"host"}, presetNames()...); !auto.Mirrors.FetchAuto || !reflect.DeepEqual(names, want) {
		t.Errorf("fetch: auto loads as %v (auto %v), want %v", names, auto.Mirrors.FetchAuto, want)
	}
}

func TestVersionsKeepTheirText(t *testing.T) {
	t.Parallel()
	r := loadText(t, "env: {python: 3.10}\nray: {version: 2.10.0}\nimage: {env: {N: 0x10, F: 1.50, D: 2026-01-02}}")
	if r.Env.Python != "3.10" || r.Ray.Version != "2.10.0" {
		t.Errorf("python %q, ray %q", r.Env.Python, r.Ray.Version)
	}
	want := map[string]string{"N": "0x10", "F": "1.50", "D": "2026-01-02"}
	if !reflect.DeepEqual(r.Image.Env, want) {
		t.Errorf("env %v, want %v", r.Image.Env, want)
	}
}
