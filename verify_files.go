package raybuild

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/internal/show"
)

// FileDifference is a file of a layer that is not as it was made.
type FileDifference struct {
	Path string `json:"path"` // without a slash at the front; control characters are escaped
	// what differs: "content", "mode", "owner", "time", "type", "link" or "attributes", several with commas; "missing":
	// the image's layer lacks it; "added": only the image's layer has it
	What string `json:"what"`
	// the package that brings it; "": not known
	Package string `json:"package,omitempty"`
}

// differences compares the files of a layer of the image with those of the one that was made, whose image is ref.
func (p *Project) differences(ctx context.Context, is registry.Layer, ref string,
	again registry.Layer) ([]FileDifference, error) {
	theirs, err := p.readLayer(ctx, p.ofImage.Ref, is)
	if err != nil {
		return nil, err
	}
	ours, err := p.readLayer(ctx, ref, again)
	if err != nil {
		return nil, err
	}
	var out []FileDifference
	for _, name := range slices.Sorted(maps.Keys(both(theirs.files, ours.files))) {
		is, inImage := theirs.files[name]
		want, made := ours.files[name]
		d := FileDifference{Path: show.Printable(name), Package: ours.packages[name]}
		switch {
		case !inImage:
			d.What = "missing"
		case !made:
			d.What = "added"
		default:
			d.What = strings.Join(is.differs(want), ",")
		}
		if d.What != "" {
			out = append(out, d)
		}
	}
	return out, nil
}

func both(a, b map[string]layerFile) map[string]layerFile {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// layerFiles are the files of a layer, and the Python packages that brought them, as far as the layer says.
type layerFiles struct {
	files    map[string]layerFile
	packages map[string]string
}

// layerFile is what a layer says of a file.
type layerFile struct {
	header tar.Header
	sum    digest.Digest
}

// differs says in which way a file is not the wanted one.
func (f layerFile) differs(want layerFile) []string {
	var out []string
	a, b := f.header, want.header
	for _, part := range []struct {
		name string
		same bool
	}{
		{"type", a.Typeflag == b.Typeflag}, {"content", f.sum == want.sum}, {"mode", a.Mode == b.Mode},
		{"owner", a.Uid == b.Uid && a.Gid == b.Gid}, {"time", a.ModTime.Equal(b.ModTime)},
		{"link", a.Linkname == b.Linkname},
		{"attributes", maps.Equal(a.PAXRecords, b.PAXRecords) && a.Devmajor == b.Devmajor && a.Devminor == b.Devminor},
	} {
		if !part.same {
			out = append(out, part.name)
		}
	}
	return out
}

// readLayer reads the files of a layer of an image.
func (p *Project) readLayer(ctx context.Context, ref string, l registry.Layer) (_ *layerFiles, err error) {
	blob, err := p.registry.OpenBlob(ctx, ref, l.Digest, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	plain, end, err := sbom.Unpacked(blob)
	if err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", l.Digest, err)
	}
	defer end()
	out, err := readFiles(plain)
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", l.Digest, err)
	}
	return out, nil
}

// maxRecord limits the list of files of a Python package, in bytes.
const maxRecord = 64 << 20

// readFiles reads a layer's tar file.
func readFiles(r io.Reader) (*layerFiles, error) {
	out := &layerFiles{map[string]layerFile{}, map[string]string{}}
	times := map[string]int{} // a layer may have a path more than once
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), "/")
		sum := digest.SHA256.Digester()
		var record bytes.Buffer
		to := io.Writer(sum.Hash())
		if path.Base(name) == "RECORD" && strings.HasSuffix(path.Dir(name), ".dist-info") && h.Size <= maxRecord {
			to = io.MultiWriter(to, &record)
		}
		if _, err := io.Copy(to, t); err != nil {
			return nil, err
		}
		out.owned(path.Dir(name), record.Bytes())
		if times[name]++; times[name] > 1 { // no path has two slashes
			name = fmt.Sprintf("%s// (again, %d)", name, times[name])
		}
		out.files[name] = layerFile{*h, sum.Digest()}
	}
}

// owned notes which files a Python package brought, by its RECORD.
// Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
func (l *layerFiles) owned(info string, record []byte) {
	r := csv.NewReader(bytes.NewReader(record))
	r.FieldsPerRecord = -1
	for {
		row, err := r.Read()
		if err != nil || len(row) == 0 { // the rest of a list that cannot be read names nothing
			return
		}
		name, version, _ := strings.Cut(strings.TrimSuffix(path.Base(info), ".dist-info"), "-")
		file := strings.TrimPrefix(path.Join("/", path.Dir(info), row[0]), "/")
		l.packages[file] = show.Printable(strings.TrimSpace(name + " " + version))
	}
}
