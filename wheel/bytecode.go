package wheel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Compiler makes Python's byte code. Its method is called by several goroutines at the same time, and has to give the
// same bytes for the same path and source: layers have them.
type Compiler interface {
	// Compile gives the .pyc file of a source that is installed at path; nil: the source is not valid, and gets none.
	// Files have to be of the target's version of Python, and of the kind unchecked-hash (PEP 552).
	Compile(ctx context.Context, path string, source []byte) ([]byte, error)
}

// codeIndex begins byte code. The compressed files follow, and a SHA-256 of all.
type codeIndex struct {
	Version int        `json:"version"`
	Wheel   string     `json:"wheel"`
	Library string     `json:"library"`
	Files   []codeFile `json:"files"`
}

// codeFile is a .pyc file.
type codeFile struct {
	Source string `json:"source"` // its path from the library
	Size   int64  `json:"size"`   // in bytes
	Packed int64  `json:"packed"` // in bytes, as a DEFLATE stream
	CRC    uint32 `json:"crc"`
}

// Compile makes the byte code of the library's sources where they are installed at t, on all CPUs. The result is to be
// set as [Wheel.ByteCode]. It may be kept for the same bytes of the wheel, Prefix and Python of t, compiler (with the
// patch release of its Python, which may generate other code), and [Version]: it depends on nothing else. Sources that
// are not valid have no byte code, as pip leaves them. Memory grows with the compressed byte code, which is returned.
func (w *Wheel) Compile(ctx context.Context, t Target, c Compiler) ([]byte, error) {
	p, err := w.placeAt(t)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	sources := p.sources()
	files, packed := make([]codeFile, len(sources)), make([][]byte, len(sources))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	todo := make(chan int)
	for range 2 * runtime.GOMAXPROCS(0) { // one half compresses while the other waits for the compiler
		wg.Go(func() {
			z, err := flate.NewWriter(nil, level)
			for i := range todo {
				if err == nil {
					files[i], packed[i], err = p.compileFile(ctx, c, sources[i], z)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range sources {
		if ctx.Err() != nil {
			break
		}
		todo <- i
	}
	close(todo)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("compile wheel %s: %w", w.title(), context.Cause(ctx))
	}
	return p.writeCode(files, packed)
}

// sources are the files that get byte code: those of the library, without the packages' own tests.
func (p *placed) sources() []installed {
	var all []installed
	for _, f := range p.files {
		if in, ok := strings.CutPrefix(f.place, p.t.library()); ok && strings.HasPrefix(in, "/") &&
			strings.HasSuffix(in, ".py") && !strings.Contains(in, "/__pycache__/") && !strings.Contains(in, "/tests/") {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b installed) int { return strings.Compare(a.place, b.place) })
	return all
}

// compileFile gives a source's byte code, compressed by z. A source that is not valid has no name.
func (p *placed) compileFile(ctx context.Context, c Compiler, f installed,
	z *flate.Writer) (codeFile, []byte, error) {
	source, err := p.read(f.member)
	if err != nil {
		return codeFile{}, nil, err
	}
	code, err := c.Compile(ctx, f.place, source)
	if code == nil || err != nil {
		return codeFile{}, nil, err
	}
	var out bytes.Buffer
	z.Reset(&out)
	_, err = z.Write(code)
	if err := errors.Join(err, z.Close()); err != nil {
		return codeFile{}, nil, err
	}
	return codeFile{strings.TrimPrefix(f.place, p.t.library()+"/"), int64(len(code)), int64(out.Len()),
		crc32.ChecksumIEEE(code)}, out.Bytes(), nil
}

func (p *placed) writeCode(files []codeFile, packed [][]byte) ([]byte, error) {
	files = slices.DeleteFunc(files, func(f codeFile) bool { return f.Source == "" })
	head, err := json.Marshal(codeIndex{Version, p.title(), p.t.library(), files})
	if err != nil {
		return nil, err
	}
	out := append(head, '\n')
	for _, data := range packed {
		out = append(out, data...)
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...), nil
}

// readCode checks byte code, and gives its files.
func (p *placed) readCode() (files []codeFile, data []byte, err error) {
	end := len(p.ByteCode) - sha256.Size
	if end < 0 || sha256.Sum256(p.ByteCode[:end]) != [sha256.Size]byte(p.ByteCode[end:]) {
		return nil, nil, errors.New("its byte code is damaged")
	}
	head, data, _ := bytes.Cut(p.ByteCode[:end], []byte("\n"))
	var index codeIndex
	if err := json.Unmarshal(head, &index); err != nil {
		return nil, nil, fmt.Errorf("its byte code is damaged: %w", err)
	}
	if index.Version != Version || index.Wheel != p.title() || index.Library != p.t.library() {
		return nil, nil, fmt.Errorf("its byte code is that of %s at %q, version %d, not of %s at %q, version %d",
			index.Wheel, index.Library, index.Version, p.title(), p.t.library(), Version)
	}
	return index.Files, data, nil
}

// codePlace is where the byte code of a source belongs (importlib.util.cache_from_source).
func (t Target) codePlace(source string) string {
	dir, name := path.Split(source)
	if base := strings.TrimSuffix(name, ".py"); base != "" {
		name = base
	} else {
		name = name[1:]
	}
	return dir + "__pycache__/" + name + ".cpython-" + strings.Replace(t.Python, ".", "", 1) + ".pyc"
}

// compiled is the result of compiling a wheel.
type compiled struct {
	code []byte
	err  error
}

// compile begins to compile the wheels in the background, and says which places are those of byte code.
func (w *writing) compile(ctx context.Context) {
	w.code, w.results = map[string]bool{}, make(chan compiled, len(w.wheels))
	for _, p := range w.wheels {
		if p.ByteCode == nil && w.o.Compiler == nil {
			continue
		}
		for _, f := range p.sources() {
			if w.owner[f.place] == p {
				w.code[p.t.codePlace(f.place)] = true
			}
		}
	}
	go func() {
		defer close(w.results)
		if !w.last() {
			return
		}
		for _, p := range w.wheels {
			var r compiled
			if p.ByteCode == nil && w.o.Compiler != nil {
				r.code, r.err = p.Compile(ctx, w.t, w.o.Compiler)
			}
			w.results <- r
			if r.err != nil {
				return
			}
		}
	}()
}

// byteCode writes the byte code of a wheel, and gives its rows of RECORD.
func (w *writing) byteCode(ctx context.Context, p *placed) ([]recordRow, error) {
	r := <-w.results
	switch {
	case r.err != nil:
		return nil, r.err
	case r.code != nil:
		p.ByteCode = r.code
	case p.ByteCode == nil:
		return nil, ctx.Err()
	}
	files, data, err := p.codeFiles()
	if err != nil {
		return nil, err
	}
	var rows []recordRow
	for _, f := range files {
		rows = append(rows, recordRow{path: relative(p.t, f.place)})
		if w.owner[f.source] != p {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := w.layer.member(bytes.NewReader(data), f.installed, nil); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// pyc is a file of byte code, whose member is in what [placed.codeFiles] gives.
type pyc struct {
	installed
	source string // its place
}

// codeFiles are the files of the wheel's byte code, each of a source of the wheel.
func (p *placed) codeFiles() (all []pyc, data []byte, err error) {
	files, data, err := p.readCode()
	if err != nil {
		return nil, nil, err
	}
	sources := map[string]bool{}
	for _, f := range p.sources() {
		sources[f.place] = true
	}
	at := int64(0)
	for _, f := range files {
		source := p.t.library() + "/" + f.Source
		if !sources[source] || f.Size < 0 || f.Packed < 0 || f.Packed > int64(len(data))-at {
			return nil, nil, fmt.Errorf("its byte code has %q, which is no source of it, or has a wrong size", f.Source)
		}
		sources[source] = false
		place := p.t.codePlace(source)
		m := member{name: place, method: deflated, crc: f.CRC, packed: f.Packed, size: f.Size, data: at}
		at += f.Packed
		all = append(all, pyc{installed{&m, place, false}, source})
	}
	return all, data, nil
}
