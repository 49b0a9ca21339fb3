package layers

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const sumA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseReport(t *testing.T) {
	t.Parallel()
	own := []Artifact{{Kind: KindWheel, Name: "mine", Version: "1", Origin: originLocal,
		Path: "dist/mine-1-py3-none-any.whl", SHA256: sumA}}
	tests := map[string]struct {
		json string
		want Artifact
		err  string
	}{
		"a wheel of PyPI, report version 1 (pip 23)": {
			json: `{"version":"1","pip_version":"23.2.1","install":[{"download_info":{"url":"http://files.pythonhosted.org/packages/ab/cd/ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl",
				"archive_info":{"hash":"sha256=` + sumA + `","hashes":{"sha256":"` + sumA + `"}}},"is_direct":false,"requested":true,"metadata":{"name":"ray","version":"2.52.0"}}]}`,
			want: Artifact{Kind: KindWheel, Name: "ray", Version: "2.52.0", Origin: "pypi",
				Path: "packages/ab/cd/ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl", SHA256: sumA},
		},
		"only the old form of the hash (pip 22.2)": {
			json: `{"install":[{"download_info":{"url":"http://files.pythonhosted.org/packages/x/Foo_Bar-1.tar.gz","archive_info":{"hash":"sha256=` + sumA + `"}},"metadata":{"name":"Foo_Bar","version":"1"}}]}`,
			want: Artifact{Kind: KindSdist, Name: "foo-bar", Version: "1", Origin: "pypi",
				Path: "packages/x/Foo_Bar-1.tar.gz", SHA256: sumA},
		},
		"a wheel of the recipe's own": {
			json: `{"install":[{"download_info":{"url":"file:///tmp/raybuild/own/mine-1-py3-none-any.whl","archive_info":{}},"metadata":{"name":"mine","version":"1"}}]}`,
			want: own[0],
		},
		"an index without digests": {
			json: `{"install":[{"download_info":{"url":"http://x.example/a-1-py3-none-any.whl","archive_info":{}},"metadata":{"name":"a","version":"1"}}]}`,
			err:  "no sha256",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseReport([]byte(tt.json), own)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g := got[0]; g.Kind != tt.want.Kind || g.Name != tt.want.Name || g.Version != tt.want.Version ||
				g.Origin != tt.want.Origin || g.Path != tt.want.Path || g.SHA256 != tt.want.SHA256 {
				t.Errorf("read as\n %+v, want\n %+v", g, tt.want)
			}
		})
	}
}

// The log's form is that of pip 21.3 (python 3.6's last): --log writes it.
func TestParseDownloads(t *testing.T) {
	t.Parallel()
	sums := sumA + "  ray-0.8.6-cp36-cp36m-manylinux1_x86_64.whl\n"
	log := "2026-11-22T22:00:00,000   Found link " +
		"http://files.pythonhosted.org/packages/a/b/ray-0.8.6-cp36-cp36m-manylinux1_x86_64.whl#sha256=" + sumA +
		" (from http://pypi.org/simple/ray/), version: 0.8.6\n"
	got, err := parseDownloads(sums, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != "ray" || got[0].Version != "0.8.6" ||
		got[0].Path != "packages/a/b/ray-0.8.6-cp36-cp36m-manylinux1_x86_64.whl" {
		t.Errorf("read as %+v", got)
	}
	if _, err := parseDownloads(sums, "", nil); err == nil {
		t.Error("a file whose place the log does not tell was accepted")
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(
		[]byte(
			`{"install":[{"download_info":{"url":"http://h/p/a-1.whl","archive_info":{"hash":"sha256=x"}},"metadata":{"name":"a","version":"1"}}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseReport(data, nil) })
}

// pip 23's account of a conflict with constraints.
func TestPipConflict(t *testing.T) {
	t.Parallel()
	const text = `ERROR: Cannot install ray==2.52.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    ray 2.52.0 depends on Click>=8.0
    The user requested (constraint) click==7.1
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/`
	if got := pipConflict(text); !slices.Equal(got, []string{"click"}) {
		t.Errorf("conflict is %v, want click", got)
	}
	if got := pipConflict("ERROR: Could not find a version that satisfies the requirement ray==9 (from " +
		"versions: 2.52.0)"); got != nil {
		t.Errorf("a missing version is no conflict of pins, got %v", got)
	}
	if got := without([]string{"Click==7.1", "numpy==1"}, []string{"click"}); !slices.Equal(got, []string{"numpy==1"}) {
		t.Errorf("pins without click are %v", got)
	}
}

// pip 23's account of torch 2.15 where cuda-toolkit is held as torch 2.14 wants it.
func TestPipUnmatched(t *testing.T) {
	t.Parallel()
	const text = `ERROR: Could not find a version that satisfies the requirement cuda-toolkit[cublas,cudart]==13.2.2; platform_system == "Linux" (from torch) (from versions: 13.0.2, 13.0.3.0, 13.2.2)
ERROR: No matching distribution found for cuda-toolkit[cublas,cudart]==13.2.2; platform_system == "Linux"`
	if got := pipConflict(text); got != nil {
		t.Errorf("the conflict is %v, and pip names none", got)
	}
	if got := pipUnmatched(text); got != "cuda-toolkit" {
		t.Errorf("what pip found no version of is %q, want cuda-toolkit", got)
	}
	if got := pipUnmatched("ERROR: ResolutionImpossible"); got != "" {
		t.Errorf("it is %q, and nothing is missing", got)
	}
}

func wheelOf(name string, size int64) Artifact {
	return Artifact{Kind: KindWheel, Name: name, Version: "1", Path: name + "-1-py3-none-any.whl", Size: size}
}

func TestOwnIndexesAreTheOnlyPlaceOfTheirPackages(t *testing.T) {
	t.Parallel()
	r := &Recipe{
		Mirrors: Mirrors{Fetch: Presets()[:1]},
		Pip: Pip{
			ExtraIndexes: []ExtraIndex{{URL: "https://pypi.example.org/simple/", Packages: []string{"In_House"}}},
		},
	}
	for page, want := range map[string]bool{"https://pypi.org/simple/in-house/": false,
		"https://pypi.org/simple/requests/": true} {
		u, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.Candidates(r.Mirrors.Fetch, u, time.Time{})) > 0; got != want {
			t.Errorf("%s is served: %v, want %v", page, got, want)
		}
	}
	var allowed []string
	options, err := python{Pip: r.Pip}.pipOptions(func(index string) (string, error) {
		allowed = append(allowed, index)
		return strings.Replace(index, "https", "http", 1), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--trusted-host", "pypi.example.org", "--find-links", "http://pypi.example.org/simple/in-house/"}
	if !slices.Equal(options, want) || !slices.Equal(allowed, []string{"https://pypi.example.org/simple"}) {
		t.Errorf("options are %q, allowed %q", options, allowed)
	}
}

// TestL2BuildRequirementsAreNoOptions: what a package says that its build needs is a line of a file for pip.
func TestL2BuildRequirementsAreNoOptions(t *testing.T) {
	t.Parallel()
	got, err := buildRequirements([]string{"setuptools >= 40", "Cython; python_version<'3.12'"})
	if err != nil || len(got) != 2 {
		t.Errorf("honest ones: %q, %v", got, err)
	}
	for _, evil := range []string{"--index-url http://evil/simple", "-r /etc/passwd", "-e .", "x @ http://evil/x-1.whl",
		"x\n--index-url http://evil", "x --global-option=y", ""} {
		if got, err := buildRequirements([]string{evil}); err == nil {
			t.Errorf("%q is taken as %q", evil, got)
		}
	}
}

// TestL3LinksThatExpireAreNotLocked: a lock with a query would not be read again.
func TestL3LinksThatExpireAreNotLocked(t *testing.T) {
	t.Parallel()
	_, err := pipFile("http://index.example/x-1-py3-none-any.whl?sig=secret", strings.Repeat("a", 64), "x", "1", nil)
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "query") {
		t.Errorf("a signed link: %v", err)
	}
}
