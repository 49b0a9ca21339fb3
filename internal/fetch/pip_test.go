package fetch

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// wheel makes a real wheel, and returns it and its METADATA.
func wheel(t *testing.T, name, version, requires string) (file, meta []byte) {
	t.Helper()
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	meta = fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	if requires != "" {
		meta = fmt.Appendf(meta, "Requires-Dist: %s\n", requires)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, data string }{
		{name + ".py", "x = 1\n"},
		{info + "METADATA", string(meta)},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(f.name)
		if err == nil {
			_, err = w.Write([]byte(f.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), meta
}

// pipIndex is a simple index in the layout of a PyPI mirror, with or without PEP 658 and PEP 691.
func pipIndex(t *testing.T, asJSON, withMeta bool) *mirror {
	files := map[string][]byte{}
	pages := map[string]string{}
	for _, p := range []struct{ name, requires string }{{"alpha", "beta>=1"}, {"beta", ""}} {
		file, meta := wheel(t, p.name, "1.5", p.requires)
		fn := p.name + "-1.5-py3-none-any.whl"
		path := "/pypi/packages/aa/bb/cc/" + fn
		files[path] = file
		sum := digest.FromBytes(file).Encoded()
		if withMeta {
			files[path+".metadata"] = meta
		}
		if asJSON {
			core := "false"
			if withMeta {
				core = fmt.Sprintf(`{"sha256":%q}`, digest.FromBytes(meta).Encoded())
			}
			pages[p.name] = fmt.Sprintf(
				`{"meta":{"api-version":"1.0"},"name":%q,"files":[{"filename":%q,"url":"../../packages/aa/bb/cc/%s","hashes":{"sha256":%q},"requires-python":">=3.6","yanked":false,"core-metadata":%s,"dist-info-metadata":%s}]}`,
				p.name, fn, fn, sum, core, core)
			continue
		}
		attr := ""
		if withMeta {
			attr = fmt.Sprintf(` data-dist-info-metadata="sha256=%s"`, digest.FromBytes(meta).Encoded())
		}
		pages[p.name] = fmt.Sprintf(
			`<!DOCTYPE html><html><body><a href="../../packages/aa/bb/cc/%s#sha256=%s" data-requires-python="&gt;=3.6"%s>%s</a></body></html>`, fn, sum, attr, fn)
	}
	return newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutPrefix(r.URL.Path, "/pypi/simple/"); ok {
			body, ok := pages[strings.TrimSuffix(name, "/")]
			if !ok {
				http.NotFound(w, r)
				return
			}
			kind := "text/html"
			if asJSON {
				kind = typeJSON
			}
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprint(w, body)
			return
		}
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		serve(w, r, b)
	})
}

// TestRealPip resolves and downloads with the real pip of this machine, whose only way out is the gateway. The index
// and its packages are made for this test.
func TestRealPip(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(python, "-m", "pip", "--version").Run()
	}
	if err != nil {
		skip(t, "no python3 with pip: %v", err)
	}
	tests := []struct {
		name             string
		asJSON, withMeta bool
	}{{"HTML", false, false}, {"HTML with metadata", false, true}, {"JSON with metadata", true, true}}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dead := newMirror(t, nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			m := pipIndex(t, tc.asJSON, tc.withMeta)
			r := pypiRig(t, fast(t), dead, m)
			gw := gatewayOf(t, r)
			dir := t.TempDir()
			pip := func(args ...string) {
				t.Helper()
				args = slices.Concat([]string{"-m", "pip"}, args, []string{"--isolated", "--disable-pip-version-check",
					"--no-cache-dir", "--proxy", gw, "--index-url", "http://pypi.org/simple/",
					"--trusted-host", "pypi.org", "--trusted-host", "files.pythonhosted.org"})
				cmd := exec.Command(python, args...)
				cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
					return strings.HasPrefix(s, "PIP_") || strings.HasPrefix(strings.ToLower(s), "no_proxy=")
				}), "HOME="+dir)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("pip %v: %v\n%s", args, err, out)
				}
			}
			report := filepath.Join(dir, "report.json")
			pip("install", "--dry-run", "--ignore-installed", "--report", report, "alpha")
			if n := count(m, ".metadata"); tc.withMeta && n != 2 { // pip 23.1 and newer ask for it
				t.Errorf("%d metadata files were asked for, want those of both wheels", n)
			}
			checkReport(t, r, report, m.URL)
			pip("download", "-d", filepath.Join(dir, "got"), "alpha")
			if got, _ := filepath.Glob(filepath.Join(dir, "got", "*.whl")); len(got) != 2 {
				t.Errorf("pip downloaded %v", got)
			}
			if n := count(m, ".whl"); n != 2 {
				t.Errorf("%d wheels were downloaded from the mirror, want each once", n)
			}
		})
	}
}

// checkReport wants canonical URLs with digests that the Fetcher can open.
func checkReport(t *testing.T, r *rig, path, mirrorURL string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), strings.TrimPrefix(mirrorURL, "http://")) {
		t.Error("the report names the mirror")
	}
	var rep struct {
		Install []struct {
			Info struct {
				URL     string
				Archive struct{ Hashes map[string]string } `json:"archive_info"`
			} `json:"download_info"`
		}
	}
	if err := json.Unmarshal(b, &rep); err != nil || len(rep.Install) != 2 {
		t.Fatalf("report: %v\n%s", err, b)
	}
	for _, p := range rep.Install {
		if !strings.HasPrefix(p.Info.URL, "http://files.pythonhosted.org/packages/aa/bb/cc/") {
			t.Errorf("url %s is not canonical", p.Info.URL)
		}
		r.mustRead(t, digest.NewDigestFromEncoded(digest.SHA256, p.Info.Archive.Hashes["sha256"]))
	}
}

func count(m *mirror, suffix string) int {
	n := 0
	for _, q := range m.requests() {
		if strings.HasSuffix(q.URL.Path, suffix) {
			n++
		}
	}
	return n
}
