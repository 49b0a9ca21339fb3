package sbom

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest line that is read of a list of packages, in bytes.
const maxLine = 4 << 20

// stanzas reads blocks of "Name: value" lines, as dpkg and Debian's archives write them (deb822(5)). Names of fields
// are in lower case. Of a value with several lines it keeps the line breaks.
func stanzas(data []byte, each func(fields map[string]string)) error {
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxLine)
	fields, last := map[string]string{}, ""
	end := func() {
		if len(fields) > 0 {
			each(fields)
		}
		fields, last = map[string]string{}, ""
	}
	for s.Scan() {
		line := strings.TrimRight(s.Text(), "\r")
		switch name, value, ok := strings.Cut(line, ":"); {
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += "\n" + strings.TrimSpace(line)
			}
		case ok && !strings.ContainsAny(name, " \t"):
			last = strings.ToLower(name)
			fields[last] = strings.TrimSpace(value)
		default:
			last = "" // not a field: dpkg would refuse the file
		}
	}
	end()
	return s.Err()
}

// ReadDpkgStatus reads dpkg's database of packages: /var/lib/dpkg/status, or a file of status.d, as images without dpkg
// have it. It gives the packages that are installed. Sources of the form: deb-control(5), dpkg(1).
func ReadDpkgStatus(data []byte) ([]Part, error) {
	var out []Part
	err := stanzas(data, func(f map[string]string) {
		if status := strings.Fields(f["status"]); f["package"] == "" ||
			len(status) > 0 && status[len(status)-1] != "installed" {
			return // only its configuration is left, or it is half there
		}
		p := Part{Kind: Deb, Name: plain(f["package"]), Version: plain(f["version"]), Arch: plain(f["architecture"])}
		source, version, _ := strings.Cut(f["source"], "(")
		if source = strings.TrimSpace(source); source != "" {
			p.Source = plain(source)
		}
		if version = strings.Trim(version, " ()"); version != "" && version != p.Version {
			p.SourceVersion = plain(version)
		}
		if p.Source == p.Name {
			p.Source = ""
		}
		out = append(out, p)
	})
	if err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	return out, nil
}

// ReadCopyright reads the licences of a machine-readable copyright file of a Debian package (DEP-5). "" if it is none:
// most others are prose.
func ReadCopyright(data []byte) string {
	const format = "debian.org/doc/packaging-manuals/copyright-format"
	machine, first := false, true
	var found []string
	seen := map[string]bool{}
	err := stanzas(data, func(f map[string]string) {
		if first {
			machine, first = strings.Contains(f["format"], format), false
		}
		name, _, _ := strings.Cut(f["license"], "\n")
		name = plain(strings.Join(strings.Fields(name), " "))
		if f["files"] == "" || strings.HasPrefix(f["files"], "debian/") || name == "" || len(name) > maxLicense ||
			seen[name] {
			return
		}
		seen[name] = true
		found = append(found, name)
	})
	if err != nil || !machine {
		return ""
	}
	return both(found)
}

// both joins licences that all apply. Each may be an expression itself.
func both(all []string) string {
	if len(all) == 1 {
		return all[0]
	}
	out := make([]string, len(all))
	for i, l := range all {
		if out[i] = l; strings.Contains(strings.ToUpper(l), " OR ") && !strings.HasPrefix(l, "(") {
			out[i] = "(" + l + ")"
		}
	}
	return strings.Join(out, " AND ")
}

// ReadOSRelease reads ID and VERSION_ID of os-release(5), as "debian-12". "": it has no ID.
func ReadOSRelease(data []byte) string {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && (name == "ID" || name == "VERSION_ID") {
			values[name] = plain(strings.Trim(value, `"'`))
		}
	}
	if values["ID"] == "" || values["VERSION_ID"] == "" {
		return values["ID"]
	}
	return values["ID"] + "-" + values["VERSION_ID"]
}

// readAll reads a file of an image that must not be longer than most.
func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return data, err
}
