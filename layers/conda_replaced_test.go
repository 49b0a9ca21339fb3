package layers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/llb"
)

// toolUV is uv, which finds the packages, unless others of the same names are installed.
type toolUV struct {
	finds map[string]string // versions by name, beside Ray
	said  string            // of what is in the way
	asked []uv.Question
}

func (u *toolUV) Resolve(_ context.Context, q uv.Question) (*uv.Answer, error) {
	u.asked = append(u.asked, q)
	text := ""
	for _, d := range q.Installed {
		if v, ok := u.finds[NormalName(d.Name)]; ok && v != d.Version {
			text += fmt.Sprintf("the environment has %s==%s\n", d.Name, d.Version)
		}
	}
	if text != "" {
		return nil, &uv.NoSolutionError{Requirements: q.Requirements, Text: u.said + "\n" + text}
	}
	a := &uv.Answer{Packages: []uv.Package{{Name: "ray", Version: "2.49.0", SHA256: sumA, Size: 1,
		URL: "https://files.pythonhosted.org/packages/r/ray-2.49.0-cp311-cp311-manylinux2014_x86_64.whl"}}}
	for name, version := range u.finds {
		a.Packages = append(a.Packages, uv.Package{Name: name, Version: version, SHA256: sumA, Size: 1,
			URL: "https://files.pythonhosted.org/packages/x/" + name + "-" + version + "-py3-none-any.whl"})
	}
	return a, nil
}

// emptyFiles are sources whose files are all there, and empty.
type emptyFiles struct{ lockSources }

func (*emptyFiles) Client() *http.Client { return &http.Client{Transport: emptyTransport{}} }

type emptyTransport struct{}

func (emptyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: http.NoBody}, nil
}

// condaBrings is the environment of each row: what conda brings by itself, and pandas with numpy.
func condaBrings() LockLayer {
	l := LockLayer{Name: "env"}
	for _, p := range [][2]string{{"setuptools", "80.9.0"}, {"wheel", "0.45.1"}, {"pip", "25.3"}, {"numpy", "2.1.0"}} {
		l.Artifacts = append(l.Artifacts, Artifact{Kind: KindConda, Name: p[0], Version: p[1], Origin: "conda-forge",
			Path: "noarch/" + p[0] + "-" + p[1] + "-pyh_0.conda", SHA256: sumA,
			For: map[string]string{forDists: p[0] + "==" + p[1]}})
	}
	return l
}

// resolveTools resolves the Python packages of a recipe on what conda brings.
func resolveTools(t *testing.T, recipe string, files map[string]string, finder PythonResolver,
	sandbox Sandbox) (artifacts []Artifact, said string, err error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	recipe = "ray: {version: 2.49.0, extras: []}\n" + recipe
	r, err := LoadRecipe([]byte(recipe), filepath.Join(dir, "raybuild.yaml"), nil)
	if err == nil {
		err = r.LoadFiles()
	}
	if err != nil {
		t.Fatal(err)
	}
	res := &Resolver{name: "linux/amd64", old: &LockPlatform{}, platform: llb.Platform{OS: "linux",
		Architecture: "amd64"}, locked: &LockPlatform{Layers: []LockLayer{condaBrings()}, Tool: LockImage{
		Reference: "ubuntu:22.04", Glibc: "2.35", Digest: digest.Digest("sha256:" + sumA)}}}
	res.stack = newStack(res.platform, res.locked)
	res.stack.python.Version = "3.11.9"
	res.stack = res.stack.Add("env", "env", "", frame("env", "/opt/conda/envs/ray"))
	in, end := ResolveInput{Recipe: r, Sources: &emptyFiles{},
		Python:  func(context.Context) (PythonResolver, error) { return finder, nil },
		Sandbox: func(context.Context) (Sandbox, error) { return sandbox, nil },
		Log:     func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }}.shared()
	if finder == nil {
		in.Python = nil
	}
	res.in = in
	p, _ := recipeLayers(r, nil)[4].(python)
	artifacts, err = p.Resolve(t.Context(), res)
	if err := end(); err != nil {
		t.Error(err)
	}
	return artifacts, said, err
}

// Case 11, real case F3: what conda brought and nobody asked conda for is no hard constraint.
func TestCase11ToolsOfCondaAreReplaced(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, recipe string
		files        map[string]string
		finds        map[string]string
		replaced     []string
		said         string // in the log
		err          string
	}{
		{name: "setuptools", recipe: `pip: ["setuptools<80"]`, finds: map[string]string{"setuptools": "79.0.1"},
			replaced: []string{"setuptools"},
			said:     "setuptools 79.0.1 takes the place of 80.9.0, which came with conda's Python"},
		{name: "a package that needs another one", recipe: "pip: [vllm]",
			finds: map[string]string{"setuptools": "79.0.1", "vllm": "0.11.0"}, replaced: []string{"setuptools"}},
		{name: "wheel and setuptools", recipe: `pip: ["wheel==0.41.2", "setuptools==69.5.1"]`,
			finds:    map[string]string{"setuptools": "69.5.1", "wheel": "0.41.2"},
			replaced: []string{"setuptools", "wheel"}},
		{name: "pip itself", recipe: `pip: ["pip<25"]`, finds: map[string]string{"pip": "24.3.1"},
			replaced: []string{"pip"}},
		{name: "the same version stays conda's", recipe: `pip: ["setuptools<80", "wheel"]`,
			finds: map[string]string{"setuptools": "79.0.1", "wheel": "0.45.1"}, replaced: []string{"setuptools"}},
		{name: "environment.yml's pip section", recipe: "env: {file: environment.yml}",
			files: environment("dependencies:\n- pip\n- pip:\n  - setuptools==69.5.1\n"),
			finds: map[string]string{"setuptools": "69.5.1"}, replaced: []string{"setuptools"}},
		{name: "another tool's lock", recipe: "pip: {pylock: uv.lock}", files: map[string]string{"uv.lock": uvLockOf(
			[3]string{"setuptools", "79.0.1", fromIndex("https://files.pythonhosted.org/packages/x/" +
				"setuptools-79.0.1-py3-none-any.whl")})},
			finds: map[string]string{"setuptools": "79.0.1"}, replaced: []string{"setuptools"}},
		{name: "asked of conda", recipe: "env: {conda: [setuptools]}\npip: [\"setuptools<80\"]",
			finds: map[string]string{"setuptools": "79.0.1"},
			err:   `setuptools 80.9.0 comes from conda by env.conda; set env.conda: ["setuptools<80"]`},
		{name: "asked of conda in environment.yml", recipe: "env: {file: environment.yml}\npip: [vllm]",
			files: environment("dependencies: [setuptools]"), finds: map[string]string{"setuptools": "79.0.1"},
			err: `comes from conda by env.conda; set env.conda: ["setuptools<80"]`},
		{name: "another package of conda's", recipe: "env: {conda: [pandas]}\npip: [\"numpy<2\"]",
			finds: map[string]string{"numpy": "1.26.4"},
			err:   `numpy 2.1.0 comes with conda's packages; set env.conda: ["numpy<2"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := &toolUV{finds: tt.finds, said: "Because only setuptools>=80 and " +
				"numpy>=2 are available, vllm==0.11.0 depends on setuptools<80 and you require numpy<2"}
			artifacts, said, err := resolveTools(t, tt.recipe, tt.files, u, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("the error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			locked := &LockPlatform{Layers: []LockLayer{condaBrings(), {Name: "ray", Artifacts: artifacts}}}
			if got := sorted(namesOf(replacedPackages(locked))); !slices.Equal(got, tt.replaced) {
				t.Errorf("replaced are %q, want %q", got, tt.replaced)
			}
			if !strings.Contains(said, tt.said) || strings.Count(said, "takes the place") != len(tt.replaced) {
				t.Errorf("the log is %q, want %q", said, tt.said)
			}
		})
	}
}

// Case 11: pip in the sandbox is asked again without the constraints that conda's tools are.
func TestCase11PipIsAskedWithoutConstraints(t *testing.T) {
	t.Parallel()
	const conflict = `The conflict is caused by:
    The user requested setuptools<80
    The user requested (constraint) setuptools==80.9.0

ERROR: ResolutionImpossible`
	wheel := func(name, version string) string {
		return `{"download_info":{"url":"http://files.pythonhosted.org/packages/x/` + name + `-` + version +
			`-py3-none-any.whl","archive_info":{"hashes":{"sha256":"` + sumA + `"}}},"metadata":{"name":"` + name +
			`","version":"` + version + `"}}`
	}
	report := `{"install":[` + wheel("ray", "2.49.0") + "," + wheel("setuptools", "79.0.1") + `]}`
	failed := map[string]string{"failed": "1", "stdout": "", "stderr": conflict}
	s := &solver{answers: []map[string]string{failed, {"report.json": report}}}
	artifacts, said, err := resolveTools(t, `pip: {packages: ["setuptools<80"], resolver: pip}`, nil, nil, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 2 || strings.Contains(s.asked[0], "FREE=setuptools") ||
		!strings.Contains(s.asked[1], "FREE=setuptools") {
		t.Errorf("pip was asked %d times, or not without the constraint", len(s.asked))
	}
	if !has(artifacts, "setuptools") || !strings.Contains(said, "takes the place of 80.9.0") {
		t.Errorf("%v; %s", namesOf(artifacts), said)
	}
	s = &solver{answers: []map[string]string{failed}}
	_, _, err = resolveTools(t, "env: {conda: [setuptools]}\npip: {packages: [\"setuptools<80\"], resolver: pip}", nil,
		nil, s)
	if err == nil || !strings.Contains(err.Error(), `by env.conda; set env.conda: ["setuptools<80"]`) {
		t.Errorf("the error is %v, want one that names env.conda", err)
	}
	for _, asked := range s.asked {
		if strings.Contains(asked, "FREE=setuptools") {
			t.Error("what the recipe asks of conda is no constraint")
		}
	}
}

// Case 11: the environment's layer has no file of what a wheel replaces, and builds of sources have all of it.
func TestCase11LayerIsWithoutWhatIsReplaced(t *testing.T) {
	t.Parallel()
	l := condaBrings()
	l.Artifacts = append(l.Artifacts, Artifact{Kind: KindConda, Name: "python", Version: "3.11.9",
		Origin: "conda-forge", Path: "linux-64/python-3.11.9-h_0.conda", SHA256: sumA})
	apply := func(python ...Artifact) Stack {
		t.Helper()
		locked := &LockPlatform{Layers: []LockLayer{l, {Name: "ray", Artifacts: python}},
			Tool: LockImage{Reference: "ubuntu:22.04", Digest: digest.Digest("sha256:" + sumA)}}
		on := newStack(llb.Platform{OS: "linux", Architecture: "amd64"}, locked)
		on = on.Add("miniconda", "miniconda", "", frame("miniconda", condaPrefix))
		on, err := env{Env: Env{Name: "ray"}}.Apply(on, l.Artifacts)
		if err != nil {
			t.Fatal(err)
		}
		return on
	}
	text := func(st llb.Stage) string {
		t.Helper()
		def, err := st.State().Marshal(t.Context())
		if err != nil || st.Err() != nil {
			t.Fatal(err, st.Err())
		}
		slices.SortFunc(def.Def, bytes.Compare)
		return string(slices.Concat(def.Def...))
	}
	plain := apply(Artifact{Kind: KindWheel, Name: "click", Version: "8"})
	other := apply(Artifact{Kind: KindWheel, Name: "setuptools", Version: "79.0.1"})
	built := apply(Artifact{Kind: KindWheel, Name: "setuptools", Version: "79.0.1",
		For: map[string]string{"build": "sdist"}})
	const dist = "setuptools-80.9.0-pyh_0"
	mount := func(s Stack) string { return text(python{env: env{Env: Env{Name: "ray"}}}.envMount(s).Stage) }
	if was := text(plain.Tree("", "env")); strings.Contains(was, dist+"\x12") || mount(plain) != was {
		t.Error("the environment is another though nothing is replaced")
	}
	if now := text(other.Tree("", "env")); !strings.Contains(now, "conda-meta") {
		t.Error("the layer is not made without the files of what is replaced")
	}
	if mount(other) != mount(plain) {
		t.Error("builds of sources have another environment")
	}
	if text(built.Tree("", "env")) != text(plain.Tree("", "env")) {
		t.Error("what only builds need replaces conda's")
	}
	record, err := env{Env: Env{Name: "ray"}}.inputs(other, "env", l.Artifacts)
	if err != nil || record.values["replaced"] != dist {
		t.Errorf("the record names %q as replaced, %v", record.values["replaced"], err)
	}
	if h := (LayerRecord{Layer: "env", Name: "env", Values: record.values}).Holds(); !slices.Equal(h.Replaced,
		[]string{dist}) {
		t.Errorf("the layer holds no more %q", h.Replaced)
	}
}
