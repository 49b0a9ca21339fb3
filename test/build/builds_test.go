package build

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// indexed is a project's page of an index, with a link to its one file.
func indexed(file, data string) string {
	return fmt.Sprintf(`<a href="/%s#sha256=%x">%[1]s</a>`, file, sha256.Sum256([]byte(data)))
}

// projectWith is a project with other files.
func projectWith(name string, files map[string]string) map[string]string {
	out := project(name, "1.0", "")
	maps.Copy(out, files)
	return out
}

// Case 14: what builds ask for when they are asked is locked, and is there when they run: a backend of the project's
// own, and setup_requires. A build that needs what nobody has says so.
func TestCase14BuildsAskForMore(t *testing.T) {
	h := fresh(t, "")
	late := sourcesOf(t, "late-1.0", projectWith("late", map[string]string{
		"pyproject.toml": "[build-system]\nrequires = [\"setuptools>=40.8\", \"wheel\"]\n" +
			"build-backend = \"ours\"\nbackend-path = [\"tools\"]\n",
		"tools/ours.py": "from setuptools import build_meta\nfrom setuptools.build_meta import *\n" +
			"def get_requires_for_build_wheel(config_settings=None):\n    return ['idna>=2']\n" +
			"def build_wheel(*args, **more):\n    import importlib.metadata as m\n    assert m.version('idna')\n" +
			"    return build_meta.build_wheel(*args, **more)\n",
	}))
	old := sourcesOf(t, "old-1.0", map[string]string{
		"setup.py": "from setuptools import setup\nfrom setuptools.command.build_py import build_py as base\n" +
			"class build_py(base):\n    def run(self):\n        import importlib.metadata as m\n" +
			"        assert m.version('zipp')\n        super().run()\n" +
			"setup(name='old', version='1.0', py_modules=['old'], setup_requires=['zipp'], " +
			"cmdclass={'build_py': build_py})\n",
		"old.py": "answer = 42\n",
	})
	fails := sourcesOf(t, "fails-1.0", projectWith("fails", map[string]string{
		"setup.py": "from setuptools import setup\n" +
			"setup(name='fails', version='1.0', setup_requires=['no-such-thing'])\n",
	}))
	s := newReleases(t, h, true, map[string]string{"/late-1.0.tar.gz": late, "/old-1.0.tar.gz": old,
		"/simple/late/": indexed("late-1.0.tar.gz", late), "/fails-1.0.tar.gz": fails})
	h.write("raybuild.yaml", shortRecipe("pip: [\""+s.URL+"/fails-1.0.tar.gz\"]"))
	h.refused(1, []string{"no-such-thing"}, "lock")
	h.write("raybuild.yaml", shortRecipe("pip:\n  packages: [late, \""+s.URL+"/old-1.0.tar.gz\"]\n"+
		"  extra_indexes: [{url: \""+s.URL+"/simple\", packages: [late]}]"))
	dst := ref(t, "1")
	h.push(dst)
	lock := h.read("raybuild.lock")
	for _, want := range []string{"build: late", "build: old", "name: idna", "name: zipp"} {
		if !strings.Contains(lock, want) {
			t.Errorf("the lock has no %s:\n%s", want, lock)
		}
	}
	for what, said := range inContainer(t, dst, map[string]string{
		"import": `python -c "import late, old; assert late.answer + old.answer == 84"`,
		"only for builds": `python -c "import importlib.metadata as m; assert not [d for d in m.distributions() if ` +
			`d.metadata['Name'] in ('zipp',)]"`,
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
}

// openBackend is a build backend that imports a package of the environment. It stands for setuptools with torch: the
// package world's Python packages are stand-ins, and setuptools cannot import them.
const openBackend = `import os, zipfile
import own_wheel

version = "%d.0" % own_wheel.answer
info = "%s-%s.dist-info" % (name, version)
files = {
    info + "/METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\nRequires-Dist: own-wheel\n"
        "Requires-Dist: idna\n"
        % (name, version),
    info + "/WHEEL": "Wheel-Version: 1.0\nGenerator: ours\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.makedirs(os.path.join(directory, info))
    for path, text in files.items():
        with open(os.path.join(directory, path), "w") as f:
            f.write(text)
    return info


def build_wheel(directory, config_settings=None, metadata_directory=None):
    wheel = "%s-%s-py3-none-any.whl" % (name, version)
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for path, text in files.items():
            z.writestr(path, text)
        z.writestr(name + ".py", "answer = 42\n")
        z.writestr(info + "/RECORD", "".join(p + ",,\n" for p in [*files, name + ".py", info + "/RECORD"]))
    return wheel
`

// Case 13: a build that imports what it does not ask for, as flash-attn's imports torch, is refused with the key that
// helps; with it the build has the other packages, from an index and by URL. A name that nobody asks for is refused.
func TestCase13BuildsThatImportWhatIsInstalled(t *testing.T) {
	h := fresh(t, "")
	open := func(name string) string {
		return sourcesOf(t, name+"-1.0", map[string]string{"ours.py": "name = '" + name + "'\n" + openBackend,
			"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"ours\"\nbackend-path = [\".\"]\n"})
	}
	flash, far := open("flash"), open("far")
	s := newReleases(t, h, true, map[string]string{"/own_wheel-1.0-py3-none-any.whl": ownWheel(t),
		"/flash-42.0.tar.gz": flash, "/simple/flash/": indexed("flash-42.0.tar.gz", flash), "/far/main.tar.gz": far})
	recipe := func(more string) string {
		return shortRecipe("pip:\n  packages: [\"" + s.URL + "/own_wheel-1.0-py3-none-any.whl\", \"flash>=1\", " +
			"\"far @ " + s.URL + "/far/main.tar.gz\"]\n  extra_indexes: [{url: \"" + s.URL +
			"/simple\", packages: [flash]}]\n" + more)
	}
	h.write("raybuild.yaml", recipe(""))
	h.refused(1, []string{"own_wheel", "no_build_isolation"}, "lock")
	h.write("raybuild.yaml", recipe("  no_build_isolation: [flash, far, other]"))
	h.refused(1, []string{"other", "does not ask for it by name"}, "lock")
	h.write("raybuild.yaml", recipe("  no_build_isolation: [flash, far]"))
	dst := ref(t, "1")
	first := h.push(dst)
	for what, said := range inContainer(t, dst, map[string]string{
		"import": `python -c "import flash, far; assert flash.answer + far.answer == 84"`,
		"version": `python -c "import importlib.metadata as m; assert m.version('flash') == m.version('far') == '42.0'; ` +
			`m.version('idna')"`,
		"check": "python -m pip check",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	lock := h.read("raybuild.lock")
	if strings.Count(lock, "isolation:") != 2 {
		t.Errorf("the lock does not say how they are built:\n%s", lock)
	}
	if again := h.push(dst); again.meta.Digest != first.meta.Digest || h.read("raybuild.lock") != lock {
		t.Error("the same recipe is another image")
	}
}
