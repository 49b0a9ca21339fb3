package pypi

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
)

// Project is one version of a project, as its wheel is made from it.
type Project struct {
	// Name and Version as in METADATA.
	Name, Version string
	// Summary says what this is. Default: "Stand-in for tests; not NAME".
	Summary string
	// Python is Requires-Python. Default: none.
	Python string
	// Requires are the Requires-Dist lines without extras; Extras those of each extra.
	Requires []string
	Extras   map[string][]string
	// Imports are the import packages or modules. Default: the name with "-" as "_".
	Imports []string
	// Scripts are console scripts: name to "module:function".
	Scripts map[string]string
	// Files are further files of the wheel by path.
	Files map[string][]byte
	// Tag is the wheel's tag. Default: py3-none-any.
	Tag string
	// Payload is the size in bytes that a file takes in the wheel: one of incompressible bytes, or
	// of code. Default: none.
	Payload int64
	// NoMetadata leaves the project's .metadata file (PEP 658) out of the index.
	NoMetadata bool

	code *machineCode // fills the payload; nil: noise does
}

// stamp is the time of every file in a wheel: the earliest that a zip file can say.
func stamp() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// Escaped is a project's or version's form in file names (the wheel format's escaping).
func Escaped(s string) string { return strings.ReplaceAll(Normal(s), "-", "_") }

// Normal is a project's name as PEP 503 normalises it.
func Normal(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		if r == '-' || r == '_' || r == '.' {
			dash = true
			continue
		}
		if dash && b.Len() > 0 {
			b.WriteByte('-')
		}
		dash = false
		b.WriteRune(r)
	}
	return b.String()
}

func (p Project) tag() string {
	if p.Tag == "" {
		return "py3-none-any"
	}
	return p.Tag
}

// FileName is the wheel's file name.
func (p Project) FileName() string {
	return Escaped(p.Name) + "-" + p.Version + "-" + p.tag() + ".whl"
}

// Metadata is the text of the wheel's METADATA.
func (p Project) Metadata() []byte {
	var b strings.Builder
	summary := p.Summary
	if summary == "" {
		summary = "Stand-in for tests; not " + p.Name
	}
	fmt.Fprintf(&b, "Metadata-Version: 2.1\nName: %s\nVersion: %s\nSummary: %s\n", p.Name, p.Version, summary)
	if p.Python != "" {
		fmt.Fprintf(&b, "Requires-Python: %s\n", p.Python)
	}
	for _, r := range p.Requires {
		fmt.Fprintf(&b, "Requires-Dist: %s\n", r)
	}
	for _, extra := range sortedKeys(p.Extras) {
		fmt.Fprintf(&b, "Provides-Extra: %s\n", extra)
		for _, r := range p.Extras[extra] {
			req, marker, found := strings.Cut(r, ";")
			if found {
				marker = " and (" + strings.TrimSpace(marker) + ")"
			}
			fmt.Fprintf(&b, "Requires-Dist: %s ; extra == '%s'%s\n", strings.TrimSpace(req), extra, marker)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", summary)
	return []byte(b.String())
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// files are all files of the wheel but RECORD and the payload.
func (p Project) files() map[string][]byte {
	out := map[string][]byte{}
	info := Escaped(p.Name) + "-" + p.Version + ".dist-info/"
	out[info+"METADATA"] = p.Metadata()
	pure := strings.HasSuffix(p.tag(), "-none-any")
	var wheel strings.Builder
	fmt.Fprintf(&wheel, "Wheel-Version: 1.0\nGenerator: raybuild-world\nRoot-Is-Purelib: %t\n", pure)
	py, rest, _ := strings.Cut(p.tag(), "-")
	for t := range strings.SplitSeq(py, ".") {
		fmt.Fprintf(&wheel, "Tag: %s-%s\n", t, rest)
	}
	out[info+"WHEEL"] = []byte(wheel.String())
	out[info+"top_level.txt"] = []byte(strings.Join(p.imports(), "\n") + "\n")
	if len(p.Scripts) > 0 {
		var b strings.Builder
		b.WriteString("[console_scripts]\n")
		for _, name := range sortedKeys(p.Scripts) {
			fmt.Fprintf(&b, "%s = %s\n", name, p.Scripts[name])
		}
		out[info+"entry_points.txt"] = []byte(b.String())
	}
	for _, m := range p.imports() {
		file := strings.ReplaceAll(m, ".", "/") + "/__init__.py"
		out[file] = fmt.Appendf(nil, "\"\"\"Stand-in for tests; not %s.\"\"\"\n\n__version__ = %q\n", p.Name, p.Version)
	}
	for name, data := range p.Files {
		out[name] = data
	}
	return out
}

func (p Project) imports() []string {
	if p.Imports == nil {
		return []string{Escaped(p.Name)}
	}
	return p.Imports
}

// WriteWheel writes the wheel to w: the same bytes for the same Project each time.
func (p Project) WriteWheel(w io.Writer) error {
	zw := zip.NewWriter(w)
	if p.code != nil {
		zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
			return flate.NewWriter(w, flate.DefaultCompression)
		})
	}
	files := p.files()
	var record strings.Builder
	add := func(name string, method uint16, content io.Reader) error {
		h := &zip.FileHeader{Name: name, Method: method, Modified: stamp()}
		h.SetMode(0o644)
		f, err := zw.CreateHeader(h)
		if err != nil {
			return err
		}
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(f, sum), content)
		if err != nil {
			return fmt.Errorf("write wheel file %q: %w", name, err)
		}
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), n)
		return nil
	}
	if p.Payload > 0 {
		name := path.Join(strings.ReplaceAll(p.imports()[0], ".", "/"), "payload.bin")
		method, content := zip.Store, Noise(p.Name+" "+p.Version, p.Payload)
		if p.code != nil {
			method, content = zip.Deflate, p.code.reader(p.Name+" "+p.Version, p.Payload)
		}
		if err := add(name, method, content); err != nil {
			return err
		}
	}
	// The wheel format wants dist-info at the end of the archive; "*.dist-info" is among the sorted
	// names, so it is moved there.
	names := sortedKeys(files)
	slices.SortStableFunc(names, func(a, b string) int { return infoLast(a) - infoLast(b) })
	for _, name := range names {
		if err := add(name, zip.Deflate, strings.NewReader(string(files[name]))); err != nil {
			return err
		}
	}
	recordName := Escaped(p.Name) + "-" + p.Version + ".dist-info/RECORD"
	h := &zip.FileHeader{Name: recordName, Method: zip.Deflate, Modified: stamp()}
	h.SetMode(0o644)
	f, err := zw.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, record.String()+recordName+",,\n"); err != nil {
		return err
	}
	return zw.Close()
}

func infoLast(name string) int {
	if strings.Contains(name, ".dist-info/") {
		return 1
	}
	return 0
}
