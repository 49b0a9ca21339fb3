package wheel

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
)

// TestTableOfContents reads layers by the library of the snapshotter that mounts them.
func TestTableOfContents(t *testing.T) {
	t.Parallel()
	plain, _ := write(t, Options{Compiler: &fakeCompiler{}}, open(t, sourceWheel(t)), open(t, oddWheel(t)))
	for _, parts := range []int{1, 3} {
		layers, out := write(t, Options{Compiler: &fakeCompiler{}, EStargz: true, Parts: parts},
			open(t, sourceWheel(t)), open(t, oddWheel(t)))
		files := 0
		for i := range layers {
			l := &layers[i]
			files += len(l.Files)
			want := readLayer(t, l, bytes.NewReader(out[i].Bytes()))
			r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(out[i].Bytes()), 0, int64(out[i].Len())))
			if err != nil {
				t.Fatal(err)
			}
			v, err := r.VerifyTOC(l.TOC)
			if err != nil {
				t.Fatal(err)
			}
			for place, f := range want {
				if place != "/"+estargz.TOCTarName {
					checkEntry(t, r, v, place, f)
				}
			}
			if offset, size, err := estargz.OpenFooter(io.NewSectionReader(bytes.NewReader(out[i].Bytes()), 0,
				int64(out[i].Len()))); err != nil || size != estargz.FooterSize || offset <= 0 {
				t.Errorf("the footer has %d bytes and says %d, %v", size, offset, err)
			}
		}
		if files != len(plain[0].Files) {
			t.Errorf("%d layers have %d files, not %d", len(layers), files, len(plain[0].Files))
		}
	}
	if TOCAnnotation != estargz.TOCJSONDigestAnnotation {
		t.Errorf("the annotation is %s", TOCAnnotation)
	}
}

// checkEntry compares an entry of the table, and the bytes that it leads to.
func checkEntry(t *testing.T, r *estargz.Reader, v estargz.TOCEntryVerifier, place string, f entry) {
	t.Helper()
	e, ok := r.Lookup(place)
	switch {
	case !ok:
		t.Errorf("the table lacks %s", place)
		return
	case e.Size != f.Size || e.Mode != f.Mode || e.UID != f.Uid || !e.ModTime().Equal(f.ModTime):
		t.Errorf("%s is %+v, and the file %+v", place, e, f.Header)
	case (e.Type == "dir") != strings.HasSuffix(place, "/"):
		t.Errorf("%s is a %s", place, e.Type)
	}
	if e.Type == "dir" || e.Size == 0 {
		return
	}
	in, err := r.OpenFile(place)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(in)
	if err != nil || string(data) != f.data {
		t.Errorf("%s has %d bytes, %v; want %d", place, len(data), err, len(f.data))
	}
	check, err := v.Verifier(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := check.Write(data); err != nil || !check.Verified() {
		t.Errorf("%s does not have the digest in the table", place)
	}
}
