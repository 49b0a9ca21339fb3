package wheel

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
)

// file is a file of a wheel that a test makes.
type file struct {
	name, data string
	mode       fs.FileMode
	stored     bool
	unlisted   bool // in RECORD
}

// makeWheel makes version 1.0 of a wheel with a RECORD of its files. edit may change RECORD's text.
func makeWheel(t testing.TB, name string, edit func(string) string, files ...file) []byte {
	t.Helper()
	info := name + "-1.0.dist-info/"
	files = append(files,
		file{name: info + "METADATA", data: "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"},
		file{name: info + "WHEEL", data: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n" +
			"Tag: py3-none-any\n"})
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	add := func(m file) {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		if m.stored {
			h.Method = zip.Store
		}
		if h.SetMode(max(m.mode, 0o644)); m.mode&fs.ModeSymlink != 0 {
			h.SetMode(m.mode)
		}
		in, err := w.CreateHeader(h)
		if err == nil {
			_, err = in.Write([]byte(m.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	record := ""
	for _, m := range files {
		add(m)
		if !m.unlisted {
			sum := sha256.Sum256([]byte(m.data))
			field := m.name
			if strings.ContainsAny(field, `,"`) {
				field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
			}
			record += fmt.Sprintf("%s,sha256=%s,%d\n", field, base64.RawURLEncoding.EncodeToString(sum[:]), len(m.data))
		}
	}
	record += info + "RECORD,,\n"
	if edit != nil {
		record = edit(record)
	}
	add(file{name: info + "RECORD", data: record})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// target is where tests install.
func target() Target { return Target{Prefix: "/opt/conda/envs/ray", Python: "3.12"} }

// convert makes the layer of a wheel and reads it back: header and content by path.
func convert(t testing.TB, data []byte, to Target) (*Layer, map[string]entry, []byte) {
	t.Helper()
	w, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l, err := w.Layer(t.Context(), to, &out)
	if err != nil {
		t.Fatal(err)
	}
	return l, readLayer(t, l, bytes.NewReader(out.Bytes())), out.Bytes()
}

// entry is a file of a layer.
type entry struct {
	*tar.Header
	data string
}

// readLayer reads a layer by Go's own gzip and tar, and checks what the Layer says of it.
func readLayer(t testing.TB, l *Layer, r io.Reader) map[string]entry {
	t.Helper()
	packed, unpacked := sha256.New(), sha256.New()
	size, plain := &counter{}, &counter{}
	z, err := gzip.NewReader(io.TeeReader(r, io.MultiWriter(packed, size)))
	if err != nil {
		t.Fatal(err)
	}
	all := io.TeeReader(z, io.MultiWriter(unpacked, plain))
	in := tar.NewReader(all)
	out := map[string]entry{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out["/"+h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		out["/"+h.Name] = entry{h, string(data)}
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("sha256:%x sha256:%x %d %d", packed.Sum(nil), unpacked.Sum(nil), size.n, plain.n); got !=
		fmt.Sprintf("%s %s %d %d", l.Digest, l.DiffID, l.Size, l.Unpacked) {
		t.Errorf("the layer is %s, and says %+v", got, *l)
	}
	return out
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }
