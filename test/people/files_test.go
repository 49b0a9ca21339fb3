package people_test

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/layers"
)

// packed gives the paths below /app in the archive that the site's recipe copies, with the link or the first line of
// each, and the archive's digest.
func packed(t *testing.T, g *layers.Graph) (map[string]string, string) {
	t.Helper()
	for _, f := range g.Local {
		if f.Name != "files.tar" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		out, tr := map[string]string{}, tar.NewReader(r)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return out, f.Digest.String()
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := strings.CutPrefix(h.Name, "app/"); ok && name != "" && h.Typeflag != tar.TypeDir {
				out[name] = h.Linkname + string(data)
			}
		}
	}
	t.Fatal("nothing is copied")
	return nil, ""
}

// checkout is a directory as people have it.
func checkout(s *site) {
	for name, text := range map[string]string{
		"src/main.py": "main", "src/data/big.bin": "big", "src/data/keep.csv": "keep", "README.md": "readme",
		".git/HEAD": "one", "src/lib/.git": "gitdir: ../../.git/modules/lib", ".venv/pyvenv.cfg": "home = /usr/bin",
		"src/__pycache__/main.cpython-311.pyc": "code", ".env": "PASSWORD=x", ".env.example": "PASSWORD=",
	} {
		s.Write(name, text)
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, ".venv/bin"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	link := filepath.Join(s.Dir, ".venv/bin/python")
	if err := os.Symlink("/usr/bin/python3", link); err != nil && !errors.Is(err, os.ErrExist) {
		s.t.Fatal(err)
	}
}

// TestCase7: a copy of a checkout has what belongs to the program, and leaves out what .dockerignore and ignore name.
func TestCase7CopiesOfACheckout(t *testing.T) {
	t.Parallel()
	own := []string{".env", ".env.example", "README.md", "app/main.py", "raybuild.lock", "raybuild.yaml",
		"src/data/big.bin", "src/data/keep.csv", "src/main.py"}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(own), func(n string) bool { return slices.Contains(names, n) })
	}
	for name, tt := range map[string]struct {
		dockerignore string
		more         map[string]string // further files
		copies       string            // the recipe's entry
		want         []string
		notes        string // part of the only note
		warns        bool   // of .env
	}{
		"nothing is said": {"", nil, "{from: ., to: /app}", own, ".git, .venv, src/lib/.git are left out", true},
		".dockerignore": {"# ours\n.env*\n**/data\n!**/keep.csv\n", nil, "{from: ., to: /app}",
			without(".env", ".env.example", "src/data/big.bin"), ".git, .venv", false},
		".dockerignore of Windows": {".env*\r\n*.md\r\n", nil, "{from: ., to: /app}",
			without(".env", ".env.example", "README.md"), ".git, .venv", false},
		"ignore": {"", nil, `{from: ., to: /app, ignore: [".env", "src/data/*.bin", "/README.md"]}`,
			without(".env", "src/data/big.bin", "README.md"), ".git, .venv", false},
		"everything but": {"*\n!src\n", nil, "{from: ., to: /app}",
			[]string{"src/data/big.bin", "src/data/keep.csv", "src/main.py"}, "src/lib/.git are left out", false},
		"ignore takes in again": {".env\n*.md\n", nil, `{from: ., to: /app, ignore: ["!README.md", "!.git"]}`,
			append(without(".env"), ".git/HEAD"), ".venv", false},
		"a directory, by paths of the checkout": {"src/data\n", nil, "{from: src, to: /app}", []string{"main.py"},
			"src/lib/.git are left out", false},
		"a directory with a .dockerignore of its own": {"", map[string]string{"src/.dockerignore": "data\n"},
			"{from: src, to: /app}", []string{".dockerignore", "main.py"}, "src/lib/.git", false},
		"a directory, ignore is relative to it": {"", nil, "{from: src, to: /app, ignore: [data/big.bin]}",
			[]string{"data/keep.csv", "main.py"}, "src/lib/.git", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, faultyregistry.All())
			checkout(s)
			for file, text := range tt.more {
				s.Write(file, text)
			}
			want := slices.Clone(tt.want)
			if tt.dockerignore != "" {
				s.Write(".dockerignore", tt.dockerignore)
				if strings.Contains(tt.copies, "from: .,") && !strings.HasPrefix(tt.dockerignore, "*\n") {
					want = append(want, ".dockerignore")
				}
			}
			s.Edit("raybuild.yaml", "{from: app, to: /home/ray/app}", tt.copies)
			first := s.build(raybuild.BuildOptions{})
			files, digest := packed(t, first.Graph)
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
				t.Errorf("the image gets %q, want %q", got, want)
			}
			said := slices.DeleteFunc(first.notes, func(n string) bool { return !strings.HasPrefix(n, "files: ") })
			if len(said) != 1 || !strings.Contains(said[0], tt.notes) {
				t.Errorf("it is said %q, want %q", said, tt.notes)
			}
			warns := len(first.warnings) == 1 && strings.Contains(first.warnings[0], "can read .env:")
			if warns != tt.warns {
				t.Errorf("the warnings are %q; one of .env: %v", first.warnings, tt.warns)
			}
			if slices.Contains(tt.want, ".git/HEAD") {
				return
			}
			s.Write(".git/HEAD", "two") // an empty commit
			s.Write("src/__pycache__/main.cpython-311.pyc", "other code")
			second := s.build(raybuild.BuildOptions{})
			if _, again := packed(t, second.Graph); again != digest || !second.UpToDate {
				t.Errorf("an empty commit gives another archive (%v), and the image is up to date: %v", again != digest,
					second.UpToDate)
			}
		})
	}
}

// What cannot be copied says what to do.
func TestCase7CopiesThatFail(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dockerignore, copies, says string
	}{
		"all of it is left out":    {"src\n", "{from: src, to: /app}", ".dockerignore leaves all of it out"},
		"a pattern that is none":   {"[\n", "{from: src, to: /app}", "patterns of .dockerignore"},
		"a link to somewhere else": {"", `{from: ., to: /app, ignore: ["!.venv"]}`, "name the link in the key ignore"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, faultyregistry.All())
			checkout(s)
			s.Write(".dockerignore", tt.dockerignore)
			s.Edit("raybuild.yaml", "{from: app, to: /home/ray/app}", tt.copies)
			if _, err := s.try(raybuild.BuildOptions{}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error does not say %q: %v", tt.says, err)
			}
		})
	}
}
