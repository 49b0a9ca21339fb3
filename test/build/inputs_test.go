package build

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/internal/world/mirror"
)

// ownWheel is a wheel (PEP 427) of a project that no index has.
func ownWheel(t *testing.T) string { return pureWheel(t, "own_wheel", "answer = 42\n", "six") }

// pureWheel is version 1.0 of a wheel with one module of its name.
func pureWheel(t *testing.T, name, module, requires string) string {
	t.Helper()
	info := name + "-1.0.dist-info/"
	files := [][2]string{
		{name + ".py", module},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\nRequires-Dist: " + requires +
			"\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	}
	record := ""
	for _, f := range files {
		sum := sha256.Sum256([]byte(f[1]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", f[0], base64.RawURLEncoding.EncodeToString(sum[:]), len(f[1]))
	}
	files = append(files, [2]string{info + "RECORD", record + info + "RECORD,,\n"})
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// requests is what a mirror was asked for.
func requests(t *testing.T, m world.Mirror) []mirror.Request {
	t.Helper()
	resp, err := http.Get(m.URL + "/_world/log")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var log []mirror.Request
	if err := json.NewDecoder(resp.Body).Decode(&log); err != nil {
		t.Fatal(err)
	}
	return log
}

// Python packages come from where the recipe says: own wheels, source distributions, an own index, requirements.txt and
// environment.yml.
func TestPythonInputs(t *testing.T) {
	h := warmHome(t)
	honest(t)
	h.write("dist/own_wheel-1.0-py3-none-any.whl", ownWheel(t))
	h.write("requirements.txt", "# what the app needs\nastunparse==1.6.3  # pinned\n-r more.txt\n")
	h.write("more.txt", "zipp>=3 ; python_version >= \"3.8\"\nwin-only ; sys_platform == \"win32\"\n-c limits.txt\n")
	h.write("limits.txt", "click<8.2\nnot-needed<1\n")
	h.write("environment.yml", "name: ray\nchannels: [conda-forge]\ndependencies:\n- python>=3.10,<3.12\n"+
		"- world-tools\n- pip\n- pip:\n  - -r from-environment.txt\n")
	h.write("from-environment.txt", "\ufeffidna\r\n")
	recipe := strings.Replace(shortRecipe(`pip:
  packages: [sdist-only-pkg, world-extra]
  wheels: [./dist/*.whl]
  requirements: [requirements.txt]
  extra_indexes: [{url: "`+testEnv.A.Extra+`", packages: [world-extra]}]`),
		`env: {python: "3.11", channels: [conda-forge]}`, "env: {file: environment.yml}", 1)
	h.write("raybuild.yaml", recipe)
	dst := ref(t, "1")
	out := h.push(dst)
	codes := map[string]string{
		"own wheel":           "import own_wheel; assert own_wheel.answer == 42",
		"source distribution": "import sdist_only_pkg; assert sdist_only_pkg.__version__ == '1.0'",
		"own index":           "import importlib.metadata as m; assert m.version('world-extra') == '1.0'",
		"requirements.txt":    "import importlib.metadata as m; assert m.version('astunparse') == '1.6.3'",
		"its include":         "import importlib.metadata as m; m.version('zipp')",
		"environment.yml":     "import importlib.metadata as m; m.version('idna')",
		"a constraint":        "import importlib.metadata as m; assert m.version('click') == '8.1.7'",
		"a marker": "import importlib.metadata as m; assert not [d for d in m.distributions() if " +
			"d.metadata['Name'] == 'win-only']",
	}
	commands := map[string]string{}
	for what, code := range codes {
		commands[what] = `python -c "` + code + `"`
	}
	for what, said := range inContainer(t, dst, commands) {
		t.Errorf("%s: %s failed:\n%s", what, codes[what], said)
	}
	asked := false
	for _, r := range requests(t, testEnv.A) {
		asked = asked || strings.HasPrefix(r.Path, "/extra/simple/world-extra")
		if strings.HasPrefix(r.Path, "/pypi/simple/world-extra") || strings.HasPrefix(r.Path, "/extra/") &&
			!strings.Contains(r.Path, "world-extra") && !strings.Contains(r.Path, "world_extra") {
			t.Errorf("asked for %s: a name is taken from its own index, and no other name is", r.Path)
		}
	}
	if !asked {
		t.Error("the own index was never asked")
	}
	built := false
	for _, s := range out.meta.Raybuild.Steps {
		built = built || strings.Contains(s.Name, "sdist-only-pkg")
	}
	if !built {
		t.Errorf("no step built the source distribution: %+v", out.meta.Raybuild.Steps)
	}
	// A changed wheel of the same name is another input.
	h.write("dist/own_wheel-1.0-py3-none-any.whl", ownWheel(t)+"\x00")
	h.refused(1, []string{"does not fit the recipe", "raybuild lock"}, "--push", "--frozen", dst)
}

// A source distribution is built, and tells what it is, where the recipe's apt packages are. Without them the error
// names it, what it asked for, and where to name what it lacks. Case 12, real cases F2c and F4.
func TestCase12SourcesSeeAptPackages(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", shortRecipe(`pip: [sdist-needs-bc]`))
	h.refused(1, []string{"sdist-needs-bc", "bc", "name the package that has it under apt"}, "lock")
	with := func(packages string) {
		recipe := shortRecipe("pip: [sdist-needs-bc]")
		h.write("raybuild.yaml", strings.Replace(recipe, "apt: [less]", "apt: "+packages, 1))
	}
	with("[bc]")
	dst := ref(t, "1")
	h.push(dst)
	for what, said := range inContainer(t, dst, map[string]string{
		"import": `python -c "import sdist_needs_bc; assert sdist_needs_bc.__version__ == '1.0'"`,
		"no gcc": "! command -v gcc", "bc": "command -v bc",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	// Other apt packages are there for the build, too.
	with("[bc, less]")
	h.refused(1, []string{"does not fit the recipe", "raybuild lock"}, "--push", "--frozen", dst)
}

// The lock changes where it must and nowhere else, and says what changed.
func TestLock(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", shortRecipe(`pip: ["click==8.1.7"]`))
	lock := func(args ...string) outcome {
		t.Helper()
		out := h.run(append([]string{"lock"}, args...)...)
		if out.code != 0 {
			t.Fatalf("raybuild lock %s: exit %d\n%s", strings.Join(args, " "), out.code, tail(out.stderr, 40))
		}
		return out
	}
	lock()
	first := h.read("raybuild.lock")
	lock()
	if again := h.read("raybuild.lock"); again != first {
		t.Errorf("a second lock changed the file: %s", changed(first, again))
	}
	// The old version stays while the recipe allows it …
	h.write("raybuild.yaml", shortRecipe("pip: [click]"))
	lock()
	kept := h.read("raybuild.lock")
	if !strings.Contains(kept, "click-8.1.7-") {
		t.Errorf("lock let go of click 8.1.7 without need: %s", changed(first, kept))
	}
	// … until it is let go of: by name, or with everything.
	h.write("all.lock", kept)
	if out := lock("--update", "--lock", "all.lock"); !strings.Contains(out.stderr, "~ wheel click 8.1.7 → 8.2.1") {
		t.Errorf("--update of everything did not let go of click:\n%s", tail(out.stderr, 20))
	}
	out := lock("--update", "click")
	if !strings.Contains(out.stderr, "~ wheel click 8.1.7 → 8.2.1") || strings.Count(out.stderr, "→") != 1 {
		t.Errorf("the difference is not shown, or is more than click:\n%s", out.stderr)
	}
	updated := h.read("raybuild.lock")
	if n := len(strings.Split(changed(kept, updated), "\n")); n > 16 {
		t.Errorf("more than click changed: %s", changed(kept, updated))
	}
	out = lock("--set", "ray.version="+world.RayNew, "--lock", "raybuild.lock")
	if !strings.Contains(out.stderr, "~ wheel ray "+world.RayOld+" → "+world.RayNew) ||
		strings.Count(out.stderr, "→") != 1 {
		t.Errorf("the difference is not shown, or is more than ray:\n%s", out.stderr)
	}
	h.refused(1, []string{"does not fit"}, "lock", "--check")
	h.refused(1, []string{"nothing-like-it", "neither a layer nor a Python package"}, "lock", "--update",
		"nothing-like-it")
}

// changed are the lines that two texts do not share.
func changed(a, b string) string {
	in := func(text string) map[string]bool {
		all := map[string]bool{}
		for line := range strings.Lines(text) {
			all[line] = true
		}
		return all
	}
	ina, inb := in(a), in(b)
	out := ""
	for line := range strings.Lines(a) {
		if !inb[line] {
			out += "-" + line
		}
	}
	for line := range strings.Lines(b) {
		if !ina[line] {
			out += "+" + line
		}
	}
	return out
}

// versionsOf is a command that fails unless pip, and the files, have one version of a package.
func versionsOf(name, want string) string {
	return fmt.Sprintf(`test "$(python -m pip list --format=freeze --disable-pip-version-check | grep -ci '^%[1]s==')" = 1 `+
		`&& test "$(ls -d /opt/conda/envs/ray/lib/python3.11/site-packages/%[1]s-*.dist-info | wc -l)" = 1 `+
		`&& python -c "import importlib.metadata as m; v = m.version('%[1]s'); assert v %[2]s, v"`, name, want)
}

// What conda brought by itself gives way to what the recipe's Python packages need, and nothing of it stays. What the
// recipe asks conda for does not. Case 11, real case F3.
func TestCase11ToolsOfCondaAreReplaced(t *testing.T) {
	h := warmHome(t)
	there := h.read("raybuild.lock")
	_, rest, ok := strings.Cut(there, "name: setuptools")
	if !ok || !strings.Contains(rest, "80.9.0") {
		t.Skip("conda's channel has no other setuptools than the index") // the world was made without PyPI
	}
	h.write("raybuild.yaml", shortRecipe(`pip: ["setuptools<70", sdist-only-pkg]`))
	dst := ref(t, "1")
	out := h.push(dst)
	if !strings.Contains(out.stderr, "takes the place of 80.9.0, which came with conda's Python") {
		t.Errorf("nothing is said of what is replaced:\n%s", tail(out.stderr, 30))
	}
	for what, said := range inContainer(t, dst, map[string]string{
		"setuptools":          versionsOf("setuptools", "< '70'"),
		"pip":                 versionsOf("pip", "> '20'"),
		"its code":            `python -c "import setuptools as s; assert s.__version__.startswith('66.'), s.__version__"`,
		"no file of conda's":  "! ls /opt/conda/envs/ray/lib/python3.11/site-packages/setuptools-80* 2>/dev/null",
		"source distribution": `python -c "import sdist_only_pkg"`,
		"conda's notes":       "ls /opt/conda/envs/ray/conda-meta/setuptools-80*",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	bill := h.run("inspect", "--packages", dst)
	if strings.Contains(bill.stdout, "80.9.0") || !strings.Contains(bill.stdout, "setuptools") {
		t.Errorf("the list of packages has what was replaced:\n%s", bill.stdout)
	}
	// A package more leaves it as it is, and another builder makes the same.
	h.write("raybuild.yaml", shortRecipe(`pip: ["setuptools<70", sdist-only-pkg, idna]`))
	if h.push(ref(t, "2")); !strings.Contains(h.read("raybuild.lock"), "setuptools-66") {
		t.Error("the lock let go of the other setuptools")
	}
	// pip in the sandbox comes to the same.
	h.write("raybuild.yaml", shortRecipe(`pip: {packages: ["setuptools<70", sdist-only-pkg], resolver: pip}`))
	if out := h.run("lock", "--lock", "pip.lock"); out.code != 0 ||
		!strings.Contains(h.read("pip.lock"), "setuptools-66") {
		t.Errorf("pip does not replace it: exit %d\n%s", out.code, tail(out.stderr, 30))
	}
	h.write("raybuild.yaml", strings.Replace(shortRecipe(`pip: ["setuptools<70"]`), "channels: [conda-forge]",
		`channels: [conda-forge], conda: ["setuptools>=80"]`, 1))
	h.refused(1, []string{"setuptools 80.9.0 comes from conda by env.conda", `set env.conda: ["setuptools<70"]`}, "lock")
	// Without the wish, conda's is there again.
	h.write("raybuild.yaml", shortRecipe("pip: [sdist-only-pkg]"))
	dst = ref(t, "3")
	h.push(dst)
	for what, said := range inContainer(t, dst, map[string]string{
		"setuptools": versionsOf("setuptools", "== '80.9.0'"),
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
}
