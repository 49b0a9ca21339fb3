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
	layers, err := Write(ctx, func(int) (io.Writer, error) { return out, nil }, t, Options{}, wheels...)
	if err != nil {
		return nil, err
	}
	return &layers[0], nil
}

// Options say how layers are written. The zero value writes one layer, without byte code that is not there yet.
type Options struct {
	// Compiler makes byte code for wheels whose ByteCode is nil, while their files are written. Default: none is made.
	Compiler Compiler
	// MaxSize is how many bytes a layer may have: wheels that are larger become several layers, which are cut between
	// files. A file that is larger by itself is in a layer of its own. Default: one layer.
	MaxSize int64
	// EStargz adds a table of contents, by which containerd's stargz snapshotter mounts a layer before it is pulled.
	// Each file is fetched as a whole. Engines that do not know of it unpack the table as /stargz.index.json. It adds
	// some 0.3 % to a layer, which MaxSize does not count. Default: false.
	EStargz bool
}

// Write writes wheels as [WriteLayer] does, with options. It calls open for each layer, from 0; when it does, the
// layer before is complete.
func Write(ctx context.Context, open func(n int) (io.Writer, error), t Target, o Options,
	wheels ...*Wheel) ([]Layer, error) {
	g, err := newGroup(t, wheels)
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &series{group: g, open: open, o: o}
	defer s.abandon()
	defer cancel()
	s.compile(ctx)
	if err := s.write(ctx); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return s.done, nil
}

var errNoWheels = errors.New("there are no wheels")

// series writes a group as one layer or several.
type series struct {
	*group
	o       Options
	open    func(n int) (io.Writer, error)
	current *layerWriter // nil: none is begun
	done    []Layer
	code    map[string]bool // places of byte code
	results chan compiled   // for the wheels in order
}

// abandon ends a layer that is not complete, and waits for what is being compiled.
func (s *series) abandon() {
	for range s.results { // until it is closed
	}
	if s.current != nil {
		s.current.close()
	}
}

// layer is the layer that the next file goes into, which takes up to size bytes in it.
func (s *series) layer(place string, size int64) (*layerWriter, error) {
	if l := s.current; l != nil && s.o.MaxSize > 0 && len(l.files) > 0 && l.bound(place)+size > s.o.MaxSize {
		if err := s.finish(); err != nil {
			return nil, err
		}
	}
	if s.current == nil {
		out, err := s.open(len(s.done))
		if err != nil {
			return nil, fmt.Errorf("open layer %d: %w", len(s.done), err)
		}
		s.current = newLayerWriter(s.t, out)
		if s.o.EStargz {
			s.current.toc = &toc{Version: 1}
		}
	}
	return s.current, nil
}

// file writes a file that is made here.
func (s *series) file(place string, c content) error {
	l, err := s.layer(place, packedBound(int64(len(c.data))))
	if err != nil {
		return err
	}
	return l.file(place, c.data, c.executable)
}

// finish ends the current layer.
func (s *series) finish() error {
	l, err := s.current.finish()
	if err != nil {
		return err
	}
	s.current.close()
	s.current = nil
	in := make(map[string]bool, len(s.conflicts))
	for i, f := range l.Files {
		in[f.Path] = true
		if p := s.owner[f.Path]; p != nil {
			l.Files[i].Wheel = p.title()
		}
	}
	for _, c := range s.conflicts {
		if in[c.Path] {
			l.Conflicts = append(l.Conflicts, c)
		}
	}
	s.done = append(s.done, *l)
	return nil
}

// write writes all: the wheels' own files first, then byte code, then what an installer makes.
func (s *series) write(ctx context.Context) error {
	changed, code := make([]map[string]recordRow, len(s.wheels)), make([][]recordRow, len(s.wheels))
	for _, step := range []func(i int, p *placed) error{
		func(i int, p *placed) (err error) { changed[i], err = s.members(ctx, p); return err },
		func(i int, p *placed) (err error) { code[i], err = s.byteCode(ctx, p); return err },
		func(i int, p *placed) error { return s.generated(p, changed[i], code[i]) },
	} {
		for i, p := range s.wheels {
			if err := step(i, p); err != nil {
				return fmt.Errorf("wheel %s: %w", p.title(), err)
			}
		}
	}
	return s.finish()
}

// members writes the files of a wheel, and gives the rows of those that were changed, by place.
func (s *series) members(ctx context.Context, p *placed) (map[string]recordRow, error) {
	rows := make(map[string]recordRow, len(p.Wheel.record))
	for _, r := range p.Wheel.record {
		rows[r.path] = r
	}
	changed := map[string]recordRow{}
	for _, f := range p.files {
		if err := ctx.Err(); err != nil {
			return nil, err
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
		case s.owner[f.place] != p || s.code[f.place]:
		case data != nil:
			err = s.file(f.place, content{data, f.executable()})
		default:
			err = s.member(p.r, f, c)
		}
		if err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// member writes a file of the archive r.
func (s *series) member(r io.ReaderAt, f installed, c *checker) error {
	size := f.packed
	if f.method == stored {
		size = packedBound(size)
	}
	l, err := s.layer(f.place, size)
	if err != nil {
		return err
	}
	return l.member(r, f, c)
}

// generated writes what an installer makes for a wheel, and its RECORD.
func (s *series) generated(p *placed, changed map[string]recordRow, added []recordRow) error {
	for _, place := range slices.Sorted(maps.Keys(p.made)) {
		c := p.made[place]
		added = append(added, newRow(relative(p.t, place), c.data))
		if s.owner[place] != p {
			continue
		}
		if err := s.file(place, c); err != nil {
			return err
		}
	}
	return s.file(p.record, content{writeRecord(p.newRecord(changed, added, s.code)), false})
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
