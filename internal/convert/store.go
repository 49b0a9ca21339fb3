package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/llb"
	"github.com/raybuild/raybuild/wheel"
)

// store is a directory of layers:
//
//	keys/<hex>    what the layer of a key is, as JSON
//	files/<hex>   the files of a key's layer, by which those of several layers are compared
//	blobs/<hex>   layers by the digest of their bytes
//	repos/<hex>   the repositories that a layer was pushed to, by the digest of its bytes
//	code/<hex>    byte code of wheels
//	python/<hex>  interpreters that make byte code
//	trees/        layers' files, see trees
//	tmp/          layers that are being made
type store struct {
	dir   string
	whole *sync.Map // the files that this process has written or hashed
}

func newStore(dir string) store { return store{dir, &sync.Map{}} }

// known is what is kept of a layer.
type known struct {
	Digest   digest.Digest `json:"digest"`
	DiffID   digest.Digest `json:"diff_id"`
	Size     int64         `json:"size"`
	Unpacked int64         `json:"unpacked"`
	TOC      digest.Digest `json:"toc,omitempty"` // of an eStargz layer
}

func (s store) keyFile(key digest.Digest) string { return filepath.Join(s.dir, "keys", key.Encoded()) }

func (s store) filesFile(key digest.Digest) string {
	return filepath.Join(s.dir, "files", key.Encoded())
}

func (s store) codeFile(key digest.Digest) string { return filepath.Join(s.dir, "code", key.Encoded()) }

func (s store) blobFile(d digest.Digest) string { return filepath.Join(s.dir, "blobs", d.Encoded()) }

// read is what is known of a key's layer, whether its bytes are there or not.
func (s store) read(key digest.Digest) (known, bool) {
	var k known
	if key.Validate() != nil {
		return k, false
	}
	data, err := os.ReadFile(s.keyFile(key))
	if err != nil || json.Unmarshal(data, &k) != nil || k.Digest.Validate() != nil || k.DiffID.Validate() != nil {
		return k, false
	}
	return k, true
}

// get gives the layer of a key, if its bytes are there.
func (s store) get(key digest.Digest) (llb.StoredLayer, bool) {
	k, ok := s.read(key)
	if !ok {
		return llb.StoredLayer{}, false
	}
	if info, err := os.Stat(s.blobFile(k.Digest)); err != nil || info.Size() != k.Size || !s.isWhole(k.Digest) {
		return llb.StoredLayer{}, false
	}
	used(s.keyFile(key), s.filesFile(key), s.blobFile(k.Digest))
	return stored(k), true
}

func stored(k known) llb.StoredLayer {
	l := llb.StoredLayer{DiffID: k.DiffID, Descriptor: ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: k.Digest, Size: k.Size}}
	if k.TOC != "" {
		l.Annotations = map[string]string{wheel.TOCAnnotation: k.TOC.String(),
			wheel.SizeAnnotation: strconv.FormatInt(k.Unpacked, 10)}
	}
	return l
}

// isWhole tells whether a blob has its digest. It hashes a blob before it is used for the first time.
func (s store) isWhole(d digest.Digest) bool {
	file := s.blobFile(d)
	if _, ok := s.whole.Load(file); ok {
		return true
	}
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	if got, err := digest.FromReader(f); err != nil || got != d {
		_ = os.Remove(file) // it is made again
		return false
	}
	s.whole.Store(file, true)
	return true
}

func (s store) open(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("open layer %q: %w", d, err)
	}
	f, err := os.Open(s.blobFile(d))
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", d, err)
	}
	return f, nil
}

// blob is a layer that is being made.
type blob struct {
	*os.File
	kept bool
}

func (s store) create() (*blob, error) {
	for _, sub := range []string{"keys", "files", "blobs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make layer: %w", err)
		}
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "layer-*")
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	return &blob{File: f}, nil
}

const (
	sweepAfter  = 6 * time.Hour       // nobody writes a file any more that is as old
	unusedAfter = 14 * 24 * time.Hour // what nobody used for so long is removed: it can be made again
)

// sweep removes what calls that were killed have left, and what was not used for long.
func (s store) sweep(now time.Time) {
	for sub, age := range map[string]time.Duration{"tmp": sweepAfter, "keys": unusedAfter, "files": unusedAfter,
		"blobs": unusedAfter, "repos": unusedAfter, "code": unusedAfter} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			continue // there is none
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > age {
				_ = os.Remove(filepath.Join(s.dir, sub, e.Name())) // another process may have done so
			}
		}
	}
}

// used notes a use of files, so that they stay.
func used(files ...string) {
	for _, file := range files {
		now := time.Now()
		_ = os.Chtimes(file, now, now) // a store that cannot be written still serves
	}
}

// discard removes a layer that was not kept.
func (b *blob) discard() {
	if !b.kept {
		_ = b.Close()
		_ = os.Remove(b.Name())
	}
}

// keep gives a layer its name.
func (s store) keep(b *blob, key digest.Digest, made *wheel.Layer) (llb.StoredLayer, error) {
	k := known{made.Digest, made.DiffID, made.Size, made.Unpacked, made.TOC}
	data, err := json.Marshal(k)
	if err != nil {
		return llb.StoredLayer{}, err
	}
	if err := errors.Join(b.Close(), os.Rename(b.Name(), s.blobFile(k.Digest))); err != nil {
		return llb.StoredLayer{}, fmt.Errorf("keep layer: %w", err)
	}
	b.kept = true
	s.whole.Store(s.blobFile(k.Digest), true)
	err = wholefile.Write(s.filesFile(key), writeFiles(made), 0o644)
	if err == nil {
		err = wholefile.Write(s.keyFile(key), data, 0o644)
	}
	if err != nil {
		return llb.StoredLayer{}, fmt.Errorf("keep layer: %w", err)
	}
	return stored(k), nil
}

var _ io.Writer = (*blob)(nil)
