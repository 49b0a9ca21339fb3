package uv

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
)

// Question is what is asked of uv. Target and Requirements are required.
type Question struct {
	// Target is what the packages must run on; with the full version of Python, "3.11.9".
	Target pylock.Target
	// Requirements of PEP 508, without URLs, paths and options.
	Requirements []string
	// Constraints are requirements that count for packages that something else needs.
	Constraints []string
	// Installed packages stay as they are, and are not in the answer. Default: none.
	Installed []Installed
	// Held are the packages of the old lock, which stay where they can. Default: none.
	Held []Held
	// Locked are packages that somebody's own lock names. They are in the answer in just these versions, whatever other
	// packages ask for. Default: none.
	Locked []Held
	// Upgrade names packages of Held that may move. Default: none.
	Upgrade []string
	// Projects that come from another index than PyPI, and from there alone: the root of the index by the
	// project's name. Default: none.
	Projects map[string]string
	// Wheels are the absolute paths of wheels on this machine, which are in the answer. Default: none.
	Wheels []string
	// Hashes are the files that a project may have, as "sha256:HEX", by its name. Default: any.
	Hashes map[string][]string
}

// Installed is a package that the environment has.
type Installed struct {
	Name, Version string
	// Metadata is the text of its METADATA. Default: it has no requirements and no extras.
	Metadata []byte
}

// Held is a package of the old lock.
type Held struct {
	Name, Version string
	// URL is where its file is: the canonical URL. If URL and SHA256 are given, no index is asked for the package
	// while the old lock holds.
	URL string
	// SHA256 of the file in hex.
	SHA256 string
	// Size of the file in bytes; 0: not known.
	Size int64
}

// Answer is what uv found.
type Answer struct {
	// Packages to install, in the order of their names.
	Packages []Package
	// Dropped are the names of held packages that have another version now, or are needed no longer. Sorted.
	Dropped []string
	// Overruled are the names of locked packages whose versions something refuses. They are in the answer all the same.
	// Sorted. Refusal is what uv says of them.
	Overruled []string
	Refusal   string
	// Warnings are what uv said beside it, such as that a version is yanked.
	Warnings []string
	// Requests counts what uv asked of the index and the file servers. Its own cache, and what the old lock
	// answers, is not in it.
	Requests int
}

// Package is one package to install.
type Package struct {
	// Name is normalised.
	Name, Version string
	// URL is the canonical URL of the file; "" for a wheel of Question.Wheels.
	URL string
	// Path is the file on this machine; "" for all others.
	Path string
	// Filename is its name.
	Filename string
	// SHA256 in hex.
	SHA256 string
	// Size in bytes; 0: the index does not say.
	Size int64
	// Sdist says that it is a source distribution.
	Sdist bool
}

// normal is a package's normalised name (PEP 503).
func normal(name string) string { return pylock.Normal(name) }

//nolint:gochecknoglobals // compiled once, when it is used
var (
	// requirement matches the beginning of a requirement: its name and its extras.
	requirement = lazy(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.?)`)
)

// name is the normalised name of a requirement. It is an error if the line is anything but a name with extras,
// versions and a marker: a URL would bring code from outside the indexes, and an option would change the question.
func name(line string) (string, error) {
	m := requirement().FindStringSubmatch(line)
	if m == nil || strings.ContainsAny(line, "\n\r\\$") || !strings.Contains("<>=!~(;", m[2]) ||
		strings.Contains(line, " --") || strings.Contains(line, " #") {
		return "", fmt.Errorf("read requirement %q: want a name with extras, versions and a marker", line)
	}
	return normal(m[1]), nil
}

// check refuses what uv must not be asked, and gives the question with normalised names.
func (q Question) check() (Question, error) {
	if strings.Count(q.Target.Python, ".") < 2 {
		return q, fmt.Errorf("read Python version %q: want a full one, such as 3.11.9", q.Target.Python)
	}
	for _, line := range slices.Concat(q.Requirements, q.Constraints) {
		if _, err := name(line); err != nil {
			return q, err
		}
	}
	q.Locked = slices.Clone(q.Locked)
	projects := map[string]string{}
	for n, root := range q.Projects {
		u, err := url.Parse(root)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
			return q, fmt.Errorf("read the index of project %q: want an http or https url", n)
		}
		projects[normal(n)] = strings.TrimRight(root, "/")
	}
	hashes := map[string][]string{}
	for n, all := range q.Hashes {
		for _, h := range all {
			hashes[normal(n)] = append(hashes[normal(n)], strings.ToLower(strings.TrimPrefix(h, "sha256:")))
		}
	}
	installed := map[string]bool{}
	for _, p := range q.Installed {
		installed[normal(p.Name)] = true
	}
	locked := map[string]bool{}
	for i, l := range q.Locked {
		l.Name = normal(l.Name)
		if installed[l.Name] || locked[l.Name] {
			return q, fmt.Errorf("ask for locked package %q: it is installed, or locked twice", l.Name)
		}
		q.Locked[i], locked[l.Name] = l, true
	}
	var held []Held
	for _, h := range q.Held {
		h.Name = normal(h.Name)
		moves := slices.ContainsFunc(q.Upgrade, func(n string) bool { return normal(n) == h.Name })
		if !moves && !installed[h.Name] && !locked[h.Name] {
			held = append(held, h)
		}
	}
	for _, w := range q.Wheels {
		if _, err := pylock.ParseWheelName(filepath.Base(w)); err != nil {
			return q, err
		}
		if !filepath.IsAbs(w) {
			return q, fmt.Errorf("read wheel %q: want an absolute path", w)
		}
	}
	q.Projects, q.Hashes, q.Held = projects, hashes, held
	return q, nil
}

// directLine is a requirement for a file on this machine.
func directLine(name, path string) string {
	return name + " @ " + (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// requirements are the lines of the requirements file: local wheels are required by their paths, locked packages by
// their versions.
func (q Question) requirements() []string {
	out := slices.Clone(q.Requirements)
	for _, l := range q.Locked {
		out = append(out, l.Name+"=="+l.Version)
	}
	for _, w := range q.Wheels {
		file, _ := pylock.ParseWheelName(filepath.Base(w)) // check has seen to it
		out = append(out, directLine(normal(file.Distribution), w))
	}
	return out
}

// pypiIndex is PyPI's index as the gateway takes it.
const pypiIndex = "http://pypi.org/simple"

// index is the one index that uv is told of. Where projects come from elsewhere it has a name of its own, so that
// uv's cache does not mix their pages with PyPI's.
func (q Question) index() string {
	if len(q.Projects) == 0 {
		return pypiIndex
	}
	h := sha256.New()
	for _, n := range slices.Sorted(maps.Keys(q.Projects)) {
		fmt.Fprintf(h, "%s %s\n", n, q.Projects[n])
	}
	return "http://" + hex.EncodeToString(h.Sum(nil)[:8]) + ".invalid/simple"
}
