package wheel

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Layer describes a layer that was written.
type Layer struct {
	// Digest is that of the bytes that were written, DiffID that of the tar file in them.
	Digest, DiffID digest.Digest
	// Size and Unpacked are the sizes of both, in bytes.
	Size, Unpacked int64
	// Files are the layer's files in its order, without directories.
	Files []File
}

// File is a file of a layer.
type File struct {
	Path       string // absolute
	Size       int64  // in bytes
	Executable bool
}

// Layer writes the layer of a wheel that is installed at t: a tar file in gzip, media type
// application/vnd.oci.image.layer.v1.tar+gzip. It holds the files that pip installs, with the modes that pip gives
// them: the library's files, those of .data directories (purelib, platlib, scripts, headers, data), scripts whose
// #!python line names the environment's Python, programs for entry points, INSTALLER, REQUESTED, and RECORD with all
// of these. Directories have mode 0755.
//
// Each file is checked against the archive's checksum and against RECORD. After an error, what was written is worth
// nothing.
func (w *Wheel) Layer(ctx context.Context, t Target, out io.Writer) (*Layer, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	l := newLayerWriter(w.r, t, out)
	defer l.close()
	err := w.write(ctx, t, l)
	if err == nil {
		return l.finish()
	}
	return nil, fmt.Errorf("write layer of wheel %s %s: %w", w.Name, w.Version, err)
}

// installed is a member with its place in the environment.
type installed struct {
	*member
	place  string // absolute
	script bool   // of .data/scripts
}

func (w *Wheel) write(ctx context.Context, t Target, l *layerWriter) error {
	all, err := w.places(t)
	if err != nil {
		return err
	}
	made := w.generated(t)
	rows, last := map[string]recordRow{}, map[string]*member{}
	for _, r := range w.record {
		rows[r.path] = r
	}
	for _, f := range all { // of two files for one place pip leaves the later one
		last[f.place] = f.member
	}
	recordPlace := path.Join(t.library(), w.info, "RECORD")
	inOrder := slices.SortedFunc(slices.Values(all), func(a, b installed) int { return cmp.Compare(a.data, b.data) })
	changed := map[string]recordRow{}
	for _, f := range inOrder {
		if _, own := made[f.place]; own || f.place == recordPlace || last[f.place] != f.member {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := w.newChecker(rows, f.name)
		if err != nil {
			return err
		}
		data, err := w.rewritten(f, t, c)
		switch {
		case err != nil:
			return err
		case data == nil:
			err = l.member(f, c)
		default:
			changed[f.name] = newRow(relative(t, f.place), data)
			err = l.file(f.place, data, f.executable())
		}
		if err != nil {
			return err
		}
	}
	var added []recordRow
	for _, place := range slices.Sorted(maps.Keys(made)) {
		if err := l.file(place, made[place].data, made[place].executable); err != nil {
			return err
		}
		added = append(added, newRow(relative(t, place), made[place].data))
	}
	return l.file(recordPlace, writeRecord(w.newRecord(t, all, changed, added)), false)
}

// rank is pip's order: what belongs to the library, then what .data directories hold, then their scripts.
func rank(name string) int {
	parts := strings.SplitN(name, "/", 3)
	if !strings.HasSuffix(parts[0], ".data") || len(parts) == 1 {
		return 0
	}
	if parts[1] == "scripts" && len(parts) == 3 {
		return 2
	}
	return 1
}

// places says where each file of the wheel belongs, in the order in which pip installs them.
func (w *Wheel) places(t Target) ([]installed, error) {
	roots, library := t.roots(normalized(w.Name)), t.library()
	var all []installed
	for i := range w.members {
		m := &w.members[i]
		if m.isFolder {
			continue
		}
		f := installed{m, library + "/" + m.name, false}
		if r := rank(m.name); r > 0 {
			parts := append(strings.SplitN(m.name, "/", 3), "")
			root := roots[parts[1]]
			if root == "" || parts[2] == "" {
				return nil, fmt.Errorf("member %q is of no kind that a wheel can have", m.name)
			}
			if f.place, f.script = root+"/"+parts[2], r == 2; f.script && w.standsIn(f.place) {
				continue // the entry point's own comes in its place
			}
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b installed) int { return rank(a.name) - rank(b.name) })
	return all, nil
}

// executable says whether pip makes it so: a file that is on the system which made the archive.
func (m *member) executable() bool { return m.mode&0o170000 == 0o100000 && m.mode&0o111 != 0 }

// rewritten gives a script with the environment's Python in its first line; nil: it stays as it is.
func (w *Wheel) rewritten(f installed, t Target, c *checker) ([]byte, error) {
	if !f.script {
		return nil, nil
	}
	// Many "scripts" are programs of many MB: no more than the first bytes of them is looked at.
	var start [len("#!python")]byte
	// A damaged member is told when it is copied.
	if n, _ := io.ReadFull(w.content(f.member), start[:]); n < len(start) || string(start[:]) != "#!python" {
		return nil, nil
	}
	data, err := w.read(f.member)
	if err != nil {
		return nil, err
	}
	if c != nil {
		c.Write(data)
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	return append([]byte("#!"+t.python()+"\n"), rest...), nil
}

type content struct {
	data       []byte
	executable bool
}

// generated are the files that an installer makes, but RECORD.
func (w *Wheel) generated(t Target) map[string]content {
	out := map[string]content{}
	all := w.commands(t.Python)
	for _, name := range sortedNames(all) {
		out[t.Prefix+"/bin/"+name] = content{t.script(all[name]), true}
	}
	info := path.Join(t.library(), w.info)
	out[info+"/INSTALLER"] = content{[]byte(t.Installer + "\n"), false}
	if !t.Dependency {
		out[info+"/REQUESTED"] = content{nil, false}
	}
	return out
}

// newRecord is RECORD as it is written into the environment: places instead of names in the wheel.
func (w *Wheel) newRecord(t Target, all []installed, changed map[string]recordRow, added []recordRow) []recordRow {
	places := map[string]string{}
	for _, f := range all {
		places[f.name] = relative(t, f.place)
	}
	rows := added
	for _, r := range w.record {
		name := r.path
		if place, ok := places[name]; ok {
			r.path = place
			delete(places, name)
		}
		if now, ok := changed[name]; ok {
			r = now
		}
		rows = append(rows, r)
	}
	for _, place := range places {
		rows = append(rows, recordRow{path: place})
	}
	return rows
}

// relative is a place as RECORD has it.
func relative(t Target, place string) string {
	rel, err := filepath.Rel(filepath.FromSlash(t.library()), filepath.FromSlash(place))
	if err != nil {
		return place
	}
	return filepath.ToSlash(rel)
}
