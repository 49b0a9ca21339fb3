package layers

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

const graphRecipe = `
base: ubuntu:22.04
mirrors: {fetch: tuna, image: tuna}
apt: [wget]
miniconda: {version: py312_25.7.0-2}
env: {name: ray, python: "3.12"}
ray: {version: "2.52.0", extras: [default]}
pip: [tensorflow, requests]
files: [{from: app, to: /home/ray/app}]
steps:
  - {name: fonts, run: "echo fonts > /opt/fonts", needs: [apt]}
  - {name: warm, run: "python -c 'import ray'", needs: [ray]}
image: {labels: {team: a}, env: {A: "1"}}
`

func sum(text string) string { return digest.FromString(text).Encoded() }

// graphLock is a lock of the form that resolving gives; its digests are made up.
func graphLock() *Lock {
	image := LockImage{
		Reference: "ubuntu:22.04", Digest: digest.FromString("base"), ID: "ubuntu", Release: "22.04", Codename: "jammy",
		Glibc:  "2.35",
		Layers: 1, Env: []string{"PATH=/usr/bin:/bin"}, AptFiles: []string{"/etc/apt/sources.list"},
	}
	pypi := func(name, version string, size int64) Artifact {
		file := name + "-" + version + "-py3-none-any.whl"
		return Artifact{Kind: KindWheel, Name: name, Version: version, Origin: "pypi", Path: "packages/" + file,
			SHA256: sum(file), Size: size}
	}
	conda := func(name, version string) Artifact {
		file := "linux-64/" + name + "-" + version + "-h_0.conda"
		return Artifact{Kind: KindConda, Name: name, Version: version, Origin: "conda-forge", Path: file,
			SHA256: sum(file), MD5: "0", Size: 1}
	}
	byteCode := conda("python", "3.12.1")
	byteCode.For = map[string]string{forByteCode: "yes"}
	return &Lock{Version: LockVersion, Platforms: map[string]*LockPlatform{"linux/amd64": {
		Resolved: time.Unix(1790000000, 0).UTC(), Base: image, Tool: image,
		Layers: []LockLayer{
			{Name: "apt", Artifacts: []Artifact{{Kind: KindDeb, Name: "wget", Version: "1", Origin: "ubuntu",
				Path: "pool/w/wget_1_amd64.deb", SHA256: sum("wget"), Size: 1}}},
			{
				Name: "miniconda", Artifacts: []Artifact{{Kind: KindInstaller, Name: "miniconda",
					Version: "py312_25.7.0-2", Origin: "miniconda", Path: "Miniconda3-py312_25.7.0-2-Linux-x86_64.sh",
					SHA256: sum("miniconda"), Size: 1}},
			},
			{Name: "env", Artifacts: []Artifact{conda("pip", "25.1"), conda("python", "3.12.4")}},
			{Name: "ray", Artifacts: []Artifact{pypi("click", "8.1", 1), pypi("ray", "2.52.0", 70<<20),
				pypi("requests", "2.32", 1), pypi("tensorflow", "2.18", 500<<20), byteCode}},
		},
	}}}
}

func artifact(l *Lock, layer, name string) *Artifact {
	for i := range l.Platforms["linux/amd64"].Layers {
		ll := &l.Platforms["linux/amd64"].Layers[i]
		if ll.Name != layer {
			continue
		}
		for j := range ll.Artifacts {
			if ll.Artifacts[j].Name == name {
				return &ll.Artifacts[j]
			}
		}
	}
	panic("no artifact " + name)
}

// subject is everything that a graph is made of.
type subject struct {
	recipe *Recipe
	lock   *Lock
	dir    string
	o      GraphOptions
}

func newSubject(t *testing.T) *subject {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app/main.py"), []byte("print(1)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := LoadRecipe([]byte(graphRecipe), filepath.Join(dir, "raybuild.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{recipe: r, lock: graphLock(), dir: dir}
}

// steps are the run and file operations of the graph, each with what it hangs
// on: title to the digest of its operation.
func (s *subject) steps(t *testing.T) (map[string]string, digest.Digest) {
	t.Helper()
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, image := range g.Images {
		def, err := image.Marshal(context.Background(), false)
		if err != nil {
			t.Fatal(err)
		}
		for d, m := range def.Def.Metadata {
			if title := m.Description["llb.customname"]; strings.HasPrefix(title, "[") {
				out[title] = d.String()
			}
		}
	}
	return out, g.Digest
}

// Each row changes one input. The graph's digest must change, and of the steps
// that install something exactly those that hang on the input. Titles are cut
// before the first version, because a version is a part of some.
func TestEachInputIsInTheGraphAndNowhereElse(t *testing.T) {
	t.Parallel()
	wheels := []string{"pip-1", "pip-2", "tensorflow", "ray"} // click and requests fall into two of the groups
	commands := []string{"user", "apt", "mirrors", "miniconda", "env", "fonts", "warm"}
	tests := map[string]struct {
		change func(t *testing.T, s *subject)
		layers []string // whose steps change
	}{
		"nothing": {func(*testing.T, *subject) {}, nil},
		"the base patched": {func(_ *testing.T, s *subject) {
			s.lock.Platforms["linux/amd64"].Base.Digest = digest.FromString("patched")
		}, []string{"user", "apt", "mirrors", "fonts"}},
		"the tool stage moved": {func(_ *testing.T, s *subject) {
			s.lock.Platforms["linux/amd64"].Tool.Digest = digest.FromString("tool")
		}, []string{"miniconda", "env", "warm"}},
		"a package of apt": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "apt", "wget").SHA256 = sum("wget2")
		}, []string{"apt", "mirrors", "fonts"}},
		"the mirrors to fetch from": {func(_ *testing.T, s *subject) { s.recipe.Mirrors.Fetch = Presets()[:1] }, nil},
		"the image's mirrors": {func(_ *testing.T, s *subject) {
			m, _ := Preset("aliyun")
			s.recipe.Mirrors.Image = &m
		}, []string{"mirrors"}},
		"the installer": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "miniconda", "miniconda").SHA256 = sum("m2")
		}, []string{"miniconda", "env", "warm"}},
		"a conda package": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "env", "python").SHA256 = sum("p2")
		}, []string{"env", "warm"}},
		"the Python of the byte code": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "python").SHA256 = sum("p2")
		}, append([]string{"warm"}, wheels...)},
		"ray": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "ray").SHA256 = sum("ray2")
		}, []string{"ray", "warm"}},
		"a big wheel": {func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "tensorflow").SHA256 = sum("tf2")
		}, []string{"tensorflow", "warm"}},
		"a byte of a file": {func(t *testing.T, s *subject) {
			s.write(t, "app/main.py", "print(2)\n", 0o644)
		}, []string{"files"}},
		"a mode of a file": {func(t *testing.T, s *subject) {
			s.write(t, "app/main.py", "print(1)\n", 0o755)
		}, []string{"files"}},
		"a new file": {func(t *testing.T, s *subject) { s.write(t, "app/more.py", "", 0o644) },
			[]string{"files"}},
		"where files go": {func(_ *testing.T, s *subject) { s.recipe.Files[0].To = "/srv/app" },
			[]string{"files"}},
		"a step's text": {func(_ *testing.T, s *subject) {
			s.recipe.Steps[0].Run = "echo more > /opt/fonts"
		}, []string{"fonts"}},
		"a step's network": {func(_ *testing.T, s *subject) { s.recipe.Steps[1].Network = true },
			[]string{"warm"}},
		"a step on the host's network": {func(_ *testing.T, s *subject) { s.recipe.Steps[1].HostNetwork = true },
			[]string{"warm"}},
		"a step's secret": {func(_ *testing.T, s *subject) {
			s.recipe.Steps[1].Secrets = []string{"token"}
		}, []string{"warm"}},
		"a label": {func(_ *testing.T, s *subject) { s.recipe.Image.Labels["team"] = "b" }, nil},
		"an annotation": {func(_ *testing.T, s *subject) {
			s.o.Annotations = map[string]string{"x.y": "z"}
		}, nil},
		"the command": {func(_ *testing.T, s *subject) { s.recipe.Image.Cmd = []string{"ray"} }, nil},
		"the time":    {func(_ *testing.T, s *subject) { s.o.Created = time.Unix(1, 0) }, nil},
		// A table of contents is a file more in each layer of wheels.
		"the compression in the recipe": {func(_ *testing.T, s *subject) { s.recipe.Layers.Compression = "estargz" },
			append([]string{"warm"}, wheels...)},
		"the compression": {func(_ *testing.T, s *subject) { s.o.Compression = "zstd" }, nil},
		"the platform": {func(_ *testing.T, s *subject) {
			s.recipe.Platforms = []string{"linux/arm64"}
			s.lock.Platforms = map[string]*LockPlatform{"linux/arm64": s.lock.Platforms["linux/amd64"]}
		}, commands},
		"the user": {func(_ *testing.T, s *subject) { s.recipe.Image.User = "worker" },
			[]string{"user", "apt", "mirrors", "files", "fonts", "warm"}},
	}
	before, digestBefore := newSubject(t).steps(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t)
			tt.change(t, s)
			after, digestAfter := s.steps(t)
			keeps := name == "nothing" || name == "the mirrors to fetch from"
			if (digestBefore == digestAfter) != keeps {
				t.Errorf("the graph's digest stayed: %v, want %v", digestBefore == digestAfter, keeps)
			}
			want := slices.Sorted(slices.Values(tt.layers))
			if got := changedLayers(before, after); !slices.Equal(got, want) {
				t.Errorf("steps changed in layers %v, want %v", got, want)
			}
		})
	}
}

// changedLayers are the layers that have another install step in after.
func changedLayers(before, after map[string]string) []string {
	had := map[string]bool{}
	for _, d := range before {
		had[d] = true
	}
	changed := map[string]bool{}
	for title, d := range after {
		layer, _, _ := strings.Cut(strings.TrimPrefix(title, "["), "]")
		if !had[d] && layer != "activate" {
			changed[layer] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

func (s *subject) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func TestImageConfigIsWhatKubeRayNeeds(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	c := g.Images[0].Config
	if c.User != "1000:100" {
		t.Errorf("user is %q, want numeric ids", c.User)
	}
	if c.WorkingDir != "/home/ray" || c.Labels[RayLabel] != "2.52.0" || c.Labels[PythonLabel] != "3.12.4" {
		t.Errorf("config is %+v", c)
	}
	want := []string{
		"A=1", "CONDA_DEFAULT_ENV=ray", "CONDA_PREFIX=/opt/conda/envs/ray", "HOME=/home/ray", "LANG=C.UTF-8",
		"PATH=/opt/conda/envs/ray/bin:/opt/conda/condabin:/usr/bin:/bin",
	}
	if !slices.Equal(c.Env, want) {
		t.Errorf("env is %q, want %q", c.Env, want)
	}
	if g.Annotations["org.opencontainers.image.base.name"] != "ubuntu:22.04" ||
		g.Annotations[GraphAnnotation] != g.Digest.String() {
		t.Errorf("annotations are %v", g.Annotations)
	}
}

func TestStaleNamesWhatTheRecipeChanged(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	inputs, err := layerInputs(s.recipe, s.lock.Platforms["linux/amd64"].Base.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range s.lock.Platforms["linux/amd64"].Layers {
		s.lock.Platforms["linux/amd64"].Layers[i].Inputs = inputs[l.Name]
	}
	for name, tt := range map[string]struct {
		change func(r *Recipe)
		want   []string
	}{
		"nothing":         {func(*Recipe) {}, nil},
		"labels and env":  {func(r *Recipe) { r.Image.Labels = nil; r.Image.Env = nil }, nil},
		"mirrors":         {func(r *Recipe) { r.Mirrors = Mirrors{} }, nil},
		"steps and files": {func(r *Recipe) { r.Steps, r.Files = nil, nil }, nil},
		"ray":             {func(r *Recipe) { r.Ray.Version = "2.51.1" }, []string{"ray"}},
		"a pip package":   {func(r *Recipe) { r.Pip.Packages = []string{"requests"} }, []string{"ray"}},
		"apt":             {func(r *Recipe) { r.Apt.Packages = []string{"git"} }, []string{"apt"}},
		"python's patch":  {func(r *Recipe) { r.Env.Python = "3.12.5" }, []string{"env"}},
		"python's minor":  {func(r *Recipe) { r.Env.Python = "3.11" }, []string{"env", "ray"}},
		"the installer":   {func(r *Recipe) { r.Miniconda.Version = "py312_26.7.1-1" }, []string{"miniconda"}},
		"the base":        {func(r *Recipe) { r.Base = "ubuntu:24.04" }, []string{"base"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := LoadRecipe([]byte(graphRecipe), filepath.Join(s.dir, "raybuild.yaml"), nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(r)
			stale, err := Stale(r, s.lock)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range stale {
				got = append(got, l.Layer)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("stale are %v, want %v", got, tt.want)
			}
		})
	}
}

func TestALockWithoutThePlatformIsAnError(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	s.o.Platforms = []string{"linux/arm64"}
	_, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err == nil || !strings.Contains(err.Error(), "linux/arm64") || !strings.Contains(err.Error(), "raybuild lock") {
		t.Errorf("error is %v, want one that names the platform and the next command", err)
	}
}

// A layer of a Go program's own stands beside the recipe's.
type ownLayer struct{}

func (ownLayer) Name() string                                           { return "own" }
func (ownLayer) Needs() []string                                        { return nil }
func (ownLayer) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }
func (ownLayer) Apply(on Stack, _ []Artifact) (Stack, error) {
	return on.Add("own", "own", "[own] write",
		llb.Scratch().Files("[own] write", llb.File{Path: "/own", Data: []byte("x")})), nil
}

func TestALayerOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	s.o.Extra = []Layer{ownLayer{}}
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	if l := g.Images[0].Layers; l[len(l)-1].Name != "own" {
		t.Errorf("the last layer is %q, want own", l[len(l)-1].Name)
	}
}
