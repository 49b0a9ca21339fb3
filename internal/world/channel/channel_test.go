package channel

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func archiveOf(t *testing.T, p *pkg) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func untar(t *testing.T, r io.Reader, into map[string]string) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		into[h.Name] = string(data)
		if h.Typeflag == tar.TypeSymlink {
			into[h.Name] = "-> " + h.Linkname
		}
	}
}

// contents reads an archive with other code than what wrote it.
func contents(t *testing.T, p *pkg, data []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	if p.bz2 {
		untar(t, bzip2.NewReader(bytes.NewReader(data)), out)
		return out
	}
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range zr.File {
		names = append(names, f.Name)
		if f.Method != zip.Store {
			t.Errorf("%s is compressed twice", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, ".tar.zst") {
			z, err := zstd.NewReader(r)
			if err != nil {
				t.Fatal(err)
			}
			untar(t, z, out)
			z.Close()
		}
	}
	if want := fmt.Sprintf("[metadata.json pkg-%[1]s.tar.zst info-%[1]s.tar.zst]",
		p.dist()); fmt.Sprint(names) != want {
		t.Errorf("parts %v, want %s", names, want)
	}
	return out
}

func TestPackagesHaveTheRealFormat(t *testing.T) {
	for _, p := range oddities([]byte("\x7fELF " + placeholder + "\x00")) {
		t.Run(p.dist(), func(t *testing.T) {
			data := archiveOf(t, p)
			if !bytes.Equal(data, archiveOf(t, p)) {
				t.Error("two makings differ")
			}
			got := contents(t, p, data)
			var index struct{ Name, Version, Build, Subdir string }
			if err := json.Unmarshal([]byte(got["info/index.json"]), &index); err != nil || index.Name != p.name ||
				index.Version != p.version || index.Build != p.build || index.Subdir != p.subdir() {
				t.Errorf("index.json: %v %+v", err, index)
			}
			var paths struct {
				Paths []struct {
					Path string `json:"_path"`
					Type string `json:"path_type"`
					Sum  string `json:"sha256"`
					Hold string `json:"prefix_placeholder"`
					Size int    `json:"size_in_bytes"`
				}
			}
			if err := json.Unmarshal([]byte(got["info/paths.json"]), &paths); err != nil ||
				len(paths.Paths) != len(p.entries) {
				t.Fatalf("paths.json: %v, %d paths of %d", err, len(paths.Paths), len(p.entries))
			}
			for _, e := range paths.Paths {
				data, ok := got[e.Path]
				if e.Type == "softlink" {
					if !ok || !strings.HasPrefix(data, "-> ") {
						t.Errorf("%s: %q", e.Path, data)
					}
					continue
				}
				if !ok || e.Sum != fmt.Sprintf("%x", sha256.Sum256([]byte(data))) || e.Size != len(data) ||
					(e.Hold != "") != strings.Contains(data, placeholder) {
					t.Errorf("%s in paths.json is not the file: %+v", e.Path, e)
				}
				if !strings.Contains("\n"+got["info/files"], "\n"+e.Path+"\n") {
					t.Errorf("%s is not in info/files", e.Path)
				}
			}
			if !strings.Contains(got["info/about.json"], "raybuild's offline package world") {
				t.Errorf("about.json doesn't say what the package is: %s", got["info/about.json"])
			}
		})
	}
}

func TestPlaceholderHasRoomForLongPrefixes(t *testing.T) {
	if len(placeholder) != 255 {
		t.Errorf("%d characters, want 255", len(placeholder))
	}
}

func TestEditsOfPythonFailWhenDebianChanges(t *testing.T) {
	var entries []entry
	for _, ed := range pythonEdits {
		name := pyLib + ed.file
		found := false
		for i := range entries {
			if entries[i].path == name {
				entries[i].data, found = append(entries[i].data, ed.was...), true
			}
		}
		if !found {
			entries = append(entries, entry{path: name, data: []byte(ed.was)})
		}
	}
	if err := editPython(entries); err != nil {
		t.Fatal(err)
	}
	if err := editPython(entries); err == nil {
		t.Error("a second run found what the first replaced")
	}
	if _, err := editProgram([]byte("no such text")); err == nil {
		t.Error("an interpreter without the text was taken")
	}
}

func TestInstallerHeaderFitsItsPayload(t *testing.T) {
	dir := t.TempDir()
	p := oddities(nil)[0]
	data := archiveOf(t, p)
	in, err := writeInstaller(dir, installerSpecs[0], []byte("#!program\n"), []made{{pkg: p, data: data, md5: "0123"}})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, in.Path))
	if err != nil {
		t.Fatal(err)
	}
	if in.SHA256 != fmt.Sprintf("%x", sha256.Sum256(file)) || in.Size != int64(len(file)) {
		t.Errorf("%+v is not the file", in)
	}
	lines := strings.Count(installerScript, "\n")
	header := strings.SplitAfterN(string(file), "\n", lines+1)
	if !strings.HasPrefix(header[lines], "#!program\n") ||
		strings.Contains(strings.Join(header[:lines], ""), "@MD5@") ||
		!strings.Contains(header[1], "STAND-IN FOR TESTS") {
		t.Errorf("header ends in %q, then %q", header[lines-1], header[lines][:20])
	}
	got := map[string]string{}
	untar(t, strings.NewReader(header[lines][len("#!program\n"):]), got)
	if want := "@EXPLICIT\nhttps://repo.anaconda.com/pkgs/main/" +
		p.subdir() + "/" + p.file() + "#0123\n"; got["pkgs/env.txt"] != want || got["pkgs/"+p.file()] != string(data) {
		t.Errorf("payload: env.txt is %q, want %q", got["pkgs/env.txt"], want)
	}
}
