package wheel

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// repack writes a wheel again by Python's zipfile, which is what most wheels are made by: sizes stand in the local
// headers, in zip64 fields if big is set.
const repack = `
import sys, zipfile
source, target, big = zipfile.ZipFile(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
    for i in source.infolist():
        j = zipfile.ZipInfo(i.filename)
        j.external_attr, j.compress_type = i.external_attr, i.compress_type
        with out.open(j, "w", force_zip64=big) as f:
            f.write(source.read(i))
`

// repacked is the odd wheel as Python writes it.
func repacked(t *testing.T, big string) []byte {
	t.Helper()
	return byPython(t, oddWheel(t), big)
}

// byPython is a wheel as Python writes it.
func byPython(t *testing.T, data []byte, big string) []byte {
	t.Helper()
	testneeds.Programs(t, "python3")
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.whl"), filepath.Join(dir, "to.whl")
	if err := os.WriteFile(from, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "python3", "-c", repack, from, to,
		big).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestLayerOfPythonsArchives has one layer, uncompressed, however the archive was written.
func TestLayerOfPythonsArchives(t *testing.T) {
	t.Parallel()
	want, _, _ := convert(t, oddWheel(t), target())
	for _, big := range []string{"0", "1"} {
		got, _, _ := convert(t, repacked(t, big), target())
		if got.DiffID != want.DiffID || got.Unpacked != want.Unpacked {
			t.Errorf("zip64 %s: the layer is %+v, want that of %+v", big, got, want)
		}
	}
}

// TestLocalHeadersThatLie changes each field of the first local header: programs that read the archive from its
// beginning would see another file.
func TestLocalHeadersThatLie(t *testing.T) {
	t.Parallel()
	for _, big := range []string{"0", "1"} {
		good := repacked(t, big)
		for what, at := range map[string]int{"flags": 7, "method": 8, "checksum": 14, "compressed size": 18, "size": 22,
			"length of the name": 26, "first letter": 30} {
			data := bytes.Clone(good)
			data[at] ^= 8
			if err := tryLayer(t, data); err == nil || !strings.Contains(err.Error(), "local header") {
				t.Errorf("zip64 %s: another %s: %v", big, what, err)
			}
		}
	}
}

// TestArchivesOver4GB reads a directory whose sizes do not fit 32 bits: the bytes are not there, the checks are.
func TestArchivesOver4GB(t *testing.T) {
	t.Parallel()
	data := repacked(t, "0")
	end := len(data) - endSize
	le := binary.LittleEndian
	count, length, offset := le.Uint16(data[end+10:]), le.Uint32(data[end+12:]), le.Uint32(data[end+16:])
	end64 := le.AppendUint32(nil, end64Signature)
	end64 = le.AppendUint64(end64, end64Size-12)
	end64 = append(end64, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, v := range []uint64{uint64(count), uint64(count), uint64(length), uint64(offset)} {
		end64 = le.AppendUint64(end64, v)
	}
	locator := append(le.AppendUint32(nil, locatorSignature), 0, 0, 0, 0)
	locator = append(le.AppendUint64(locator, uint64(end)), 1, 0, 0, 0)
	last := bytes.Clone(data[end:])
	for i := 8; i < 20; i++ {
		last[i] = 0xff
	}
	large := append(append(append(bytes.Clone(data[:end]), end64...), locator...), last...)
	want, _, _ := convert(t, data, target())
	got, _, _ := convert(t, large, target())
	if got.Digest != want.Digest {
		t.Errorf("with a zip64 end the layer is %s, want %s", got.Digest, want.Digest)
	}
	if err := tryLayer(t, edit(t, large, "PK\x06\x07", "PK\x06\x08", 0)); err == nil {
		t.Error("a damaged zip64 end is taken")
	}
}

// FuzzOpen holds that no archive panics, and that a layer is only made of one that Go's own reader takes.
func FuzzOpen(f *testing.F) {
	f.Add(plain(f))
	f.Add(storedWheel(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := tryLayer(t, data); err != nil {
			return
		}
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("archive/zip refuses what became a layer: %v", err)
		}
		w, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil || len(w.members) != len(r.File) {
			t.Fatalf("%d members, and archive/zip sees %d (%v)", len(w.members), len(r.File), err)
		}
	})
}
