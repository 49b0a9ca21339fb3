//go:build unix

package layers

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// people are files as people have them. The numbers are those of reports: what users met, and what they rightly
// expected.
type people struct {
	name   string
	recipe string // beside the files
	files  map[string]string

	want string // part of the error; "": the files are read
	// What the recipe then has, as far as it is not empty.
	python, ray string
	extras      []string
	required    []string // with environment.yml's
	constraints []string
	conda       []string
}

func (p people) check(t *testing.T) {
	r := recipeWithFiles(t, p.recipe, p.files)
	err := r.LoadFiles()
	if p.want != "" {
		if err == nil || !strings.Contains(err.Error(), p.want) {
			t.Errorf("the error is %v, want %s", err, p.want)
		}
		return
	}
	if err != nil {
		t.Fatalf("it was refused: %v", err)
	}
	var required, constraints, conda []string
	for _, q := range r.Required {
		required = append(required, q.String())
	}
	if r.EnvFile != nil {
		required, conda = append(required, r.EnvFile.Pip...), r.EnvFile.Conda
	}
	for _, q := range r.Constraints {
		constraints = append(constraints, q.String())
	}
	for what, both := range map[string][2]any{"python": {r.Env.Python, p.python}, "ray": {r.Ray.Version, p.ray},
		"extras": {r.Ray.Extras, p.extras}, "requirements": {required, p.required},
		"constraints": {constraints, p.constraints}, "conda": {conda, p.conda}} {
		if !reflect.ValueOf(both[1]).IsZero() && !reflect.DeepEqual(both[0], both[1]) {
			t.Errorf("%s: %v, want %v", what, both[0], both[1])
		}
	}
}

func checkPeople(t *testing.T, all []people) {
	t.Helper()
	t.Parallel()
	for _, p := range all {
		if p.recipe == "" {
			p.recipe = "pip: {requirements: [r.txt]}"
		}
		t.Run(p.name, p.check)
	}
}

func requirements(text string) map[string]string { return map[string]string{"r.txt": text} }

func environment(text string) map[string]string { return map[string]string{"environment.yml": text} }

const withEnvironment = "env: {file: environment.yml}"

// Real cases F6: a line for Ray that the recipe satisfies is satisfied; one that disagrees shows both places.
func TestCaseF6LinesForRay(t *testing.T) {
	own := "ray: {version: 2.60.0, extras: [default, tune]}\npip: {requirements: [r.txt]}"
	checkPeople(t, []people{
		{name: "agrees", recipe: own, files: requirements("ray==2.60.0\ntorch"), required: []string{"torch"}},
		{name: "agrees with extras", recipe: own, files: requirements("ray[tune]>=2.9 # why\ntorch"),
			required: []string{"torch"}},
		{name: "gives the version", files: requirements("ray[serve]==2.44.1\n"), ray: "2.44.1",
			extras: []string{"default", "rllib", "serve", "tune"}},
		{name: "gives a range", files: requirements("ray>=2.9,<2.10\n"), ray: "2.9.3"},
		{name: "gives a version that is in no table", files: requirements("ray==2.99.1\n"), ray: "2.99.1"},
		{name: "gives none", files: requirements("ray\ntorch"), ray: newestRay()},
		{name: "disagrees", recipe: own, files: requirements("torch\nray==2.9.3"),
			want: "r.txt:2: asks for ray==2.9.3, and the recipe has Ray 2.60.0; give ray.version in the recipe"},
		{name: "wants another extra", recipe: own, files: requirements("ray[rllib]"),
			want: "r.txt:1: asks for ray[rllib], and the recipe's ray.extras are [default, tune]; add rllib to " +
				"ray.extras"},
		{name: "two lines disagree",
			files: map[string]string{"r.txt": "ray==2.9.3\n-r more.txt", "more.txt": "ray==2.44.1"},
			want:  "more.txt:1: asks for ray==2.44.1, and the recipe has Ray 2.9.3"},
		{name: "for one environment", recipe: own, files: requirements("ray==1.13.0 ; python_version < '3.8'\nx"),
			required: []string{"x"}},
		{name: "in environment.yml", recipe: withEnvironment,
			files: environment("dependencies: [{pip: [\"ray[data]==2.9.3\", x]}]"), ray: "2.9.3",
			required: []string{"x"}},
		{name: "as a conda package", recipe: withEnvironment,
			files: environment("dependencies: [conda-forge::ray-tune=2.9.3, zlib]"), ray: "2.9.3",
			extras: []string{"default", "rllib", "tune"}, conda: []string{"zlib"}},
		{name: "as a conda package of another version", recipe: "ray: {version: 2.60.0}\n" + withEnvironment,
			files: environment("dependencies: [\"ray-core >=2.9,<2.10\"]"),
			want:  "environment.yml:1:16: dependencies[0]: asks for ray>=2.9,<2.10, and the recipe has Ray 2.60.0"},
	})
}

// Real case F7: files of Windows.
func TestCaseF7FilesOfWindows(t *testing.T) {
	checkPeople(t, []people{
		{name: "a byte order mark", files: requirements("\ufefftorch\r\nx\r\n"), required: []string{"torch", "x"}},
		{name: "a byte order mark in environment.yml", recipe: withEnvironment,
			files: environment("\ufeffdependencies: [zlib]\r\n"), conda: []string{"zlib"}},
		{name: "UTF-16", files: requirements("\xff\xfet\x00\n\x00"),
			want: "is written as UTF-16, as PowerShell's > does; save it as UTF-8"},
		{name: "UTF-16, big end first", files: requirements("\xfe\xff\x00t"), want: "save it as UTF-8"},
		{name: "UTF-16 in environment.yml", recipe: withEnvironment, files: environment("\xff\xfed\x00"),
			want: "save it as UTF-8"},
	})
}

// Real case F10, case 35: options in environment.yml's list for pip.
func TestCase35PipSectionOfEnvironment(t *testing.T) {
	with := func(item string, more map[string]string) map[string]string {
		out := environment("dependencies:\n- pip:\n  - y\n  - " + item + "\n")
		for name, text := range more {
			out[name] = text
		}
		return out
	}
	checkPeople(t, []people{
		{name: "requirements", recipe: withEnvironment, files: with("-r sub/r.txt",
			map[string]string{"sub/r.txt": "x\n-r more.txt", "sub/more.txt": "z"}), required: []string{"x", "z", "y"}},
		{name: "constraints", recipe: withEnvironment, files: with("-c c.txt", map[string]string{"c.txt": "x<2"}),
			required: []string{"y"}, constraints: []string{"x<2"}},
		{name: "a wheel by URL", recipe: withEnvironment, files: with("https://h.example/x-1-py3-none-any.whl", nil),
			required: []string{"y", "x @ https://h.example/x-1-py3-none-any.whl"}},
		{name: "sources by URL", recipe: withEnvironment, files: with("x @ https://h.example/main.zip", nil),
			required: []string{"y", "x @ https://h.example/main.zip"}},
		{name: "a URL without TLS", recipe: withEnvironment, files: with("x @ http://h.example/main.zip", nil),
			want: "environment.yml:4:5: dependencies[0].pip[1]: a URL without TLS"},
		{name: "Ray by URL", recipe: withEnvironment, files: with("ray @ https://h.example/main.zip", nil),
			want: "asks for Ray by URL, and Ray comes from the index; remove this line and set ray.version"},
		{name: "a constraint by URL", recipe: withEnvironment, files: with("-c c.txt",
			map[string]string{"c.txt": "x @ https://h.example/main.zip"}), want: "c.txt:1: a constraint by URL"},
		{name: "editable", recipe: withEnvironment, files: with("-e .", nil),
			want: "environment.yml:4:5: dependencies[0].pip[1]: an editable requirement; build a wheel"},
		{name: "git", recipe: withEnvironment, files: with("git+https://git.example/x/y@v1", nil),
			required: []string{"y", "git+https://git.example/x/y@v1"}},
		{name: "git by a commit and a name", recipe: withEnvironment,
			files:    with("git+https://git.example/x/y.git@"+sumA[:40]+"#egg=Y.y&subdirectory=py", nil),
			required: []string{"y", "y-y @ git+https://git.example/x/y.git@" + sumA[:40] + "#subdirectory=py"}},
		{name: "git as pip freeze writes it", recipe: withEnvironment,
			files:    with("-e git+https://git.example/x/y.git@"+sumA[:40]+"#egg=z", nil),
			required: []string{"z @ git+https://git.example/x/y.git@" + sumA[:40], "y"}},
		{name: "git by ssh", recipe: withEnvironment, files: with("git+ssh://git@git.example/x/y.git", nil),
			want: "a repository by ssh; write git+https://HOST/REPOSITORY@COMMIT; a login goes into ~/.netrc"},
		{name: "git with a token", recipe: withEnvironment, files: with("git+https://tok3n@git.example/x/y.git", nil),
			want: "a URL with credentials; leave them out, and put them into ~/.netrc"},
		{name: "git without TLS", recipe: withEnvironment, files: with("git+http://git.example/x/y@main", nil),
			want: "a repository without TLS, whose branches anybody on the way may replace; write git+https://"},
		{name: "Mercurial", recipe: withEnvironment, files: with("x @ hg+https://hg.example/x", nil),
			want: "another version control than git; build a wheel of it"},
		{name: "an index", recipe: withEnvironment,
			files: with("--extra-index-url https://download.pytorch.org/whl/cu121", nil),
			want:  "pip: {extra_indexes: [{url: https://download.pytorch.org/whl/cu121, packages: [NAME]}]}"},
	})
}

// Case 15, real case F11: which Python an environment.yml asks for.
func TestCase15PythonOfEnvironment(t *testing.T) {
	row := func(spec, python string) people {
		return people{name: spec, recipe: withEnvironment, python: python,
			files: environment("dependencies: [\"" + spec + "\", numpy]")}
	}
	with := func(own, spec, want string) people {
		p := row(spec, own)
		p.name, p.recipe, p.want = spec+" with "+own, "env: {file: environment.yml, python: \""+own+"\"}", want
		return p
	}
	checkPeople(t, []people{
		row("python>=3.10", "3.12"), row("python >=3.8,<3.12", "3.11"), row("python<3.9", "3.8"),
		row("python>=3.13", "3.13"), row("python=3.11.9=hb806964_0_cpython", "3.11.9"),
		row("python==3.7.7=hcf32534_0_cpython", "3.7.7"), row("python 3.11.9 hb806964_0_cpython", "3.11.9"),
		row("python=3.11.*", "3.11"), row("conda-forge::python=3.10", "3.10"), row("python~=3.9", "3.12"),
		row("python~=3.9.2", "3.9"), row("python", "3.12"), row("python=3", "3.12"),
		row("python>=3.8,!=3.12.*", "3.11"), row("python 3.9|3.10", "3.10"),
		with("3.11", "python=3.11.9=hb806964_0_cpython", ""), with("3.11.9", "python=3.11", ""),
		with("3.12", "python>=3.10,<3.13", ""),
		with("3.12", "python<3.12", "asks for python \"<3.12\", and the recipe's env.python is 3.12"),
		with("3.11.8", "python=3.11.9=hb806964_0_cpython",
			"asks for python \"3.11.9\", and the recipe's env.python is 3.11.8"),
		{name: "a bound on patch releases goes to conda", recipe: withEnvironment,
			files:  environment("dependencies: [\"python >=3.11.4,<3.12\", zlib]"),
			python: "3.11", conda: []string{"python >=3.11.4,<3.12", "zlib"}},
	})
}

// Real case F6b: what else stands in requirements files.
func TestCaseF6bOptionsOfRequirements(t *testing.T) {
	hash := " --hash=sha256:" + strings.Repeat("a", 64)
	row := func(text, want string) people {
		return people{name: text, files: requirements(text), want: want}
	}
	read := func(text string, required ...string) people {
		return people{name: text, files: requirements(text), required: required}
	}
	checkPeople(t, []people{
		read("--index-url https://pypi.org/simple\nx", "x"), read("-i https://pypi.org/simple/\nx", "x"),
		read("--extra-index-url=https://pypi.org/simple\nx", "x"),
		read("--require-hashes\nx==1"+hash, "x==1"),
		row("--require-hashes\nx==1"+hash+"\ny==2", "r.txt:3: has no --hash, and r.txt:1 asks for hashes of all"),
		row("yarl==1.4.2 --no-binary=yarl", `the option "--no-binary" of a requirement changes how it is built; remove it`),
		row("x --config-settings=a=b", `the option "--config-settings" of a requirement`),
		row("certifi @ file:///croot/certifi_16/work/certifi", "write NAME==VERSION, as pip list --format=freeze does"),
		row("--find-links https://data.pyg.org/whl/t.html", `the option "--find-links" is not taken`),
		row("--pre", "write the pre-release into the requirement"),
		row("--trusted-host h", "SSL_CERT_FILE"), row("--only-binary :all:", "raybuild takes the wheel of a version"),
		read("-e git+https://h/x#egg=x", "x @ git+https://h/x"),
		{name: "constraints", files: map[string]string{"r.txt": "-c c.txt\nx", "c.txt": "x<2\n-r d.txt",
			"d.txt": "y==1" + hash},
			required: []string{"x"}, constraints: []string{"x<2", "y==1"}},
		{name: "constraints with extras", files: map[string]string{"r.txt": "-c c.txt", "c.txt": "x[y]<2"},
			want: "c.txt:1: a constraint with extras"},
		{name: "constraints on Ray", ray: "2.9.3",
			files: map[string]string{"r.txt": "-c c.txt", "c.txt": "ray==2.9.3"}},
	})
}

// A constraint goes to the resolver, makes the lock stale, and changes no digest of a recipe that has none.
func TestConstraintsCount(t *testing.T) {
	t.Parallel()
	load := func(constraint string) *Recipe {
		r := recipeWithFiles(t, "pip: {requirements: [r.txt]}",
			map[string]string{"r.txt": "x\n-c c.txt", "c.txt": constraint})
		if err := r.LoadFiles(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	none, one, two := load(""), load("y<2"), load("y<3")
	if none.Digest() == one.Digest() || one.Digest() == two.Digest() {
		t.Error("two constraints have one digest of the recipe, so the lock would count as up to date")
	}
	if got := one.constraints(); !slices.Contains(got, "y<2") {
		t.Errorf("the resolver is asked with %v", got)
	}
	before, err := layerInputs(none, "")
	if err != nil {
		t.Fatal(err)
	}
	after, err := layerInputs(one, "")
	if err != nil || before["ray"] == after["ray"] || before["env"] != after["env"] {
		t.Errorf("the inputs of the layers: %v and %v, %v", before, after, err)
	}
}
