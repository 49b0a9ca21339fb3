package sbom

import (
	"encoding/csv"
	"errors"
	"io"
	"path"
	"strings"
)

// claimLines reads a list that dpkg keeps of a package's files, one path a line.
func (s *scan) claimLines(name string, data []byte) error {
	stem := strings.TrimSuffix(name, ".list")
	for _, kind := range []string{"list", "md5sums", "conffiles", "postinst", "preinst", "postrm", "prerm", "triggers",
		"shlibs", "symbols", "templates", "config"} {
		s.found.Claims = append(s.found.Claims, stem+"."+kind) // dpkg's own notes of the package
	}
	for line := range strings.Lines(string(data)) {
		s.claim("", strings.TrimSpace(line))
	}
	return nil
}

// claimSums reads the list of an image without dpkg: a checksum and a path a line.
func (s *scan) claimSums(name string, data []byte) error {
	s.found.Claims = append(s.found.Claims, name, strings.TrimSuffix(name, ".md5sums"))
	for line := range strings.Lines(string(data)) {
		if _, file, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			s.claim("", file)
		}
	}
	return nil
}

// claimRecord reads RECORD of a Python package, whose paths are relative to the directory of packages.
func (s *scan) claimRecord(name string, data []byte) error {
	root := path.Dir(path.Dir(name))
	rows := csv.NewReader(strings.NewReader(string(data)))
	rows.FieldsPerRecord, rows.LazyQuotes = -1, true
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.claim(root, row[0])
	}
}

func (s *scan) claim(root, file string) {
	if file == "" {
		return
	}
	if path.IsAbs(file) {
		root = ""
	}
	s.found.Claims = append(s.found.Claims, strings.TrimPrefix(path.Join("/", root, file), "/"))
}

// Unowned are the files of an image that no package lists as its own, sorted. owned tells of a layer, by its place,
// whether all its files belong to something else that has a name.
func Unowned(layers []*Found, owned func(layer int) bool) []string {
	links := map[string]string{}
	has := map[string]bool{} // whether a file still needs an owner
	for n, l := range layers {
		remove(l.Gone, func(gone func(string) bool) {
			for f := range has {
				if gone(f) {
					delete(has, f)
				}
			}
		})
		for f, to := range l.Links {
			links[f] = to
		}
		for _, f := range l.Files {
			has[f] = !owned(n)
		}
	}
	for _, l := range layers {
		for _, c := range l.Claims {
			c = throughLinks(c, links)
			if _, ok := has[c]; ok {
				has[c] = false
			}
		}
	}
	var out []string
	for f, needs := range has {
		if needs && !ofOwned(f, has) {
			out = append(out, plain(f))
		}
	}
	return sorted(out)
}

// throughLinks follows links of a path's directories, such as /lib to /usr/lib.
func throughLinks(name string, links map[string]string) string {
	for range 40 { // as many as Linux follows
		moved := false
		for i, c := range name {
			if c != '/' {
				continue
			}
			if to, ok := links[name[:i]]; ok {
				name, moved = path.Join(to, name[i:]), true
				break
			}
		}
		if !moved {
			break
		}
	}
	return name
}

// ofOwned tells whether a file is the byte code of a source that has an owner.
func ofOwned(file string, has map[string]bool) bool {
	dir, base := path.Split(file)
	above, ok := strings.CutSuffix(dir, "__pycache__/")
	module, _, cut := strings.Cut(base, ".")
	if !ok || !cut || !strings.HasSuffix(base, ".pyc") {
		return false
	}
	needs, there := has[above+module+".py"]
	return there && !needs
}
