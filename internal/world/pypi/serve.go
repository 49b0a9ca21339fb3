package pypi

import (
	"fmt"
	"html"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ServeHTTP serves the index at /simple/ and its files at /packages/ (PEP 503; PEP 658 with both of its
// attributes, the old and the new name). Project pages are HTML only, whatever is asked for: PEP 691
// lets an index do that.
func (i *Index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch p := r.URL.Path; {
	case strings.HasPrefix(p, "/packages/"):
		http.ServeFile(w, r, filepath.Join(i.Dir, filepath.FromSlash(path.Clean(p))))
	case p == "/simple":
		movedTo(w, "simple/")
	case p == "/simple/":
		i.root(w)
	case strings.HasPrefix(p, "/simple/"):
		i.project(w, r, strings.TrimPrefix(p, "/simple/"))
	default:
		http.NotFound(w, r)
	}
}

func (i *Index) root(w http.ResponseWriter) {
	var names []string
	for _, f := range i.Files {
		names = append(names, f.Project)
	}
	slices.Sort(names)
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	_, _ = fmt.Fprint(w, "<!DOCTYPE html>\n<html>\n"+
		"  <head><meta name=\"pypi:repository-version\" content=\"1.0\"><title>Simple index</title></head>\n  <body>\n")
	for _, n := range slices.Compact(names) {
		_, _ = fmt.Fprintf(w, "    <a href=\"%s/\">%s</a>\n", n, n)
	}
	_, _ = fmt.Fprint(w, "  </body>\n</html>\n")
}

func (i *Index) project(w http.ResponseWriter, r *http.Request, rest string) {
	name := strings.TrimSuffix(rest, "/")
	if norm := Normal(name); norm != name || rest == name {
		up := "./"
		if rest != name {
			up = "../"
		}
		movedTo(w, up+norm+"/")
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html>\n"+
		"  <head><meta name=\"pypi:repository-version\" content=\"1.0\"><title>Links for %s</title></head>\n"+
		"  <body>\n    <h1>Links for %s</h1>\n", name, name)
	found := false
	for _, f := range i.Files {
		if f.Project != name {
			continue
		}
		found = true
		fmt.Fprintf(&b, "    <a href=\"../../packages/%s#sha256=%s\"", f.Path, f.SHA256)
		if f.RequiresPython != "" {
			fmt.Fprintf(&b, " data-requires-python=\"%s\"", html.EscapeString(f.RequiresPython))
		}
		if m := f.MetadataSHA256; m != "" {
			fmt.Fprintf(&b, " data-dist-info-metadata=\"sha256=%s\" data-core-metadata=\"sha256=%s\"", m, m)
		}
		fmt.Fprintf(&b, ">%s</a><br/>\n", f.Name)
	}
	if !found {
		http.NotFound(w, r)
		return
	}
	b.WriteString("  </body>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("Cache-Control", "max-age=600, public")
	_, _ = fmt.Fprint(w, b.String())
}

// movedTo redirects to a relative place: the index doesn't know below which path it is served.
func movedTo(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
}
