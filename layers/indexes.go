package layers

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"
)

// Candidates lists the places of a canonical URL in the mirrors, best first. A project that the recipe
// takes from an extra index has no other place: so nobody can replace its files by publishing on PyPI.
func (r *Recipe) Candidates(mirrors []Mirror, canonical *url.URL, resolved time.Time) []Candidate {
	if project, ok := projectPage(canonical); ok && r.ownIndex(project) != "" {
		return nil
	}
	return Candidates(mirrors, canonical, resolved)
}

// projectPage is the project of a page of PyPI's index.
func projectPage(u *url.URL) (string, bool) {
	rest, ok := strings.CutPrefix(u.Host+u.Path, "pypi.org/simple/")
	if !ok || rest == "" {
		return "", false
	}
	return NormalName(path.Base(rest)), true
}

// ownIndex is the root of the index that the recipe takes a project from, or "".
func (r *Recipe) ownIndex(project string) string {
	for _, i := range r.Pip.ExtraIndexes {
		for _, p := range i.Packages {
			if NormalName(p) == project {
				return strings.TrimRight(i.URL, "/")
			}
		}
	}
	return ""
}

// pipOptions name the pages of the projects that come from the recipe's own
// indexes. The sandbox asks for all in plain http. allow lets it ask for an index, and gives the plain URL.
func (p python) pipOptions(allow func(index string) (string, error)) ([]string, error) {
	var out []string
	for _, i := range p.ExtraIndexes {
		root, err := allow(strings.TrimRight(i.URL, "/"))
		if err != nil {
			return nil, fmt.Errorf("read url of index %s: %w", i.URL, err)
		}
		_, host, _ := strings.Cut(root, "://")
		host, _, _ = strings.Cut(host, "/")
		out = append(out, "--trusted-host", host)
		for _, name := range i.Packages {
			out = append(out, "--find-links", root+"/"+NormalName(name)+"/")
		}
	}
	return out, nil
}
