package layers

import (
	"strings"
	"testing"
)

// The shapes are those that real conda printed (26.7.1, 4.12.0), shortened.
func TestParseSolution(t *testing.T) {
	t.Parallel()
	const fetch = `{"name":"hello","version":"1.0","build":"pyhd_0","build_number":0,
		"channel":"http://conda.anaconda.org/conda-forge/noarch","subdir":"noarch",
		"fn":"hello-1.0-pyhd_0.conda","md5":"3d2ec5","sha256":"f102d1","size":1671,
		"url":"http://conda.anaconda.org/conda-forge/noarch/hello-1.0-pyhd_0.conda","noarch":"python"}`
	const link = `{"base_url":"http://conda.anaconda.org/conda-forge","build_string":"pyhd_0","dist_name":"hello-1.0-pyhd_0","name":"hello","platform":"noarch","version":"1.0"}`
	tests := map[string]struct{ json, origin, path, err string }{
		"a package of conda-forge": {
			json:   `{"success": true, "actions": {"FETCH": [` + fetch + `], "LINK": [` + link + `]}}`,
			origin: "conda-forge", path: "noarch/hello-1.0-pyhd_0.conda",
		},
		"a package of an own channel": {
			json: `{"actions": {"FETCH": [` +
				strings.ReplaceAll(fetch, "conda.anaconda.org/conda-forge", "conda.example.org/team/x") +
				`], "LINK": [` + link + `]}}`,
			origin: "http://conda.example.org/team/x", path: "noarch/hello-1.0-pyhd_0.conda",
		},
		"fetch leaves out what conda has cached": {json: `{"actions": {"FETCH": [], "LINK": [` + link + `]}}`,
			err: "links 1 packages and fetches 0"},
		"an unknown package": {
			json: `{"exception_name": "PackagesNotFoundInChannelsError", "message": "nope is not available"}`,
			err:  "nope is not available",
		},
		"a mirror that is down": {
			json: `{"exception_name": "CondaHTTPError", "status_code": "000", "message": "CONNECTION FAILED"}`,
			err:  "CONNECTION FAILED",
		},
		"no JSON at all": {json: `Traceback (most recent call last):`, err: "Traceback"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseSolution([]byte(tt.json))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Origin != tt.origin || got[0].Path != tt.path || got[0].SHA256 != "f102d1" ||
				got[0].MD5 != "3d2ec5" || got[0].Size != 1671 {
				t.Errorf("read as %+v", got)
			}
		})
	}
}

func FuzzParseSolution(f *testing.F) {
	f.Add(
		[]byte(
			`{"actions": {"FETCH": [{"name": "a", "url": "http://x/y/noarch/a.conda", "subdir": "noarch"}], "LINK": [{"name": "a"}]}}`))
	f.Add([]byte(`{"exception_name": "X"}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseSolution(data) })
}

func TestExplicitSpecsAreCanonicalAndSorted(t *testing.T) {
	t.Parallel()
	packages := []Artifact{
		{Kind: KindConda, Name: "zlib", Origin: "conda-forge", Path: "linux-64/zlib-1.3-h_0.conda", MD5: "22"},
		{Kind: KindConda, Name: "python", Origin: "conda-forge", Path: "linux-64/python-3.12.1-h_0.conda", MD5: "11"},
	}
	const want = "@EXPLICIT\nhttps://conda.anaconda.org/conda-forge/linux-64/python-3.12.1-h_0.conda#11\n" +
		"https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h_0.conda#22\n"
	if got := explicitSpecs(packages); got != want {
		t.Errorf("explicit file is\n%s want\n%s", got, want)
	}
}

func TestOldConda(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"py37_4.8.2": true, "4.7.12.1": true, "py311_22.11.1-1": true, "py312_25.7.0-2": false, "26.3.2-3": false,
	} {
		if got := oldConda([]Artifact{{Version: version}}); got != want {
			t.Errorf("oldConda of %q is %v, want %v", version, got, want)
		}
	}
}
