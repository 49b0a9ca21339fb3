package layers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// makeDeb is a .deb as dpkg-deb makes it (deb(5)): control and data as archives, compressed.
func makeDeb(t *testing.T, ext string, files map[string]string) []byte {
	t.Helper()
	archive := func(files map[string]string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := w.WriteHeader(&tar.Header{Name: "." + name, Typeflag: tar.TypeReg, Mode: 0o644,
				Size: int64(len(files[name]))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(files[name])); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return compressed(t, ext, b.Bytes())
	}
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar" + ext, archive(map[string]string{"/control": "Package: x\n"})},
		{"data.tar" + ext, archive(files)}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func compressed(t *testing.T, ext string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ext {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return data
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A package counts with what the base's dpkg unpacks of it.
func TestDebSizeLeavesOutWhatDpkgLeavesOut(t *testing.T) {
	t.Parallel()
	noise := func(n int) string {
		r := rand.New(rand.NewPCG(1, uint64(n)))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	files := map[string]string{
		"/usr/bin/x": noise(100_000), "/usr/share/doc/x/manual": noise(300_000),
		"/usr/share/doc/x/copyright": noise(20_000), "/usr/share/man/man1/x.1.gz": noise(50_000),
	}
	minimal := []string{"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
		"path-exclude=/usr/share/man/*"}
	for _, ext := range []string{"", ".xz", ".zst"} {
		deb := makeDeb(t, ext, files)
		for _, tt := range []struct {
			filters []string
			want    int64
		}{{minimal, 120_000}, {[]string{dpkgAll}, 470_000}} {
			for _, compression := range []string{"gzip", "zstd"} {
				got, err := DebSize(bytes.NewReader(deb), LockImage{DpkgPaths: tt.filters}, compression)
				if err != nil || got < tt.want || got > tt.want+2000 {
					t.Errorf("data.tar%s with filters %q in a layer of %s: %d bytes, %v, want about %d", ext,
						tt.filters, compression, got, err, tt.want)
				}
			}
		}
		for _, cut := range []int{0, 7, 30, 100, len(deb) / 2} {
			if n, err := DebSize(bytes.NewReader(deb[:cut]), LockImage{}, "gzip"); err == nil {
				t.Errorf("data.tar%s, cut after %d bytes of %d: taken for a package of %d", ext, cut, len(deb), n)
			}
		}
	}
}

// What filters paths is read as dpkg reads it, of configurations of real images: Ubuntu's (its image's
// /etc/dpkg/dpkg.cfg.d/excludes, shortened) and mmdebstrap's.
func TestDpkgPaths(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"Ubuntu": {"# Drop all man pages\npath-exclude=/usr/share/man/*\n\n# …\n" +
			"path-include=/usr/share/doc/*/copyright\n",
			[]string{"path-exclude=/usr/share/man/*", "path-include=/usr/share/doc/*/copyright"}},
		"mmdebstrap": {"force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude /usr/share/info/*\n",
			[]string{"path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/info/*"}},
		"none": {"no-debsig\nlog /var/log/dpkg.log\n", []string{dpkgAll}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := dpkgPaths([]byte(tt.text)); !slices.Equal(got, tt.want) {
				t.Errorf("read as %q, want %q", got, tt.want)
			}
		})
	}
	skips := pathFilters([]string{"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"})
	for path, want := range map[string]bool{"/usr/share/doc/a/b/c": true, "/usr/share/doc/a/copyright": false,
		"/usr/share/document": false, "/usr/bin/x": false} {
		if skips(path) != want {
			t.Errorf("dpkg leaves out %s: %v, want %v", path, !want, want)
		}
	}
}

func FuzzDebSize(f *testing.F) {
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = DebSize(bytes.NewReader(data), LockImage{}, "gzip") // an error is as good as a size
	})
}
