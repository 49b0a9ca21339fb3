package wheel

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

const (
	// largeMember is the size of the one large file in each of the wheels that TestMemory makes.
	largeMember = 600 << 20
	// memoryBound is what the process may have in memory at most, with the test's own program.
	memoryBound = 64 << 20
	// memoryEnv tells the test's child the wheels' directory.
	memoryEnv = "RAYBUILD_TEST_MEMORY_CHILD"
)

// TestMemory converts two wheels of 600 MB in a process of its own, whose memory may not grow with them.
func TestMemory(t *testing.T) {
	if dir := os.Getenv(memoryEnv); dir != "" {
		convertLarge(t, dir)
		return
	}
	t.Parallel()
	testneeds.Long(t)
	if _, err := peak(); err != nil {
		t.Skipf("this system does not tell the memory of a process: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		makeLarge(t, filepath.Join(dir, name+".whl"), name)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
	cmd.Env = append(os.Environ(), memoryEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("convert two large wheels: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`peak (\d+) of (\d+)`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("the child does not tell its memory:\n%s", out)
	}
	used, _ := strconv.ParseInt(m[1], 10, 64)
	size, _ := strconv.ParseInt(m[2], 10, 64)
	t.Logf("%d MB of wheels took %d MB of memory", size>>20, used>>20)
	if used > memoryBound || size < 2*largeMember {
		t.Errorf("%d MB of wheels took %d MB of memory, want at most %d", size>>20, used>>20, int64(memoryBound)>>20)
	}
}

// convertLarge converts the wheels of a directory, and tells the peak of this process' memory.
func convertLarge(t *testing.T, dir string) {
	t.Helper()
	var all []*Wheel
	for _, name := range []string{"one", "two"} {
		f, err := os.Open(filepath.Join(dir, name+".whl"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		w, err := Open(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	l, err := WriteLayer(t.Context(), io.Discard, target(), all...)
	if err != nil {
		t.Fatal(err)
	}
	used, err := peak()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak %d of %d", used, l.Size)
}

// peak is the most memory that this process had, in bytes.
func peak() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no VmHWM in /proc/self/status")
	}
	kilo, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kilo << 10, err
}

// makeLarge writes a wheel with a file that is as large packed as it is unpacked. On the disk it takes little: it is a
// sparse file, because the large one has zeros, which are not compressed.
func makeLarge(t *testing.T, file, name string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := &sparse{f: f}
	w := zip.NewWriter(out)
	w.RegisterCompressor(zip.Deflate, func(to io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(to, flate.NoCompression)
	})
	info := name + "-1.0.dist-info/"
	for _, m := range []struct {
		name string
		data io.Reader
	}{
		{name + "/large.bin", io.LimitReader(zeros{}, largeMember)},
		{info + "METADATA", strings.NewReader("Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n")},
		{info + "WHEEL", strings.NewReader("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")},
		{info + "RECORD", strings.NewReader(name + "/large.bin,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" +
			info + "RECORD,,\n")},
	} {
		to, err := w.Create(m.name)
		if err == nil {
			_, err = io.CopyBuffer(to, m.data, make([]byte, 1<<20))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(out.at); err != nil {
		t.Fatal(err)
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sparse writes a file and leaves blocks of zeros out.
type sparse struct {
	f  *os.File
	at int64
}

var zeroBlock [4096]byte

func (s *sparse) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(zeroBlock)-int(s.at)%len(zeroBlock), len(p)-done)
		block := p[done : done+n]
		if !bytes.Equal(block, zeroBlock[:n]) {
			if _, err := s.f.WriteAt(block, s.at); err != nil {
				return done, err
			}
		}
		s.at, done = s.at+int64(n), done+n
	}
	return len(p), nil
}
