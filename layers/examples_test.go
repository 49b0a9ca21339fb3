package layers

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What is shown is what is tested: every example loads, and what it asks for can work.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/*/raybuild.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			g := exampleGraph(t, name)
			if want := exampleDigests[name]; g.Digest != want {
				t.Errorf("the graph of the example has the digest %s, and had %s: everybody who builds it gets "+
					"another image. If that is meant, write the new one into exampleDigests", g.Digest, want)
			}
		})
	}
}

// exampleGraph is the graph of an example, with its own lock or an invented one.
func exampleGraph(t *testing.T, name string) *Graph {
	t.Helper()
	file := filepath.Join("../examples", name, "raybuild.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRecipe(data, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.LoadFiles(); err != nil {
		t.Fatal(err)
	}
	notes, err := Check(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pins %q, notes %v", r.Pins, notes)
	lock := exampleLock(t, r)
	if data, err := os.ReadFile(filepath.Join(filepath.Dir(file), "raybuild.lock")); err == nil {
		if lock, err = ParseLock(data, "raybuild.lock"); err != nil {
			t.Fatal(err)
		}
	}
	if stale, err := Stale(r, lock); err != nil || len(stale) > 0 {
		t.Errorf("the lock does not fit: %v, %v", stale, err)
	}
	g, err := NewGraph(t.Context(), r, lock, GraphOptions{})
	if err != nil {
		t.Fatalf("graph: %v", err)
	}
	return g
}

// exampleDigests are the digests of the examples' graphs, the same as at 4ade58a.
var exampleDigests = map[string]digest.Digest{
	"arm64":     "sha256:0024bc6b66c251407af7c269c4759cfcfc266ec4977f9147c76460af1bd97841",
	"china":     "sha256:bdb137538b82c7ad6475bde0d5425c268eecd309c1a88b284612cc809785330a",
	"default":   "sha256:aacf5c6c3527416d1ccc6c3ed1351263257c93467fa07f2a3d2f75bbb12ed099",
	"minimal":   "sha256:d222701a0748eae4b943efe472d710e79966b4c3cd5c1a0f4657ffc7abf635d1",
	"seed-2020": "sha256:9f600c29e86081dd782c5280738f48480e5e80ea34eb083e23f4c073e1201f21",
	"training":  "sha256:df402b589d989b745dd04f377dbd7a04ac1c685a5c8b26a8b322c84fcf11fa4d",
}

// The example of the defaults is the defaults.
func TestDefaultExample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../examples/default/raybuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRecipe(data, "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := LoadRecipe(nil, "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("the example is\n%+v\nthe defaults are\n%+v", r, want)
	}
}

// exampleLock is a lock of the form that resolving gives. The result of the resolvers is invented: each file's digest
// is that of its name. Each Debian package, extra and Python package of the recipe has one file, so that recipes which
// differ in them have different graphs.
func exampleLock(t *testing.T, r *Recipe) *Lock {
	t.Helper()
	l := &Lock{Version: LockVersion, Recipe: r.Digest(), Platforms: map[string]*LockPlatform{}}
	for _, platform := range r.Platforms {
		cpu := machineOf(platform)
		image := LockImage{
			Reference: r.Base, Digest: digest.FromString(r.Base + platform), ID: "ubuntu", Release: "24.04",
			Codename: "noble", Glibc: "2.39",
			Layers: 1, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			AptFiles: []string{"/etc/apt/sources.list.d/ubuntu.sources"},
		}
		var debs []Artifact
		for _, p := range r.Apt.Packages {
			debs = append(debs, exampleFile(KindDeb, p, "1", "ubuntu-ports", "pool/main/"+p+"_1_"+cpu+".deb"))
		}
		installer := r.Miniconda.Installer(platform)
		installer.Size = 1
		inputs, err := layerInputs(r, image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		l.Platforms[platform] = &LockPlatform{
			Resolved: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Base: image, Tool: image,
			Layers: []LockLayer{
				{Name: "apt", Inputs: inputs["apt"], Artifacts: debs},
				{Name: "miniconda", Inputs: inputs["miniconda"], Artifacts: []Artifact{installer}},
				{Name: "env", Inputs: inputs["env"], Artifacts: []Artifact{
					exampleFile(KindConda, "pip", "25.3", "conda-forge", "noarch/pip-25.3-pyh_0.conda"),
					exampleFile(KindConda, "python", r.Env.Python+".12", "conda-forge", "linux-"+
						strings.Replace(cpu, "x86_64", "64", 1)+"/python-"+r.Env.Python+".12-h_0.conda"),
				}},
				{Name: "ray", Inputs: inputs["ray"], Artifacts: exampleWheels(t, r, cpu)},
			},
		}
	}
	return l
}

func exampleFile(kind, name, version, origin, path string) Artifact {
	return Artifact{Kind: kind, Name: name, Version: version, Origin: origin, Path: path, SHA256: sum(path), Size: 1}
}

// exampleWheels are Ray, a package that it needs, one package for each extra, and those that the recipe names.
func exampleWheels(t *testing.T, r *Recipe, cpu string) []Artifact {
	t.Helper()
	pure := func(name, version string) Artifact {
		return exampleFile(KindWheel, name, version, "pypi",
			"packages/"+name[:2]+"/"+strings.ReplaceAll(name, "-", "_")+"-"+version+"-py3-none-any.whl")
	}
	out := []Artifact{pure("click", "8.1.8"), exampleFile(KindWheel, "ray", r.Ray.Version, "pypi",
		"packages/ra/ray-"+r.Ray.Version+"-cp3-cp3-manylinux2014_"+cpu+".whl")}
	for _, extra := range r.Ray.Extras {
		out = append(out, pure("needed-by-"+extra, "1"))
	}
	for _, text := range r.Pip.Packages {
		req, err := ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		version, pinned := strings.CutPrefix(req.Specifier, "==")
		if !pinned {
			version = "1"
		}
		out = append(out, pure(req.Name, version))
	}
	return out
}
