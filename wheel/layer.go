package wheel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

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
	// TOC is the digest of an eStargz layer's table of contents, for the annotation [TOCAnnotation]. "": it has none.
	TOC digest.Digest
	// Conflicts are the layer's files that several wheels brought with different content.
	Conflicts []Conflict
}

// File is a file of a layer.
type File struct {
	Path       string // absolute
	Size       int64  // in bytes
	Executable bool
	CRC        uint32 // the CRC-32 of its content
	Wheel      string // NAME VERSION of the wheel that brings it; "" for byte code
}

// Layer writes the layer of a wheel that is installed at t, as [WriteLayer] does.
func (w *Wheel) Layer(ctx context.Context, t Target, out io.Writer) (*Layer, error) {
	return WriteLayer(ctx, out, t, w)
}

// WriteLayer writes one layer of wheels that are installed at t in this order: a tar file in gzip, media type
// application/vnd.oci.image.layer.v1.tar+gzip. It holds the files that pip installs, with the modes that pip gives
// them: the libraries' files, those of .data directories (purelib, platlib, scripts, headers, data), scripts whose
// #!python line names the environment's Python, programs for entry points, INSTALLER, REQUESTED, and RECORD with all
// of these. Directories have mode 0755. Of a file that several wheels bring, the layer has the last wheel's, and
// Conflicts names it if contents differ.
//
// Each file that is written is checked against its archive's checksum and against RECORD. Two wheels of one project are
// refused: pip would take the first away. After an error, what was written is worth nothing.
func WriteLayer(ctx context.Context, out io.Writer, t Target, wheels ...*Wheel) (*Layer, error) {
	return Write(ctx, out, t, Options{}, wheels...)
}

// Options say how a layer is written. The zero value writes it whole, without byte code that is not there yet.
type Options struct {
	// Compiler makes byte code for wheels whose ByteCode is nil, while their files are written. Default: none is made.
	Compiler Compiler
	// Parts is how many layers the wheels become, and Part, from 1, the one that is written. Parts are of much the same
	// size: the last one also has byte code and what an installer makes. A cut falls between files, so a part can
	// be larger, and one can be empty. Default: one layer.
	Part, Parts int
	// EStargz adds a table of contents, by which containerd's stargz snapshotter mounts a layer before it is pulled.
	// Each file is fetched as a whole. Engines that do not know of it unpack the table as /stargz.index.json. It adds
	// some 0.3 % to a layer. Default: false.
	EStargz bool
	// Tar gets the layer's tar file too, uncompressed, while the layer is written. Its error ends the layer. Default:
	// nobody.
	Tar io.Writer
}

// Write writes a layer of wheels as [WriteLayer] does, with options.
func Write(ctx context.Context, out io.Writer, t Target, o Options, wheels ...*Wheel) (*Layer, error) {
	if o.Parts == 0 {
		o.Part, o.Parts = 1, 1
	}
	if o.Part < 1 || o.Part > o.Parts {
		return nil, fmt.Errorf("write layer: there is no part %d of %d", o.Part, o.Parts)
	}
	g, err := newGroup(t, wheels)
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &writing{group: g, o: o, layer: newLayerWriter(g.t, out, o.Tar), parts: g.cut(o.Parts)}
	if o.EStargz {
		w.layer.toc = &toc{Version: 1}
	}
	defer w.abandon()
	defer cancel()
	w.compile(ctx)
	l, err := w.write(ctx)
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return l, nil
}

var errNoWheels = errors.New("there are no wheels")

// cut says which part each place is in, from 1, if the wheels' own files become parts of much the same size.
func (g *group) cut(parts int) map[string]int {
	total, before := int64(0), int64(0)
	for _, p := range g.wheels {
		for _, f := range p.files {
			total += f.packed
		}
	}
	in := map[string]int{}
	for _, p := range g.wheels {
		for _, f := range p.files {
			// The part that the middle of the file falls into.
			in[f.place] = 1 + int(min((before+f.packed/2)*int64(parts)/max(total, 1), int64(parts)-1))
			before += f.packed
		}
	}
	return in
}

// writing is a group that is being written as one layer.
type writing struct {
	*group
	o       Options
	layer   *layerWriter
	parts   map[string]int  // the parts of the wheels' own files, by place
	code    map[string]bool // places of byte code
	results chan compiled   // for the wheels in order
}

// abandon ends a layer that may not be complete, and waits for what is being compiled.
func (w *writing) abandon() {
	for range w.results { // until it is closed
	}
	w.layer.close()
}

// last tells whether the part is the one that has byte code and what an installer makes.
func (w *writing) last() bool { return w.o.Part == w.o.Parts }

// write writes all: the wheels' own files first, then byte code, then what an installer makes.
func (w *writing) write(ctx context.Context) (*Layer, error) {
	changed, code := make([]map[string]recordRow, len(w.wheels)), make([][]recordRow, len(w.wheels))
	steps := []func(i int, p *placed) error{
		func(i int, p *placed) (err error) { changed[i], err = w.members(ctx, p); return err }}
	if w.last() {
		steps = append(steps,
			func(i int, p *placed) (err error) { code[i], err = w.byteCode(ctx, p); return err },
			func(i int, p *placed) error { return w.generated(p, changed[i], code[i]) })
	}
	for _, step := range steps {
		for i, p := range w.wheels {
			if err := step(i, p); err != nil {
				return nil, fmt.Errorf("wheel %s: %w", p.title(), err)
			}
		}
	}
	l, err := w.layer.finish()
	if err != nil {
		return nil, err
	}
	in := make(map[string]bool, len(w.conflicts))
	for i, f := range l.Files {
		in[f.Path] = true
		if p := w.owner[f.Path]; p != nil {
			l.Files[i].Wheel = p.title()
		}
	}
	for _, c := range w.conflicts {
		if in[c.Path] {
			l.Conflicts = append(l.Conflicts, c)
		}
	}
	return l, nil
}

// members writes the files of a wheel, and gives the rows of those that were changed, by place.
func (w *writing) members(ctx context.Context, p *placed) (map[string]recordRow, error) {
	rows := make(map[string]recordRow, len(p.Wheel.record))
	for _, r := range p.Wheel.record {
		rows[r.path] = r
	}
	changed := map[string]recordRow{}
	for _, f := range p.files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		here := w.parts[f.place] == w.o.Part && w.owner[f.place] == p && !w.code[f.place]
		if !here && !w.last() {
			continue
		}
		c, err := p.newChecker(rows, f.name)
		if err != nil {
			return nil, err
		}
		data, err := p.rewritten(f, p.t, c)
		if err != nil {
			return nil, err
		}
		if data != nil {
			changed[f.place] = newRow(relative(p.t, f.place), data)
		}
		switch {
		case !here:
		case data != nil:
			err = w.layer.file(f.place, data, f.executable())
		default:
			err = w.layer.member(p.r, f, c)
		}
		if err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// generated writes what an installer makes for a wheel, and its RECORD.
func (w *writing) generated(p *placed, changed map[string]recordRow, added []recordRow) error {
	for _, place := range slices.Sorted(maps.Keys(p.made)) {
		c := p.made[place]
		added = append(added, newRow(relative(p.t, place), c.data))
		if w.owner[place] != p {
			continue
		}
		if err := w.layer.file(place, c.data, c.executable); err != nil {
			return err
		}
	}
	return w.layer.file(p.record, writeRecord(p.newRecord(changed, added, w.code)), false)
}

// executable says whether pip makes it so: a regular file that its owner, its group or others may execute.
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

// newRecord is RECORD as it is written into the environment: places instead of names in the wheel. What the wheel says
// of files in the places of byte code is left out.
func (p *placed) newRecord(changed map[string]recordRow, added []recordRow, code map[string]bool) []recordRow {
	places := map[string]string{}
	for _, f := range p.all {
		places[f.name] = f.place
	}
	rows := added
	for _, r := range p.Wheel.record {
		place, ok := places[r.path]
		delete(places, r.path)
		if code[place] {
			continue
		}
		if ok {
			r.path = relative(p.t, place)
		}
		if now, ok := changed[place]; ok {
			r = now
		}
		rows = append(rows, r)
	}
	for _, place := range places {
		if !code[place] {
			rows = append(rows, recordRow{path: relative(p.t, place)})
		}
	}
	return rows
}
