package cluster

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// tree makes files of a few bytes, and returns their directory.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		n, text, ok := strings.Cut(n, "=")
		if !ok {
			text = "x"
		}
		write(t, filepath.Join(dir, n), text)
	}
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sentFiles are the names that submit would send.
func sentFiles(t *testing.T, j Job) []string {
	t.Helper()
	d, err := openJobDir(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var out []string
	for _, f := range d.files {
		out = append(out, f.name)
	}
	slices.Sort(out)
	return out
}

// names are what files and directories of the tests with git are called.
func names() []string {
	return []string{"a", "ab", "b", "foo", "foo.txt", "x]y", "A1", "é", ".h", "a b", "a\\b"}
}

// gitTree is a repository of three levels of such files.
func gitTree(t *testing.T) string {
	t.Helper()
	testneeds.Programs(t, "git")
	var files []string
	for _, n := range names() {
		files = append(files, n+".d/"+n, "d/"+n, "d/e/"+n, "foo.d/d/"+n, n)
	}
	dir := tree(t, files...)
	git(t, dir, "init", "-q")
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "core.excludesFile=/dev/null", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// asGit compares what is sent with what git takes.
func asGit(t *testing.T, dir, what string) {
	t.Helper()
	out := strings.Split(git(t, dir, "ls-files", "--others", "--exclude-standard", "-z"), "\x00")
	slices.Sort(out)
	var want []string
	for _, n := range out {
		if n != "" {
			want = append(want, n)
		}
	}
	if got := sentFiles(t, Job{Dir: dir}); !slices.Equal(got, want) {
		more := slices.DeleteFunc(slices.Clone(got), func(n string) bool { return slices.Contains(want, n) })
		less := slices.DeleteFunc(slices.Clone(want), func(n string) bool { return slices.Contains(got, n) })
		t.Errorf("%s: sent, and ignored by git: %q; not sent, and taken by git: %q", what, more, less)
	}
}

// TestIgnoreAsGit compares rules with those of the git that is installed.
func TestIgnoreAsGit(t *testing.T) {
	t.Parallel()
	dir := gitTree(t)
	for _, rules := range []string{
		"", "a", "/a", "a/", "d/", "/d/e", "d/e", "e/", "*", "*\n!*/\n!foo", "d/*\n!d/e/\n!d/e/a",
		"d\n!d/e/a", "**", "**/a",
		"d/**", "d/**/a", "**/e/**", "foo**/a", "a**", "d/**b", "***/a", "d/***", "/**/a", "**/", "foo*",
		"*.txt", "?", "??",
		"[ab]", "[!a]", "[^a]*", "[]x]*", "x[]]y", "[a-b]", "[[:upper:]]*", "[[:digit:]", "[[:nope:]]",
		"[a", "[a-", "[\\a]",
		"[--b]", "x[]-a]y", "\\a", "a\\", "a\\ b", "a b  ", "a\\\\b", "#a", "\\#a", "!a", "\\!a", "/", "!",
		"//a", "a//b",
		"a\r\nb\r\n", "\xef\xbb\xbfa", ".*", "*/a", "d/?/a", "d[/]e", "d/e/", "./a", "../a",
		"foo.d/**\n!foo.d/d/", "\\",
		"a\\ ", "a \\", "**/d/\\*", "d\\/e", "**\\/a", "[a/]b", "é", "??\n!a?", "d/e/**\n!d/e/foo", "a/**",
		"**a", "f**o",
	} {
		write(t, filepath.Join(dir, ".gitignore"), rules)
		asGit(t, dir, fmt.Sprintf("%q", rules))
	}
	write(t, filepath.Join(dir, ".gitignore"), "a\n*.txt\n/d/e/b\n")
	write(t, filepath.Join(dir, "d/.gitignore"), "!a\n/foo\ne/b\n")
	write(t, filepath.Join(dir, "d/e/.gitignore"), "!b\n!*.txt\nab\n")
	asGit(t, dir, "nested files")
}

// TestIgnoreAsGitAtRandom does the same with rules that nobody would write.
func TestIgnoreAsGitAtRandom(t *testing.T) {
	t.Parallel()
	dir := gitTree(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	parts := append(names(), "*", "**", "?", "/", "/", "/", "!", "[a", "-b]", "]", "[!", "d", "e", "\\", " ", "foo.d",
		"***", "[[:alpha:]]", "^")
	for range 150 {
		for _, file := range []string{".gitignore", "d/.gitignore"} {
			var b strings.Builder
			for range 1 + r.IntN(4) {
				for range 1 + r.IntN(5) {
					b.WriteString(parts[r.IntN(len(parts))])
				}
				b.WriteString("\n")
			}
			write(t, filepath.Join(dir, file), b.String())
		}
		top, _ := os.ReadFile(filepath.Join(dir, ".gitignore"))
		below, _ := os.ReadFile(filepath.Join(dir, "d/.gitignore"))
		asGit(t, dir, fmt.Sprintf("seed %d: %q, below d %q", seed, top, below))
		if t.Failed() {
			return
		}
	}
}

// TestJobDirHoldsItsOwn: what is ignored, and what is outside, stays here.
func TestJobDirHoldsItsOwn(t *testing.T) {
	t.Parallel()
	outside := tree(t, "secret")
	link := func(dir, name, to string) string {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, tt := range map[string]struct {
		dir  string
		job  Job
		want string // names, or part of the error
	}{
		"both kinds": {dir: tree(t, "a.py", ".env", ".gitignore=.env\nkeep\n", ".rayignore=!keep\n*.log\n", "keep",
			"b.log", "sub/.rayignore=!c.log\n", "sub/c.log"),
			want: ".gitignore .rayignore a.py sub/.rayignore sub/c.log"},
		"--exclude":     {dir: tree(t, "a", "b", "s/b"), job: Job{Exclude: []string{"/b"}}, want: "a s/b"},
		"no .gitignore": {dir: tree(t, "a", ".gitignore=a"), job: Job{NoGitignore: true}, want: ".gitignore a"},
		"never": {dir: tree(t, "a", ".git/x", "s/.git=gitdir: x", "s/__pycache__/x", ".venv/x", "s/b"),
			want: "a s/b"},
		"link to a file":      {dir: link(tree(t, "s/a"), "l", "s/a"), want: "l s/a"},
		"link to a directory": {dir: link(tree(t, "s/a"), "l", "s"), want: "l/a s/a"},
		"ignored link":        {dir: link(tree(t, "a", ".rayignore=l"), "l", "/etc/passwd"), want: ".rayignore a"},
		"link out":            {dir: link(tree(t, "a"), "l", filepath.Join(outside, "secret")), want: `link "l": it leads out`},
		"link up":             {dir: link(tree(t, "a"), "l", ".."), want: `link "l": it leads out`},
		"link to nothing":     {dir: link(tree(t, "a"), "l", "b"), want: `link "l": it leads nowhere`},
		"link to what is ignored": {dir: link(tree(t, ".env", ".gitignore=.env"), "l", ".env"),
			want: `it leads to ".env", which is not sent`},
		"link to what is in an ignored directory": {dir: link(tree(t, "d/a", ".gitignore=d/"), "l", "d/a"),
			want: `it leads to "d/a", which is not sent`},
		"link to itself": {dir: link(tree(t, "s/a"), "s/l", "../s"), want: `link "s/l": it leads to a directory that it`},
		"circle":         {dir: link(link(tree(t, "s/a", "u/b"), "s/l", "../u"), "u/m", "../s"), want: `link "s/l/m": it leads to a directory that it`},
		"ignore file that cannot be read": {dir: link(tree(t, "a"), ".gitignore", "/etc/passwd"),
			want: `read ".gitignore"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.job.Dir = tt.dir
			d, err := openJobDir(t.Context(), tt.job)
			if err != nil {
				if strings.Contains(tt.want, `"`) && strings.Contains(err.Error(), tt.want) {
					return
				}
				t.Fatalf("%v, want %s", err, tt.want)
			}
			d.close()
			if got := strings.Join(sentFiles(t, tt.job), " "); got != tt.want {
				t.Errorf("sent: %s, want %s", got, tt.want)
			}
		})
	}
}

// TestPackageDependsOnContentAlone packs the same files twice.
func TestPackageDependsOnContentAlone(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a.py", "b/c")
	digest := func() string {
		p, err := zipDir(t.Context(), Job{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		p.close()
		return p.digest
	}
	one := digest()
	if err := os.Chtimes(filepath.Join(dir, "a.py"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if two := digest(); one != two {
		t.Error("the package depends on times")
	}
	write(t, filepath.Join(dir, "a.py"), "y")
	if two := digest(); one == two {
		t.Error("another content has the same name")
	}
}

// TestPackageLimitIsOfThePackedSize packs what is much, and what is much packed, too.
func TestPackageLimitIsOfThePackedSize(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := tree(t, "train.py", "data/zeros")
	if err := os.Truncate(filepath.Join(dir, "data/zeros"), maxUpload+1<<20); err != nil {
		t.Fatal(err)
	}
	p, err := zipDir(t.Context(), Job{Dir: dir})
	if err != nil {
		t.Fatalf("zeros, which pack well: %v", err)
	}
	p.close()
	src, err := os.Create(filepath.Join(dir, "data/noise"))
	if err != nil {
		t.Fatal(err)
	}
	noise, block := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for range maxUpload>>20 + 1 {
		noise.Read(block) //nolint:errcheck // it never fails
		if _, err := src.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = zipDir(t.Context(), Job{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), `more than 100 MiB`) ||
		!strings.Contains(err.Error(), `"data/" (212 MB)`) {
		t.Errorf("noise, which does not: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "raybuild-job-*.zip"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// FuzzParseIgnore: any ignore file is read, and a line that names a file with each byte escaped ignores that file
// and no other.
func FuzzParseIgnore(f *testing.F) {
	f.Add("a\n!b\n[x", "a b/c*")
	f.Add("**/[[:alpha:]]\\", "[!é")
	f.Fuzz(func(t *testing.T, text, name string) {
		decide(parseIgnore(text), name, false)
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\x00\r\n") {
			return
		}
		var b strings.Builder
		for i := range len(name) {
			if name[i] != '/' {
				b.WriteByte('\\')
			}
			b.WriteByte(name[i])
		}
		rules := parseIgnore(text + "\n/" + b.String() + "\n")
		if decide(rules, name, false) != 1 {
			t.Errorf("%q does not ignore %q", b.String(), name)
		}
		alone := parseIgnore("/" + b.String())
		if decide(alone, name+"x", false) != 0 || decide(alone, "x"+name, false) != 0 {
			t.Errorf("%q ignores more than %q", b.String(), name)
		}
	})
}
