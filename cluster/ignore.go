package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// maxIgnoreFile is how large an ignore file may be.
const maxIgnoreFile = 1 << 20

// ignoreRule is a line of an ignore file.
type ignoreRule struct {
	glob   glob
	keeps  bool // it begins with !
	dir    bool // it is of directories alone
	byName bool // it is of a path's last element
}

// parseIgnore reads an ignore file as git does.
func parseIgnore(text string) []ignoreRule {
	var rules []ignoreRule
	for line := range strings.Lines(strings.TrimPrefix(text, "\xef\xbb\xbf")) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line = trimSpaces(line); line == "" || line[0] == '#' || strings.ContainsRune(line, 0) {
			continue
		}
		var r ignoreRule
		line, r.keeps = strings.CutPrefix(line, "!")
		line, r.dir = strings.CutSuffix(line, "/")
		r.byName = !strings.Contains(line, "/")
		var ok bool
		if r.glob, ok = compileGlob(strings.TrimPrefix(line, "/")); ok && line != "" {
			rules = append(rules, r)
		}
	}
	return rules
}

// trimSpaces removes spaces at a line's end, but for those with a backslash before them.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if line[i] == ' ' {
			continue
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// ignorer says what of a directory stays here. Of each kind of ignore file the last line that matches a path decides,
// in the file that is nearest to it, as with git. A path stays here if one of the kinds says so, as Ray has it.
type ignorer struct {
	root  *os.Root
	kinds []string                           // names of ignore files
	given []ignoreRule                       // of the top, beside those of files
	read  map[string]map[string][]ignoreRule // by directory and kind
}

// neverSent are names that nobody wants in a job. A version of its own of .venv does not run elsewhere.
func neverSent() []string { return []string{".git", "__pycache__", ".venv"} }

func newIgnorer(root *os.Root, j Job) *ignorer {
	g := &ignorer{root: root, kinds: []string{".gitignore", ".rayignore"}, read: map[string]map[string][]ignoreRule{}}
	if j.NoGitignore {
		g.kinds = g.kinds[1:]
	}
	g.given = parseIgnore(strings.Join(j.Exclude, "\n"))
	return g
}

// ignored says whether a path stays here, of which the directories are sent.
func (g *ignorer) ignored(name string, dir bool) (bool, error) {
	if slices.Contains(neverSent(), path.Base(name)) || decide(g.given, name, dir) == 1 {
		return true, nil
	}
	for _, kind := range g.kinds {
		for at := path.Dir(name); ; at = path.Dir(at) {
			rules, err := g.rules(at, kind)
			if err != nil {
				return false, err
			}
			below := name
			if at != "." {
				below = strings.TrimPrefix(name, at+"/")
			}
			switch decide(rules, below, dir) {
			case 1:
				return true, nil
			case 0:
				if at != "." {
					continue
				}
			}
			break
		}
	}
	return false, nil
}

// hidden says whether a path or a directory of it stays here.
func (g *ignorer) hidden(name string, dir bool) (bool, error) {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if yes, err := g.ignored(name[:i], true); yes || err != nil {
			return yes, err
		}
	}
	return g.ignored(name, dir)
}

// rules reads the ignore file of a directory.
func (g *ignorer) rules(dir, kind string) ([]ignoreRule, error) {
	if rules, ok := g.read[dir][kind]; ok {
		return rules, nil
	}
	var rules []ignoreRule
	text, err := readIgnore(g.root, path.Join(dir, kind))
	switch {
	case err == nil:
		rules = parseIgnore(text)
	case !errors.Is(err, fs.ErrNotExist):
		// Without its rules, more would leave this machine than somebody wants.
		return nil, fmt.Errorf("read %q: %w; mend or remove it", path.Join(dir, kind), err)
	}
	if g.read[dir] == nil {
		g.read[dir] = map[string][]ignoreRule{}
	}
	g.read[dir][kind] = rules
	return rules, nil
}

func readIgnore(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() // it is read
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return "", err // git does not mind such a directory
	}
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err == nil && len(data) > maxIgnoreFile {
		err = fmt.Errorf("it has more than %d MiB", maxIgnoreFile>>20)
	}
	return string(data), err
}

// decide finds the last rule that matches a path: 1 ignores it, -1 keeps it, 0: none does.
func decide(rules []ignoreRule, name string, dir bool) int {
	for _, r := range slices.Backward(rules) {
		matched := name
		if r.byName {
			matched = path.Base(name)
		}
		if r.dir && !dir || !r.glob.match(matched) {
			continue
		}
		if r.keeps {
			return -1
		}
		return 1
	}
	return 0
}
