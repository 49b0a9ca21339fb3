package build

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

// wheel writes a wheel of one module beside the recipe.
func (h *home) wheel(name, code string) {
	h.t.Helper()
	p := pypi.Project{Name: name, Version: "1.0",
		Files: map[string][]byte{pypi.Escaped(name) + "/__init__.py": []byte(code)}}
	var b strings.Builder
	if err := p.WriteWheel(&b); err != nil {
		h.t.Fatal(err)
	}
	h.write("dist/"+p.FileName(), b.String())
}

// unnamed checks that a registry has nothing by that name.
func unnamed(t *testing.T, ref string) {
	t.Helper()
	if _, err := remote.Head(repositoryOf(t, ref).Tag(ref[strings.LastIndex(ref, ":")+1:])); err == nil {
		t.Errorf("%s is there, and its image does not work", ref)
	}
}

// An image in which a package cannot be imported gets no name, and the error names package, cause
// and next step in ten lines.
func TestImageThatCannotImportGetsNoName(t *testing.T) {
	for name, c := range map[string]struct {
		wheels map[string]string
		says   []string
	}{
		"an import error": {map[string]string{"broken-pkg": "from click import nothing_of_that_name\n"},
			[]string{"import broken_pkg (broken-pkg 1.0)", "ImportError: cannot import name 'nothing_of_that_name' " +
				"from 'click'", "pin another version of broken-pkg", "smoke: false"}},
		"a crash": {map[string]string{"crashing-pkg": "import os\nos.abort()\n"},
			[]string{"crashing-pkg 1.0", "SIGABRT", "alone as well"}},
		"two that cannot be together": {map[string]string{
			"first-pkg":  "",
			"second-pkg": "import sys\nif 'first_pkg' in sys.modules:\n    import ctypes\n    ctypes.string_at(0)\n",
		}, []string{"import second_pkg", "first-pkg 1.0, second-pkg 1.0", "not after first_pkg", "SIGSEGV"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := warmHome(t)
			for project, code := range c.wheels {
				h.wheel(project, code)
			}
			h.write("raybuild.yaml", shortRecipe("pip: {wheels: ['dist/*.whl']}"))
			dst := ref(t, "1")
			out := h.refused(1, append(c.says, "--smoke=false"), "--push", "--progress", "plain", dst)
			unnamed(t, dst)
			at := strings.LastIndex(out.stderr, "raybuild: ")
			if lines := strings.Count(strings.TrimSpace(out.stderr[at:]), "\n") + 1; lines > 10 {
				t.Errorf("the error has %d lines:\n%s", lines, out.stderr[at:])
			}
			h.refused(1, c.says, "-o", "type=oci,dest=image.tar", dst)
			if _, err := os.Stat(filepath.Join(h.cwd, "image.tar")); err == nil {
				t.Error("the image was written to a file all the same")
			}
			if m := h.push(dst, "--smoke=false").meta; m.Raybuild.Smoke != "off" || m.tested() {
				t.Errorf("--smoke=false: the report says %q, the image was tested: %v", m.Raybuild.Smoke, m.tested())
			}
			// What was pushed without a test has passed none.
			h.refused(1, c.says, "--push", "--label", "a=b", ref(t, "2"), "-t", dst)
			h.write("raybuild.yaml", shortRecipe("pip: {wheels: ['dist/*.whl']}", "smoke: false"))
			if m := h.push(ref(t, "2"), "--label", "a=b").meta; m.Raybuild.Smoke != "off" {
				t.Errorf("smoke: false: the report says %q", m.Raybuild.Smoke)
			}
			h.refused(1, c.says, "--push", "--smoke", ref(t, "3"))
		})
	}
}

// A test of one's own runs as the image's user with its variables in its working directory, without a network.
func TestOwnCommandTestsTheImage(t *testing.T) {
	h := warmHome(t)
	image := "image: {env: {COLOUR: blue}, workdir: /home/ray}"
	h.write("raybuild.yaml", shortRecipe(image, `smoke: |
  test "$(id -u)" = 1000
  test "$COLOUR $HOME $PWD" = "blue /home/ray /home/ray"
  touch written /tmp/written
  python -c 'import ray'
  python -c 'import socket; socket.create_server(("localhost", 0))'
  ! python -c 'import socket; socket.create_connection(("192.0.2.1", 9), 2)'`))
	dst := ref(t, "1")
	if m := h.push(dst).meta; !m.tested() {
		t.Errorf("it was not tested; the report says %q", m.Raybuild.Smoke)
	}
	h.write("raybuild.yaml", shortRecipe(image, "smoke: echo 1; echo its last words; exit 7"))
	h.refused(1, []string{"the recipe's command (smoke) failed: exit code 7", "| its last words", "smoke: false"},
		"--push", "--label", "a=b", ref(t, "2"))
	unnamed(t, ref(t, "2"))
	h.push(ref(t, "2"), "--label", "a=b", "--set", "smoke=true")
}

// A label needs no test where the image before has passed it; a Python package is tested, where the
// builder has all layers and where it has none, which it pulls then. The image is the same with the
// test and without.
func TestEditIsTestedWhereModulesMayBeOthers(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	first := h.push(dst, "--label", "edit=0")
	h.env = []string{"BUILDKIT_HOST=" + nobody}
	label := h.push(dst, "--label", "edit=1")
	if m := label.meta.Raybuild; m.Smoke != "passed before" ||
		len(m.Steps) > 0 || !strings.Contains(label.stderr, "which has passed") {
		t.Errorf("a label: the report says %q, %d steps:\n%s", m.Smoke, len(m.Steps), tail(label.stderr, 10))
	}
	h.env = nil
	h.write("raybuild.yaml", shortRecipe("pip: [idna]"))
	if plan := h.run("plan", dst); !strings.Contains(plan.stdout, "smoke") {
		t.Errorf("plan does not say that the image may be tested, before it is locked:\n%s", plan.stdout)
	}
	h.env = []string{"BUILDKIT_HOST=" + nobody}
	added := h.push(ref(t, "added"), "--graph-tag=false").meta
	if ran := added.ran(); added.Raybuild.Smoke != "skipped" || added.Raybuild.Engine != "" || len(ran) > 1 {
		t.Errorf("a package more, without a builder: the report says %q, engine %q, steps ran in %v",
			added.Raybuild.Smoke, added.Raybuild.Engine, ran)
	}
	h.env = nil
	warmly := h.push(ref(t, "2"), "-t", dst, "--smoke").meta
	if ran := warmly.ran(); !warmly.tested() || warmly.Raybuild.LayersFrom == "" || len(ran) > 1 {
		t.Errorf("a package: the report says %q, layers are from %q, steps ran in %v", warmly.Raybuild.Smoke,
			warmly.Raybuild.LayersFrom, ran)
	}
	cold := coldHome(t)
	cold.write("raybuild.yaml", shortRecipe("pip: [idna, zipp]"))
	edited := cold.push(ref(t, "3"), "-t", dst, "--smoke").meta
	if ran := edited.ran(); !edited.tested() || edited.Raybuild.LayersFrom == "" || slices.Contains(ran, "miniconda") {
		t.Errorf("a package on an empty builder: the report says %q, layers are from %q, steps ran in %v",
			edited.Raybuild.Smoke, edited.Raybuild.LayersFrom, ran)
	}
	// The engine was given the files of the layer that was made here, and got the others from the registry.
	if trees, err := filepath.Glob(filepath.Join(cold.dir, "layers", "trees", "*")); err != nil ||
		os.Geteuid() == 0 && len(trees) != 1 {
		t.Errorf("the test was made with the files of the layers %q (%v), want one", trees, err)
	}
	h.write("raybuild.yaml", shortRecipe("pip: [idna, zipp]"))
	h.write("raybuild.lock", cold.read("raybuild.lock"))
	if whole := h.push(ref(t, "whole"), "--reuse=false", "--graph-tag=false",
		"--smoke=false").meta; whole.Digest != edited.Digest {
		t.Errorf("without a test the image is %s, with it %s", whole.Digest, edited.Digest)
	}
	cold.wheel("broken-pkg", "import nowhere\n")
	cold.write("raybuild.yaml", shortRecipe("pip: {packages: [idna, zipp], wheels: ['dist/*.whl']}"))
	cold.refused(1, []string{"No module named 'nowhere'"}, "--push", ref(t, "4"), "-t", dst)
	unnamed(t, ref(t, "4"))
	// What is there is tested anew where that is asked for.
	h.write("raybuild.yaml", shortRecipe())
	h.write("raybuild.lock", warm.lock)
	anew := h.push(ref(t, "anew"), "--label", "edit=0", "--smoke").meta
	if anew.Digest != first.meta.Digest || anew.Raybuild.Smoke != "passed" || anew.Raybuild.UpToDate {
		t.Errorf("--smoke: the image is %s, want %s; the report says %q", anew.Digest, first.meta.Digest,
			anew.Raybuild.Smoke)
	}
}

// A builder that is reached by TCP, as one on another machine is, tests the image: one that has no
// layer pulls what the registry has, one that makes all layers has them, and both say what fails.
func TestBuilderElsewhereTestsTheImage(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	h.push(dst)
	far := []string{"--builder", overTCP(t, newHome(t))}
	h.write("raybuild.yaml", shortRecipe("pip: [zipp]")) // which no other test has let pass in the shared home
	edited := h.push(ref(t, "2"), append(far, "-t", dst, "--smoke")...).meta
	if m := edited.Raybuild; !strings.HasPrefix(m.Engine, "tcp://") || m.LayersFrom == "" || !edited.tested() {
		t.Errorf("a package: built on %q with layers from %q, and the report says %q", m.Engine, m.LayersFrom, m.Smoke)
	}
	label := h.push(ref(t, "2"), append(far, "--label", "a=b")...).meta
	if label.Raybuild.Smoke != "passed before" || label.tested() {
		t.Errorf("a label: the report says %q", label.Raybuild.Smoke)
	}
	whole := h.push(ref(t, "whole"), append(far, "--reuse=false", "--graph-tag=false", "--smoke")...).meta
	if !whole.tested() || whole.Digest != edited.Digest {
		t.Errorf("a builder that makes all layers: the image is %s, want %s; the report says %q", whole.Digest,
			edited.Digest, whole.Raybuild.Smoke)
	}
	h.wheel("broken-pkg", "import nowhere\n")
	h.write("raybuild.yaml", shortRecipe("pip: {packages: [zipp], wheels: ['dist/*.whl']}"))
	for _, reuse := range []string{"--reuse", "--reuse=false"} {
		h.refused(1, []string{"import broken_pkg (broken-pkg 1.0)", "No module named 'nowhere'", "got no name"},
			append(far, "--push", reuse, ref(t, "3"), "-t", dst)...)
		unnamed(t, ref(t, "3"))
	}
}

// overTCP starts a home's engine, and gives an address by which TCP reaches it.
func overTCP(t *testing.T, h *home) string {
	t.Helper()
	addr, err := engine.Ensure(t.Context(), engine.Options{Home: h.dir, Exe: program, Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // the test is over
			}
			go join(c, strings.TrimPrefix(addr, "unix://"))
		}
	}()
	return "tcp://" + ln.Addr().String()
}

// join copies between a connection and a Unix socket until one of them ends.
func join(c net.Conn, socket string) {
	defer c.Close()
	to, err := net.Dial("unix", socket)
	if err != nil {
		return // the client sees it
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	pipe := func(into, from net.Conn) {
		_, _ = io.Copy(into, from) // whoever ends it ends both
		done <- struct{}{}
	}
	go pipe(to, c)
	go pipe(c, to)
	<-done
}
