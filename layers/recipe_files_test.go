//go:build unix

package layers

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recipeWithFiles is a recipe in a directory of its own with files beside it.
func recipeWithFiles(t *testing.T, text string, files map[string]string) *Recipe {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := LoadRecipe([]byte(text), filepath.Join(dir, "raybuild.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRequirementsFiles(t *testing.T) {
	t.Parallel()
	hash := "sha256:" + strings.Repeat("a", 64)
	r := recipeWithFiles(t, "pip: {requirements: [requirements.txt, b.txt]}", map[string]string{
		"requirements.txt": "# comment\n\nTorch == 2.4.0 \\\n    --hash=" +
			hash + " \\\n    --hash=" + hash + "\nnumpy>=1.26,<2 # why\n-r more/extra.txt\n",
		"more/extra.txt": "--requirement=../third.txt\r\nrequests[socks] ; python_version < '3.13'\r\n",
		"third.txt":      "x==1\n",
		"b.txt":          "\tdm-tree\n",
	})
	if err := r.LoadFiles(); err != nil {
		t.Fatal(err)
	}
	want := []Requirement{
		{Name: "torch", Specifier: "==2.4.0", Hashes: []string{hash}},
		{Name: "numpy", Specifier: ">=1.26,<2"},
		{Name: "x", Specifier: "==1"},
		{Name: "requests", Extras: []string{"socks"}, Marker: `python_version < "3.13"`},
		{Name: "dm-tree"},
	}
	if !reflect.DeepEqual(r.Required, want) {
		t.Errorf("got\n%+v\nwant\n%+v", r.Required, want)
	}
}

func TestRequirementsFilesRefused(t *testing.T) {
	t.Parallel()
	r := recipeWithFiles(t, "ray: {version: 2.60.0}\npip: {requirements: [r.txt, none.txt]}", map[string]string{
		"r.txt": strings.Join([]string{
			"-e .", "--index-url https://h/simple", "--extra-index-url=https://h/simple", "--find-links x",
			"file:///etc/passwd", "hg+https://h/x",
			"-r ../../etc/passwd", "-r r.txt", "x @ https://h/x.whl", "ray==2.0.0", "-c c.txt", "--pre",
			"x==1 --hash=md5:abc", "./x.whl", "$(id)", "-r/etc/passwd", "--frobnicate",
		}, "\n"),
	})
	want := []string{
		`there is no file "none.txt" beside the recipe`,
		"r.txt:1: an editable requirement; build a wheel, as by pip wheel --no-deps -w dist ., and name it in the " +
			`recipe: pip: {wheels: ["dist/*.whl"]}`,
		"r.txt:2: --index-url chooses where packages come from; set mirrors.fetch in the recipe",
		"r.txt:3: --extra-index-url lets any index answer for any package; say in the recipe which packages are from " +
			"there: pip: {extra_indexes: [{url: https://h/simple, packages: [NAME]}]}",
		`r.txt:4: the option "--find-links" is not taken from a requirements file; name the wheels in the recipe: `,
		"r.txt:5: a requirement by path; name a wheel under pip.wheels",
		"r.txt:6: a requirement from another version control than git; build a wheel of it",
		`r.txt:7: cannot include "../../etc/passwd"`,
		`r.txt:8: "r.txt" includes itself; remove this line`,
		`r.txt:9: "x.whl" is not named as a wheel`,
		"r.txt:10: asks for ray==2.0.0, and the recipe has Ray 2.60.0; give ray.version in the recipe and this line " +
			"the same version, or remove this line",
		`r.txt:11: there is no file "c.txt" beside the recipe`,
		`r.txt:12: the option "--pre" is not taken from a requirements file; write the pre-release into the `,
		`r.txt:13: "md5:abc" is not a hash that raybuild checks; write --hash=sha256:HEX`,
		`r.txt:14: "./x.whl" is a file, not a requirement; `,
		`r.txt:15: "$(id)" is not a requirement; `,
		`r.txt:16: cannot include "/etc/passwd" (it must be a relative path)`,
		`r.txt:17: unknown option "--frobnicate"; remove it`,
	}
	err := r.LoadFiles()
	if err == nil {
		t.Fatal("was accepted")
	}
	all := err.Error()
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("missing %q", w)
		}
	}
	if got := strings.Count(all, "\n") + 1; got != len(want) {
		t.Errorf("%d problems, want %d:\n%s", got, len(want), all)
	}
}

func TestRequirementsIncludeEachOther(t *testing.T) {
	t.Parallel()
	r := recipeWithFiles(t, "pip: {requirements: [a.txt]}",
		map[string]string{"a.txt": "-r b.txt", "b.txt": "x\n-r a.txt"})
	if err := r.LoadFiles(); err == nil || err.Error() != `b.txt:2: "a.txt" includes itself; remove this line` {
		t.Errorf("got %v", err)
	}
	many := map[string]string{}
	for _, c := range "abcdefgh" {
		many[string(c)+".txt"] = strings.Repeat("-r "+string(c+1)+".txt\n", 9)
	}
	many["i.txt"] = "x"
	r = recipeWithFiles(t, "pip: {requirements: [a.txt]}", many)
	if err := r.LoadFiles(); err == nil || !strings.Contains(err.Error(), "more than 50 requirements files") {
		t.Errorf("got %v", err)
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	q := requirementsReader{root: root, reader: &recipeReader{}}
	q.file("a.txt", "pip.requirements[0]", requirementsFrom{})
	if most := maxIncludes*9 + 1; q.files > most { // nine lines of each file that is read
		t.Errorf("%d includes were followed, want at most %d", q.files, most)
	}
}

func TestLocalFilesStayInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(outside, []byte("canary-of-the-outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]func(p string) error{
		"link.txt": func(p string) error { return os.Symlink(outside, p) },
		"up.txt":   func(p string) error { return os.Symlink("../../../../../../etc/passwd", p) },
		"fifo.txt": func(p string) error { return syscall.Mkfifo(p, 0o644) },
		"dir.txt":  func(p string) error { return os.Mkdir(p, 0o755) },
		"big.txt":  func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x\n", 1<<20)), 0o644) },
		"loop.txt": func(p string) error { return os.Symlink("loop.txt", p) },
		"bin.txt":  func(p string) error { return os.WriteFile(p, []byte{0xff, 0xfe, 0}, 0o644) },
	}
	for name, create := range files {
		t.Run(name, func(t *testing.T) {
			if err := create(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"pip: {requirements: [" + name + "]}", "env: {file: " + name + "}"} {
				r, err := LoadRecipe([]byte(text), filepath.Join(dir, "raybuild.yaml"), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := ended(t, r.LoadFiles); err == nil || strings.Contains(err.Error(), "canary") {
					t.Errorf("%s: got %v", text, err)
				}
			}
		})
	}
}

// ended gives what f returns. The test fails if f hangs.
func ended(t *testing.T, f func() error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		t.Fatal("it did not end within a minute")
		return nil
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	r := recipeWithFiles(t, "env: {file: environment.yml, python: '3.12'}", map[string]string{"environment.yml": `
name: x
channels: [conda-forge, nodefaults, bioconda]
dependencies:
  - python=3.12
  - pip
  - zlib
  - numpy >=1.26
  - pip: [torch, "Requests>=2"]
prefix: /home/me/envs/x
`})
	if err := r.LoadFiles(); err != nil {
		t.Fatal(err)
	}
	want := &EnvFile{Name: "x", Channels: []string{"conda-forge", "bioconda"}, Python: "3.12",
		Conda: []string{"numpy >=1.26", "zlib"}, Pip: []string{"torch", "requests>=2"}}
	if !reflect.DeepEqual(r.EnvFile, want) {
		t.Errorf("got %+v, want %+v", r.EnvFile, want)
	}
	if !reflect.DeepEqual(r.Env.Channels, want.Channels) {
		t.Errorf("channels %v", r.Env.Channels)
	}
	for text, want := range map[string]string{"dependencies: [python=3.11]": "3.11",
		"dependencies: [python 3.10.*]": "3.10", "dependencies: [zlib]": "3.12"} {
		r := recipeWithFiles(t, "env: {file: environment.yml}", map[string]string{"environment.yml": text})
		if err := r.LoadFiles(); err != nil || r.Env.Python != want {
			t.Errorf("%s: python %q, %v; want %q", text, r.Env.Python, err, want)
		}
	}
}

func TestEnvironmentFileRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"channels: [defaults]\n" +
			"dependencies: [zlib]": `environment.yml:1:11: channels: "defaults" is bound to Anaconda's terms of service, which are not accepted; read https://www.anaconda.com/legal and set miniconda.accept_anaconda_terms: true in the recipe, or use conda-forge`,
		"dependencies: [{pip: [-r x.txt]}]": `environment.yml:1:23: dependencies[0].pip[0]: there is no file "x.txt" beside the recipe; paths are relative to the recipe's directory`,
		"dependencies: [\"-c evil\"]":       `environment.yml:1:16: dependencies[0]: "-c evil" is not a conda package specification; write NAME, NAME=VERSION, NAME=VERSION=BUILD or "NAME>=1,<2", as in "conda-forge::numpy=1.26" or "pytorch=*=*cuda*"`,
		"variables: {A: b}":                 `environment.yml:1:12: variables: is not taken from environment.yml; move it to the recipe's image.env`,
		"":                                  `environment.yml: is empty; remove env.file, or list dependencies`,
		"dependencies:\n\t- x":              `environment.yml:2:1: a tab in the indentation; indent with spaces`,
		"dependnecies: []":                  `environment.yml:1:1: dependnecies: unknown key; did you mean "dependencies"?`,
		"dependencies: " +
			"[https://h/linux-64/x-1-0.tar.bz2]": `environment.yml:1:16: dependencies[0]: "https://h/linux-64/x-1-0.tar.bz2" is a file, not a package specification; name the package, and its channel under env.channels`,
	} {
		r := recipeWithFiles(t, "env: {file: environment.yml}", map[string]string{"environment.yml": text})
		if err := r.LoadFiles(); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
