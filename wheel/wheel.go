package wheel

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/klauspost/compress/flate"
)

// Version is the version of the rules by which a layer is made. A layer of another version may have other bytes.
const Version = 3

// Wheel is a wheel that was opened. Its directory and its metadata are read and checked; its files are not yet.
type Wheel struct {
	// Name and Version are the distribution's, as the .dist-info directory spells them.
	Name, Version string
	// Dependency leaves out REQUESTED, which tells that somebody asked for the wheel by name. Default: false.
	Dependency bool
	// ByteCode is what [Wheel.Compile] gave, now or before, for the same target. Layers have it, then. [Write] with a
	// Compiler sets it if it is nil.
	ByteCode []byte

	r       io.ReaderAt
	info    string // the .dist-info directory
	members []member
	record  []recordRow
	console map[string]entryPoint // commands by name
	gui     map[string]entryPoint
}

// Open reads a wheel of size bytes. An error names the file in the wheel and what is wrong with it.
func Open(r io.ReaderAt, size int64) (*Wheel, error) {
	members, err := readDirectory(r, size)
	if err != nil {
		return nil, fmt.Errorf("open wheel: %w", err)
	}
	w := &Wheel{r: r, members: members}
	for _, check := range []func() error{w.checkNames, w.findInfo, w.readAbout, w.readEntryPoints, w.readRecord} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("open wheel: %w", err)
		}
	}
	return w, nil
}

// checkNames refuses names that lead out of a directory, that are there twice, and that are a file and a directory.
func (w *Wheel) checkNames() error {
	seen := make(map[string]bool, len(w.members)) // whether it is a file
	for _, m := range w.members {
		name := strings.TrimSuffix(m.name, "/")
		switch {
		case name == "" || path.IsAbs(name) || path.Clean(name) != name ||
			strings.HasPrefix(name, "../") || name == "..":
			return fmt.Errorf("member %q leads out of the wheel, or has an odd path", m.name)
		case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
			return fmt.Errorf("member %q has a control character or a backslash in its name", m.name)
		case len(name) > 4096:
			return fmt.Errorf("member %q…: its name is longer than 4096 bytes", name[:60])
		case has(seen, name):
			return fmt.Errorf("member %q is there twice", m.name)
		case m.mode&0o170000 != 0 && m.mode&0o170000 != 0o100000 && m.mode&0o170000 != 0o040000:
			return fmt.Errorf("member %q is a link or a device, not a file", m.name)
		}
		seen[name] = !m.isFolder
	}
	for _, m := range w.members {
		for dir := path.Dir(strings.TrimSuffix(m.name, "/")); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("member %q is a file and a directory", dir)
			}
		}
	}
	return nil
}

func has(m map[string]bool, key string) bool { _, ok := m[key]; return ok }

// findInfo finds the .dist-info directory, of which there has to be one.
func (w *Wheel) findInfo() error {
	found := map[string]bool{}
	for _, m := range w.members {
		if top, _, in := strings.Cut(m.name, "/"); in && strings.HasSuffix(top, ".dist-info") {
			found[top] = true
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("it has %d .dist-info directories, not one", len(found))
	}
	for w.info = range found {
	}
	name, version, ok := strings.Cut(strings.TrimSuffix(w.info, ".dist-info"), "-")
	if !ok || name == "" || version == "" {
		return fmt.Errorf("the directory %q is not named NAME-VERSION.dist-info", w.info)
	}
	w.Name, w.Version = name, version
	return nil
}

var aboutLine = regexp.MustCompile(`(?m)^([\w-]+):[ \t]*(.*?)[ \t\r]*$`)

var wheelVersion = regexp.MustCompile(`^[01](\.[0-9]+)*$`)

// readAbout reads WHEEL. Whether the library is pure does not matter: conda's Pythons have one directory for both.
func (w *Wheel) readAbout() error {
	text, err := w.text("WHEEL")
	if err != nil {
		return err
	}
	about := map[string]string{}
	for _, m := range aboutLine.FindAllStringSubmatch(text, -1) {
		about[m[1]] = m[2]
	}
	// The first tools, of 2012, wrote 0.1.
	if v := cmp.Or(about["Wheel-Version"], "1.0"); !wheelVersion.MatchString(v) {
		return fmt.Errorf("its Wheel-Version is %q, not 1.x", v)
	}
	return nil
}

var errMissing = errors.New("is missing")

// text reads a file of the .dist-info directory.
func (w *Wheel) text(name string) (string, error) {
	name = w.info + "/" + name
	for i := range w.members {
		if w.members[i].name != name {
			continue
		}
		data, err := w.read(&w.members[i])
		return string(data), err
	}
	return "", fmt.Errorf("member %q %w", name, errMissing)
}

// Metadata gives the METADATA of the distribution: its core metadata. Open has not read it.
func (w *Wheel) Metadata() ([]byte, error) {
	text, err := w.text("METADATA")
	if err != nil {
		return nil, fmt.Errorf("read wheel's metadata: %w", err)
	}
	return []byte(text), nil
}

// content gives the bytes of a member, unchecked.
func (w *Wheel) content(m *member) io.Reader {
	raw := io.NewSectionReader(w.r, m.data, m.packed)
	if m.method == stored {
		return raw
	}
	return flate.NewReader(bufio.NewReader(raw))
}

// read unpacks a member that is small.
func (w *Wheel) read(m *member) ([]byte, error) {
	if m.size > maxText {
		return nil, fmt.Errorf("member %q has %d bytes, which is more than %d", m.name, m.size, maxText)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(w.content(m), m.size+1)); err != nil {
		return nil, fmt.Errorf("unpack member %q: %w", m.name, err)
	}
	if int64(out.Len()) != m.size || crc32.ChecksumIEEE(out.Bytes()) != m.crc {
		return nil, m.lies()
	}
	return out.Bytes(), nil
}

// lies is the error of a member whose bytes are not those that the directory tells of.
func (m *member) lies() error {
	return fmt.Errorf("member %q has another size or checksum than the archive says", m.name)
}
