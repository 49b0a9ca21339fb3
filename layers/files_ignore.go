package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// dockerignore is the file that names what is not copied (docs.docker.com, "Build context", ".dockerignore files").
const dockerignore = ".dockerignore"

// alwaysIgnored is what belongs to a checkout and not to an image: each commit, run or machine makes it anew.
func alwaysIgnored() []string { return []string{"**/.git", "**/.venv", "**/__pycache__"} }

// ignored tells what of a copy is left out. Docker's own matcher decides; the last pattern that fits counts.
type ignored struct {
	all, own *patternmatcher.PatternMatcher // own lacks what is always left out
	dirs     map[string][2]patternmatcher.MatchInfo
	left     []string // what is left out although nobody asked for that
}

// readIgnored reads the patterns of a copy: of .dockerignore beside the recipe and in what is copied, and of the
// recipe.
func readIgnored(root *os.Root, c FileCopy) (*ignored, error) {
	from := path.Clean(c.From)
	own, err := readDockerignore(root, ".")
	if err == nil && from != "." {
		var below []string
		below, err = readDockerignore(root, from)
		own = append(own, below...)
	}
	if err != nil {
		return nil, err
	}
	recipes, err := ignorefile.ReadAll(strings.NewReader(strings.Join(c.Ignore, "\n")))
	if err != nil {
		return nil, fmt.Errorf("read ignore: %w", err)
	}
	recipes = below(from, recipes)
	out := &ignored{dirs: map[string][2]patternmatcher.MatchInfo{}}
	if out.own, err = patternmatcher.New(slices.Concat(own, recipes)); err == nil {
		// "!src" after "*" means the sources, and not what lies between them
		out.all, err = patternmatcher.New(slices.Concat(own, below(from, alwaysIgnored()), recipes))
	}
	if err != nil {
		return nil, fmt.Errorf("read patterns of %s and ignore: %w", dockerignore, err)
	}
	return out, nil
}

// readDockerignore reads the patterns of a directory's .dockerignore, relative to the recipe.
func readDockerignore(root *os.Root, dir string) ([]string, error) {
	file := path.Join(dir, dockerignore)
	f, err := root.Open(file)
	var none *fs.PathError
	if errors.As(err, &none) && (errors.Is(err, fs.ErrNotExist) || !isDir(root, dir)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return below(dir, patterns), nil
}

func isDir(root *os.Root, dir string) bool {
	info, err := root.Stat(dir)
	return err == nil && info.IsDir()
}

// below makes patterns that are relative to a directory relative to the recipe.
func below(dir string, patterns []string) []string {
	if dir == "." {
		return patterns
	}
	escaped := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
	out := make([]string, len(patterns))
	for i, p := range patterns {
		not := ""
		if strings.HasPrefix(p, "!") {
			not, p = "!", p[1:]
		}
		out[i] = not + path.Join(escaped, p)
	}
	return out
}

// leavesOut tells whether a path, relative to the recipe, is left out. Its directories were asked for before.
func (i *ignored) leavesOut(p string) (bool, error) {
	if p == "." {
		return false, nil
	}
	var (
		out  [2]bool
		err  error
		info [2]patternmatcher.MatchInfo
		up   = i.dirs[path.Dir(p)]
	)
	for n, m := range []*patternmatcher.PatternMatcher{i.all, i.own} {
		if out[n], info[n], err = m.MatchesUsingParentResults(filepath.FromSlash(p), up[n]); err != nil {
			return false, fmt.Errorf("compare %q with the patterns of %s and ignore: %w", p, dockerignore, err)
		}
	}
	if _, again := i.dirs[p]; !again && out[0] && !out[1] && path.Base(p) != "__pycache__" &&
		slices.Contains(alwaysIgnored(), "**/"+path.Base(p)) {
		i.left = append(i.left, p)
	}
	i.dirs[p] = info
	return out[0], nil
}

// takesBack tells whether something below a directory that is left out may be taken in.
func (i *ignored) takesBack() bool { return i.all.Exclusions() }

// privateAmong gives the paths of files that hold passwords, tokens or keys, by their names.
func privateAmong(from string, entries []fileEntry) []string {
	var out []string
	for _, e := range entries {
		base := path.Base(path.Join(from, e.name))
		if !e.mode.IsRegular() {
			continue
		}
		example := slices.ContainsFunc([]string{"example", "sample", "template", "dist"}, func(word string) bool {
			return strings.HasSuffix(base, "."+word)
		})
		switch {
		case base == ".env", strings.HasPrefix(base, ".env.") && !example,
			slices.Contains([]string{".netrc", ".pypirc", ".git-credentials", "id_rsa", "id_ecdsa", "id_ed25519"},
				base):
			out = append(out, path.Join(from, e.name))
		}
	}
	return out
}
