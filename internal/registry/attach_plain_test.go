package registry

import (
	"archive/tar"
	"bytes"
	"testing"
)

// FuzzReadPlainLayer: whatever a layer holds, it is a document or an error.
func FuzzReadPlainLayer(f *testing.F) {
	whole, err := plainLayer([]byte("a: 1\n"))
	if err != nil {
		f.Fatal(err)
	}
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	h := &tar.Header{Typeflag: tar.TypeSymlink, Name: plainFile, Linkname: "/etc/passwd"}
	if err := w.WriteHeader(h); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(other.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, layer []byte) {
		if data, err := readPlainLayer(layer); err == nil && len(data) > maxAttachment {
			t.Errorf("%d bytes of a layer give %d", len(layer), len(data))
		}
	})
}

// The image of the same documents is the same, so that it is attached once.
func TestPlainImageIsTheSameAgain(t *testing.T) {
	t.Parallel()
	subject, err := describeBytes([]byte("{}"), "application/vnd.oci.image.manifest.v1+json")
	if err != nil {
		t.Fatal(err)
	}
	first, blobs, err := plainImage(subject, documents())
	again, _, errAgain := plainImage(subject, documents())
	if err != nil || errAgain != nil || first.Digest != again.Digest || len(blobs) != len(documents())+1 {
		t.Errorf("%s and %s, %d blobs; errors %v, %v", first.Digest, again.Digest, len(blobs), err, errAgain)
	}
	for i, d := range documents() {
		if data, err := readPlainLayer(blobs[i]); err != nil || !bytes.Equal(data, d.Data) {
			t.Errorf("document %d is read as %q, error %v", i, data, err)
		}
	}
}
