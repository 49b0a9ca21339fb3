package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded is PyPI's page of Ray on 2026-11-29, cut to seven releases; digests are left out.
func recorded(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/ray.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTableOfRecordedPage(t *testing.T) {
	rows, err := releases(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	got := table("https://pypi.org/simple/ray/", rows)
	_, got, _ = strings.Cut(got, "\tyanked\n")
	const six, nine, eleven = "3.6,3.7,3.8", "3.9,3.10,3.11", "3.6,3.7,3.8,3.9,3.10,3.11"
	want := strings.Join([]string{
		"0.8.5\t2020-05-07\t" + six + "\t-\t-",
		"0.8.6\t2020-06-24\t" + six + "\t-\t-",
		"1.7.1\t2021-10-22\t3.6,3.7,3.8,3.9\t-\thttps://github.com/ray-project/ray/issues/19813",
		"2.4.0\t2023-04-25\t" + eleven + "\t" + eleven + "\t-",
		"2.12.0\t2024-04-25\t" + nine + "\t-\t-",
		"2.20.0\t2024-05-01\t" + nine + "\t" + nine + "\t-",
		"2.60.0\t2026-11-04\t3.10,3.11,3.12,3.13,3.14\t3.10,3.11,3.12,3.13,3.14\t-", ""}, "\n")
	if got != want {
		t.Errorf("table is\n%swant\n%s", got, want)
	}
}

func TestWheelNames(t *testing.T) {
	for name, want := range map[string]string{
		"ray-2.60.0-cp314-cp314-manylinux2014_x86_64.whl":                    "2.60.0 3.14 linux/amd64",
		"ray-2.60.0-1-cp310-cp310-manylinux_2_28_aarch64.whl":                "2.60.0 3.10 linux/arm64",
		"ray-0.8.6-cp36-cp36m-manylinux1_x86_64.whl":                         "0.8.6 3.6 linux/amd64",
		"ray-2.9.0-cp39-cp39-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": "2.9.0 3.9 linux/amd64",
		"ray-2.60.0-cp314-cp314t-manylinux2014_x86_64.whl":                   "",
		"ray-2.60.0-cp314-cp314-macosx_12_0_x86_64.whl":                      "",
		"ray-2.60.0-cp314-cp314-win_amd64.whl":                               "",
		"ray-2.32.0rc0-cp311-cp311-manylinux2014_x86_64.whl":                 "",
		"ray_cpp-2.60.0-cp314-cp314-manylinux2014_x86_64.whl":                "",
		"ray-2.60.0-cp27-cp27mu-manylinux1_x86_64.whl":                       "",
		"ray-2.60.0.tar.gz":                             "",
		"ray-2.60.0-cp3x-cp3x-manylinux2014_x86_64.whl": "",
		"": "", "-.whl": "", "ray-----manylinux2014_x86_64.whl": "",
	} {
		v, py, platform, ok := wheel("ray", name)
		if got := strings.TrimSpace(v + " " + py + " " + platform); got != want || ok != (want != "") {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func TestYankedAndStrangePages(t *testing.T) {
	file := func(python, yanked string) string {
		return `{"filename":"ray-2.1.0-` + python + `-` + python + `-manylinux2014_x86_64.whl","yanked":` + yanked + `}`
	}
	for name, tt := range map[string]struct{ files, want string }{
		"one of two wheels is withdrawn": {file("cp310", `"bad"`) + "," + file("cp311", "false"),
			"2.1.0\t-\t3.10,3.11\t-\t-\n"},
		"all are, without a reason": {file("cp310", "true") + "," + file("cp311", `""`),
			"2.1.0\t-\t3.10,3.11\t-\tyanked\n"},
		"the reason has tabs and lines":     {file("cp310", `"a\tb\nc\u0007d"`), "2.1.0\t-\t3.10\t-\ta b c d\n"},
		"one that does not tell of yanking": {file("cp310", "null"), "2.1.0\t-\t3.10\t-\t-\n"},
	} {
		rows, err := releases([]byte(`{"name":"ray","files":[` + tt.files + `]}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, got, _ := strings.Cut(table("x", rows), "\tyanked\n"); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	for _, bad := range []string{"", "<html>", `{"name":"ray","files":[]}`, `{"name":"ray","files":[{"filename":7}]}`} {
		if rows, err := releases([]byte(bad)); err == nil {
			t.Errorf("%q gives %v", bad, rows)
		}
	}
}

func FuzzReleases(f *testing.F) {
	f.Add(recorded(f))
	f.Add(
		[]byte(
			`{"name":"ray","files":[{"filename":"ray-2.1.0-cp310-cp310-manylinux2014_x86_64.whl","upload-time":"a\tb","yanked":"a\nb"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := releases(data)
		if err != nil {
			return
		}
		for line := range strings.Lines(table("x", rows)) {
			if !strings.HasPrefix(line, "#") && strings.Count(line, "\t") != 4 {
				t.Errorf("row %q does not have five fields", line)
			}
		}
	})
}

// repository is a directory with what refresh reads and writes.
func repository(t *testing.T, wheels string) {
	t.Helper()
	t.Chdir(t.TempDir())
	files := map[string]string{"examples/default/raybuild.yaml": "ray: {version: 2.59.0}\n",
		"internal/cli/init.yaml": "# version: \"2.59.0\"\n"}
	if wheels != "" {
		files[wheelTable] = wheels
	}
	files["layers/data/.keep"] = ""
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefresh(t *testing.T) {
	page := recorded(t)
	repository(t, "# old\n2.20.0\t2024-05-01\t3.9\t-\t-\n2.59.0\t2026-10-02\t3.10\t3.10\t-\n")
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Accept")+" "+user+":"+pass)
		w.Header().Set("Content-Type", jsonForm)
		_, _ = w.Write(page)
	}))
	defer server.Close()
	var out bytes.Buffer
	index := strings.Replace(server.URL, "http://", "http://me:secret@", 1) + "/simple/"
	if err := refresh(t.Context(), &out, index); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/simple/ray/ " + jsonForm + " me:secret"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	for _, want := range []string{"- 2.20.0\t2024-05-01\t3.9\t-\t-\n" +
		"+ 2.20.0\t2024-05-01\t3.9,3.10,3.11\t3.9,3.10,3.11\t-\n",
		"- 2.59.0\t2026-10-02\t3.10\t3.10\t-\n", "+ 2.60.0\t2026-11-04\t", "+ 0.8.6\t", "the newest is 2.60.0",
		"examples/default/raybuild.yaml: 2.59.0 is 2.60.0 now", "add a row to layers/data/ray.yaml"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "secret") {
		t.Errorf("the password is printed:\n%s", out.String())
	}
	if text, err := os.ReadFile("internal/cli/init.yaml"); err != nil || string(text) != "# version: \"2.60.0\"\n" {
		t.Errorf("init.yaml is %q, %v", text, err)
	}
	out.Reset()
	if err := refresh(t.Context(), &out, index); err != nil ||
		!strings.Contains(out.String(), "is up to date: 7 releases, the newest is 2.60.0") {
		t.Errorf("a second run: %v, %s", err, out.String())
	}
}

func TestRefreshRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"an index that speaks HTML alone": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<!doctype html>"))
		}, "not the JSON of PEP 691"},
		"an index without Ray": {http.NotFound, "404 Not Found"},
		"a page that ends too soon": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", jsonForm)
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"name"`))
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			const kept = "2.59.0\t2026-10-02\t3.10\t3.10\t-\n"
			repository(t, kept)
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			err := refresh(t.Context(), &bytes.Buffer{}, strings.Replace(server.URL, "http://", "http://me:secret@", 1))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want %q and no password", err, tt.want)
			}
			if data, err := os.ReadFile(wheelTable); err != nil || string(data) != kept {
				t.Errorf("the table is %q now, %v", data, err)
			}
		})
	}
	repository(t, "")
	for _, bad := range []string{"simple", "http://me:secret@%zz/"} {
		if err := refresh(t.Context(), &bytes.Buffer{}, bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}
