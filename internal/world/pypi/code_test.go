package pypi

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"os"
	"testing"
)

// A wheel of code takes what its payload says, unpacks to what real libraries do, and is the same each time.
func TestWheelsOfCodeDeflateAsLibrariesDo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code, err := readCode(t.Context(), func(context.Context) ([]byte, error) { return os.ReadFile(self) })
	if err != nil {
		t.Fatal(err)
	}
	const size = 8 * mb
	made := map[string][]byte{}
	for _, version := range []string{"1", "1 again", "2"} {
		p := Project{Name: "torch", Version: version[:1], Payload: size, code: code}
		var wheel bytes.Buffer
		if err := p.WriteWheel(&wheel); err != nil {
			t.Fatal(err)
		}
		made[version] = wheel.Bytes()
	}
	if !bytes.Equal(made["1"], made["1 again"]) || bytes.Equal(made["1"], made["2"]) {
		t.Error("a wheel depends on something else than its name and version")
	}
	zr, err := zip.NewReader(bytes.NewReader(made["1"]), int64(len(made["1"])))
	if err != nil {
		t.Fatal(err)
	}
	payload := zr.File[0]
	if got := float64(payload.CompressedSize64) / size; got < 0.95 || got > 1.05 {
		t.Errorf("a payload of %d bytes takes %d in the wheel", size, payload.CompressedSize64)
	}
	if times := float64(payload.UncompressedSize64) / float64(payload.CompressedSize64); times < 1.5 || times > 4 {
		t.Errorf("it unpacks to %.2f times its size, want that of machine code", times)
	}
	r, err := payload.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("unpack it: %v", err)
	}
}

func TestTheFullScaleNeedsCode(t *testing.T) {
	if _, _, err := Make(t.Context(), t.TempDir(), Options{Scale: Full, Ray: os.DirFS(t.TempDir())}); err == nil {
		t.Error("wheels of the full scale were made of nothing")
	}
}
