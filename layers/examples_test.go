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
	files, err := filepath.Glob("../examples/*/raybuild.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
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
			name := filepath.Base(filepath.Dir(file))
			if want := exampleDigests[name]; g.Digest.Encoded()[:16] != want {
				t.Errorf("the graph of the example has the digest %s, and had %s: everybody who builds it gets "+
					"another image. Where that is meant, write the new one into exampleDigests",
					g.Digest.Encoded()[:16], want)
			}
		})
	}
}

// exampleDigests are how the digests of the examples' graphs begin.
var exampleDigests = map[string]string{
	"arm64":     "92d81cf9d42f86a5",
	"china":     "cba703d79372f03a",
	"default":   "c368fa92abdff646",
	"minimal":   "c368fa92abdff646",
	"seed-2020": "63e4073779260e26",
	"training":  "c368fa92abdff646",
}

// The example of the defaults is the defaults.
func TestDefaultExample(t *testing.T) {
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

// exampleLock is a lock of the form that resolving gives. What a real resolver
// would find is made up: each file's digest is that of its name.
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
		file := func(kind, name, version, origin, path string) Artifact {
			return Artifact{Kind: kind, Name: name, Version: version, Origin: origin, Path: path,
				SHA256: sum(path), Size: 1}
		}
		var debs []Artifact
		for _, p := range r.Apt.Packages {
			debs = append(debs, file(KindDeb, p, "1", "ubuntu-ports", "pool/main/"+p+"_1_"+cpu+".deb"))
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
					file(KindConda, "pip", "25.3", "conda-forge", "noarch/pip-25.3-pyh_0.conda"),
					file(KindConda, "python", r.Env.Python+".12", "conda-forge", "linux-"+
						strings.Replace(cpu, "x86_64", "64", 1)+"/python-"+r.Env.Python+".12-h_0.conda"),
				}},
				{Name: "ray", Inputs: inputs["ray"], Artifacts: []Artifact{
					file(KindWheel, "click", "8.1.8", "pypi", "packages/cl/click-8.1.8-py3-none-any.whl"),
					file(KindWheel, "ray", r.Ray.Version, "pypi", "packages/ra/ray-"+
						r.Ray.Version+"-cp3-cp3-manylinux2014_"+cpu+".whl"),
				}},
			},
		}
	}
	return l
}
