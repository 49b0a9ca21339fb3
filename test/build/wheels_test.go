package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

// A Python that this machine may not run makes its byte code in the builder, the same bytes: here the
// directory that it is unpacked into allows no programs.
func TestPythonThatCannotRunHereRunsInTheBuilder(t *testing.T) {
	first := warmHome(t).push(ref(t, "1"), "--graph-tag=false").meta
	h := coldHome(t)
	dir := filepath.Join(h.dir, "layers", "python")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOEXEC, ""); err != nil {
		t.Fatalf("mount a directory without programs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	there := h.push(ref(t, "2"), "--graph-tag=false", "--reuse=false").meta
	if there.Digest != first.Digest {
		t.Errorf("the image is %s, and %s where Python runs here\n%s", there.Digest, first.Digest,
			differing(there, first))
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "*")) // below the name of the machine's start
	if hidden, _ := filepath.Glob(filepath.Join(dir, "*", ".*")); err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left of a Python that cannot run: %q %q (%v)", left, hidden, err)
	}
}

// Of a file that two wheels bring the image has that which pip would leave, and the build names both.
func TestFileOfTwoWheels(t *testing.T) {
	h := warmHome(t)
	var files []string
	for _, project := range []string{"first-pkg", "second-pkg", "third-pkg"} {
		p := pypi.Project{Name: project, Version: "1.0", Files: map[string][]byte{
			"shared_pkg/__init__.py": []byte("name = '" + project + "'\n"), "shared_pkg/same.py": nil}}
		var b strings.Builder
		if err := p.WriteWheel(&b); err != nil {
			t.Fatal(err)
		}
		h.write("dist/"+p.FileName(), b.String())
		files = append(files, filepath.Join(h.cwd, "dist", p.FileName()))
	}
	dir := t.TempDir()
	args := append([]string{"-m", "pip", "install", "-q", "--no-index", "--target", dir}, files...)
	if out, err := exec.CommandContext(t.Context(), testneeds.Python(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("pip: %v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, "shared_pkg/__init__.py"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("raybuild.yaml", shortRecipe("pip: {wheels: ['dist/*.whl']}", fmt.Sprintf("smoke: |\n"+
		"  python -c \"import shared_pkg; assert shared_pkg.%s, shared_pkg.name\"",
		strings.Replace(strings.TrimSpace(string(want)), " = ", " == ", 1))))
	out := h.push(ref(t, "1"))
	for _, says := range []string{"shared_pkg/__init__.py: both third_pkg 1.0 and second_pkg 1.0 bring it",
		"the image has that of first_pkg 1.0"} {
		if !strings.Contains(out.stderr, says) || strings.Contains(out.stderr, "same.py") {
			t.Errorf("the build does not say %q of this one file:\n%s", says, out.stderr)
		}
	}
}

// A layer of wheels that this machine has pushed to another repository of the registry is mounted from there. The
// machine's first image, which warmHome made, is in a repository of its own.
func TestLayerOfAnotherRepositoryIsMounted(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", shortRecipe("pip: [idna]"))
	all := h.push(ref(t, "1"), "--graph-tag=false").meta.Raybuild.Layers
	for _, l := range all {
		if l.Name == "ray" && l.Size > 1<<20 && l.Reused {
			return
		}
	}
	t.Errorf("no layer ray of more than 1 MB was mounted: %+v", all)
}

// Layers of wheels in an eStargz image have a table of contents, and a package more takes no builder there either.
func TestWheelsAsEstargz(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	h.write("raybuild.yaml", shortRecipe("layers: {compression: estargz}"))
	h.push(dst)
	h.write("raybuild.yaml", shortRecipe("layers: {compression: estargz}", "pip: [idna]"))
	more := h.push(dst).meta
	if more.Raybuild.Engine != "" {
		t.Errorf("a package more took the builder %q", more.Raybuild.Engine)
	}
	manifest, err := pull(t, dst).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for i, l := range manifest.Layers {
		table := l.Annotations[estargz.TOCJSONDigestAnnotation]
		if table == "" {
			t.Errorf("layer %q has no table of contents: %v", more.Raybuild.Layers[i].Name, l.Annotations)
			continue
		}
		layer, err := pull(t, dst).LayerByDigest(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		body, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			t.Fatal(err)
		}
		r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))))
		if err != nil {
			t.Errorf("layer %q: %v", more.Raybuild.Layers[i].Name, err)
			continue
		}
		if got := r.TOCDigest().String(); got != table {
			t.Errorf("the table of layer %q is %s, and the manifest says %s", more.Raybuild.Layers[i].Name, got, table)
		}
		tables++
	}
	if tables < 5 {
		t.Errorf("%d layers were looked at", tables)
	}
}
