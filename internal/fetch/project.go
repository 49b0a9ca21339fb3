package fetch

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
)

// strays tells whether a file that a project's page lists is of another project. pip would take it for that one, and
// so an index that answers for one project would answer for all. Pages that are no project's, such as a list of files
// in one .html, say nothing.
func strays(name string, page *url.URL) bool {
	project := normalName(path.Base(page.Path))
	if !isArchive(name) || project == "" || strings.HasSuffix(page.Path, ".html") {
		return false
	}
	if stem, ok := strings.CutSuffix(name, ".whl"); ok {
		dist, _, _ := strings.Cut(stem, "-")
		return normalName(dist) != project
	}
	// The name of a source distribution may have hyphens. Its version begins with a digit.
	version, ok := strings.CutPrefix(normalName(name), project+"-")
	version = strings.TrimPrefix(version, "v")
	return !ok || version == "" || version[0] < '0' || version[0] > '9'
}

// normalName is a project's name as indexes compare it.
// Source: https://packaging.python.org/en/latest/specifications/name-normalization/
func normalName(name string) string {
	return strings.ToLower(separators().ReplaceAllString(name, "-"))
}

//nolint:gochecknoglobals // compiled once, when it is used
var separators = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[-_.]+`) })
