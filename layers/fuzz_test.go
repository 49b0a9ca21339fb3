package layers

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// FuzzRequirements: each requirement that a file gives reads back as itself, and is one line that no option can hide
// in.
func FuzzRequirements(f *testing.F) {
	f.Add("torch==2.1 \\\n  --hash=sha256:" + hexOf("a") + "\nnumpy>=1,<2 ; python_version < '3.11' # why\n")
	f.Add("-r more.txt\n--extra-index-url https://h/\n\\\n#\\\nx[a,B]~=1.0.*\n")
	f.Add("conda-forge::numpy=1.26\nlibgcc-ng >=11,<13|14=*_0\n")
	f.Fuzz(func(t *testing.T, text string) {
		q := requirementsReader{reader: &recipeReader{}}
		for _, l := range requirementLines(text) {
			if l.number < 1 || l.number > strings.Count(text, "\n")+1 {
				t.Fatalf("line %d of %d", l.number, strings.Count(text, "\n")+1)
			}
			_, includes := requirementOption(l.text, "-r", "--requirement")
			if _, bounds := requirementOption(l.text, "-c", "--constraint"); !includes && !bounds {
				q.line(strictyaml.Problem{File: "requirements.txt", Line: l.number}, l.text, requirementsFrom{})
			}
			if name := condaName(l.text); name != strings.ToLower(name) || strings.ContainsAny(name, " \n/") {
				t.Fatalf("%q is the conda package %q", l.text, name)
			}
		}
		for _, r := range q.found {
			s := r.String()
			if strings.HasPrefix(s, "-") || strings.ContainsAny(s, "\n\r\x00") {
				t.Fatalf("%q passed", s)
			}
			again, err := ParseRequirement(s)
			if err != nil || again.String() != s {
				t.Fatalf("%q reads back as %q, %v", s, again, err)
			}
		}
	})
}

// FuzzPipText: what an old pip prints gives files that have a name and a digest, or an error.
func FuzzPipText(f *testing.F) {
	const file = "ray-0.8.6-cp36-cp36m-manylinux1_x86_64.whl"
	f.Add(sumA+"  "+file+"\n", "Found link http://files.pythonhosted.org/packages/a/b/"+file+"#sha256="+sumA+
		" (from http://pypi.org/simple/ray/), version: 0.8.6\n")
	f.Add("x  a-1.tar.gz\n", "The user requested (constraint) a_B\nNo matching distribution found for x.y\n"+
		"ERROR: ResolutionImpossible: x\n  Found link /a-1.tar.gz (from -)")
	f.Fuzz(func(t *testing.T, sums, log string) {
		all, err := parseDownloads(sums, log, nil)
		for _, a := range all {
			if err == nil && (a.Name == "" || a.Path == "" || strings.Contains(a.Filename(), "/")) {
				t.Fatalf("%+v", a)
			}
		}
		for _, n := range append(pipConflict(log), pipUnmatched(log)) {
			if NormalName(n) != n {
				t.Fatalf("%q is no normal name", n)
			}
		}
		if n := strings.Count(pipReason(sums, log+sums, log), "\n"); n > 2*reasonLines {
			t.Fatalf("the reason has %d lines", n)
		}
	})
}

// FuzzRecipeRecord: the recipe that an image carries meets the grammar of a file, and is carried on as it is.
func FuzzRecipeRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"recipe":{"base":"ubuntu:22.04","apt":{"packages":["vim"]},"steps":[{"name":"a",` +
		`"run":"x","network":"host"}],"smoke":false},"platforms":["linux/arm64"],"labels":{"a":"b"}}`))
	f.Add([]byte(`{"version":1,"recipe":"ray: {extras: []}","files":[{"digest":"sha256:x","name":"../a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseRecipeRecord(data)
		if err != nil {
			return
		}
		r, err := LoadRecipe(s.Recipe, "recipe", nil)
		if err != nil {
			return
		}
		text, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadRecipe(text, "recipe", nil)
		if err != nil {
			t.Fatalf("what is written is refused: %v\n%s", err, text)
		}
		if second, err := again.marshal(); err != nil || !bytes.Equal(text, second) || r.Digest() != again.Digest() {
			t.Fatalf("two forms of one recipe (%v):\n%s\n%s", err, text, second)
		}
	})
}

// FuzzBaseFiles: whatever a base image has as os-release, dpkg's status and dpkg's configuration, reading them ends,
// and the filters are those that a lock may hold.
func FuzzBaseFiles(f *testing.F) {
	f.Add([]byte("ID=debian\nVERSION_ID=\"12\"\n"),
		[]byte("Package: a\nVersion: 1\n\nPackage: libc6\nVersion: 2.36-9+deb12u7\n"),
		[]byte("path-exclude=/usr/share/doc/*\npath-include /usr/share/doc/*/copyright\n"))
	f.Add([]byte("=\n="), []byte("Package: libc6\nVersion: 1:2.31-0ubuntu9\n"), []byte("path-exclude = /a?[b]\\(*\n"))
	f.Fuzz(func(t *testing.T, release, status, config []byte) {
		osRelease(release)
		if v := glibc(status); strings.ContainsAny(v, "-+~\n") {
			t.Fatalf("glibc %q", v)
		}
		filters := dpkgPaths(config)
		for _, text := range filters {
			if m, _ := dpkgFilterText(text); m != "" {
				return // the lock says so, and is not written
			}
		}
		left := pathFilters(filters)
		for _, p := range []string{"/usr/share/doc/a/copyright", path.Join("/", string(config))} {
			left(p)
		}
	})
}

// FuzzPythonSpec: what environment.yml asks of Python is read, or refused, and the Python that is picked fits.
func FuzzPythonSpec(f *testing.F) {
	for _, s := range []string{">=3.10,<3.13", "=3.11.9=hb806964_0_cpython", "3.9|3.10.*", "~=3.9.2", "!=3.12.*", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, ok := readPythonSpec(text)
		if !ok {
			return
		}
		if v := spec.pickPython(); v != "" && !spec.allows(v) {
			t.Fatalf("%q picks %s, which it does not allow", text, v)
		}
		if v := spec.exact(); v != "" && !spec.allows(v) {
			t.Fatalf("%q is exactly %s, which it does not allow", text, v)
		}
	})
}
