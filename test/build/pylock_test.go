package build

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/world"
)

// wheelLine matches the wheels of a lock, in the order of their names.
var wheelLine = regexp.MustCompile(`[a-zA-Z0-9_.]+-[^/\s]+\.whl`)

func wheelsOf(lock string) string {
	return strings.Join(wheelLine.FindAllString(lock, -1), "\n")
}

// oldLock is a raybuild.lock of old versions, and the pylock.toml that it exports.
func oldLock(t *testing.T, h *home) (lock, pylock string) {
	t.Helper()
	h.write("dist/own_wheel-1.0-py3-none-any.whl", ownWheel(t))
	h.write("raybuild.yaml", shortRecipe(`pip: {packages: ["click==8.1.7", "numpy==1.26.4", world-extra],
  wheels: [dist/*.whl], extra_indexes: [{url: "`+testEnv.A.Extra+`", packages: [world-extra]}]}`))
	h.lockOnly()
	out := h.run("lock", "--export", "pylock")
	if out.code != 0 {
		t.Fatalf("raybuild lock --export pylock: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	return h.read("raybuild.lock"), out.stdout
}

// A lock of another tool is taken as it is: the index has newer versions, and is not even asked.
func TestPylockIsTakenAsItIs(t *testing.T) {
	h := warmHome(t)
	lock, pylock := oldLock(t, h)
	for _, want := range []string{`path = "dist/own_wheel-1.0-py3-none-any.whl"`, `url = "` +
		strings.TrimSuffix(testEnv.A.Extra, "/simple"), `created-by = "raybuild"`, "click-8.1.7-", "numpy-1.26.4-", `name = "ray"`,
		`requires-python = "==3.11.*"`} {
		if !strings.Contains(pylock, want) {
			t.Errorf("the exported lock does not have %q:\n%s", want, pylock)
		}
	}
	h.write("pylock.toml", pylock)
	h.write("raybuild.yaml", strings.Replace(shortRecipe("pip: {pylock: pylock.toml, packages: [click, numpy]}"),
		"ray: {version: "+world.RayOld+", extras: []}\n", "", 1))
	if err := os.Remove(filepath.Join(h.cwd, "raybuild.lock")); err != nil {
		t.Fatal(err)
	}
	honest(t)
	dst := ref(t, "1")
	h.push(dst)
	if got := h.read("raybuild.lock"); wheelsOf(got) != wheelsOf(lock) {
		t.Errorf("other wheels than the lock's: %s", changed(wheelsOf(lock), wheelsOf(got)))
	}
	for _, r := range requests(t, testEnv.A) {
		if strings.Contains(r.Path, "/simple/") {
			t.Errorf("asked for %s, and the lock says all", r.Path)
		}
	}
	for what, said := range inContainer(t, dst, map[string]string{"versions": `python -c "import importlib.metadata as m, own_wheel; ` +
		`assert [m.version(n) for n in ('click', 'numpy', 'world-extra')] == ['8.1.7', '1.26.4', '1.0']"`}) {
		t.Errorf("%s: %s", what, said)
	}
	// A lock of these says the same again, and a changed file makes it stale.
	if out := h.run("lock", "--export", "pylock"); out.stdout != pylock {
		t.Errorf("exported again it is another: %s", changed(pylock, out.stdout))
	}
	h.write("pylock.toml", pylock+"# changed\n")
	h.refused(1, []string{"does not fit the recipe"}, "lock", "--check")
	// uv and update move nothing that the lock has.
	out := h.run("lock", "--update", "pip")
	if got := h.read("raybuild.lock"); out.code != 0 || wheelsOf(got) != wheelsOf(lock) {
		t.Errorf("exit %d\n%s\n%s", out.code, tail(out.stderr, 20), changed(wheelsOf(lock), wheelsOf(got)))
	}
	// The image carries what its packages are. Rebase takes the lock from beside the recipe, and add needs no lock.
	h.write("pylock.toml", pylock)
	if out := h.run("rebase", "--push", dst); out.code != 0 {
		t.Errorf("raybuild rebase: exit %d\n%s", out.code, tail(out.stderr, 20))
	}
	h.write("raybuild.yaml", "mirrors: {fetch: ["+testEnv.A.Fetch()+"]}\n")
	for _, gone := range []string{"raybuild.lock", "pylock.toml", "dist"} {
		if err := os.RemoveAll(filepath.Join(h.cwd, gone)); err != nil {
			t.Fatal(err)
		}
	}
	h.refused(1, []string{"pylock.toml", "run this where its recipe is"}, "rebase", "--push", dst)
	if out := h.run("add", "--push", "-t", ref(t, "2"), "zipp", "--onto", dst); out.code != 0 {
		t.Errorf("raybuild add: exit %d\n%s", out.code, tail(out.stderr, 20))
	}
}

// What a lock lacks, such as Ray, is resolved on top of it, by uv and by pip.
func TestPylockLacksRay(t *testing.T) {
	h := warmHome(t)
	_, pylock := oldLock(t, h)
	head, rest, _ := strings.Cut(pylock, "[[packages]]")
	for _, p := range strings.Split(rest, "[[packages]]") {
		if strings.Contains(p, `name = "click"`) || strings.Contains(p, `name = "numpy"`) {
			head += "[[packages]]" + p
		}
	}
	h.write("pylock.toml", head)
	for _, resolver := range []string{"uv", "pip"} {
		h.write("raybuild.yaml", shortRecipe("pip: {pylock: pylock.toml, resolver: "+resolver+"}"))
		if err := os.Remove(filepath.Join(h.cwd, "raybuild.lock")); err != nil {
			t.Fatal(err)
		}
		h.lockOnly()
		lock := h.read("raybuild.lock")
		for _, want := range []string{"click-8.1.7-", "numpy-1.26.4-", "ray-" + world.RayOld, "requests-"} {
			if !strings.Contains(lock, want) {
				t.Errorf("%s: the lock does not have %s", resolver, want)
			}
		}
	}
	h.write("raybuild.yaml", shortRecipe("pip: {pylock: pylock.toml, packages: [numpy>=2]}"))
	h.refused(1, []string{"numpy 1.26.4", "numpy>=2", "pylock.toml"}, "lock")
}
