package wheel

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// pipWheels are made wheels of version 1.0 by name, each with something that real ones seldom have.
func pipWheels(t *testing.T) map[string][]byte {
	t.Helper()
	many := make([]file, 500)
	if os.Getenv("RAYBUILD_TEST_WHEELS") != "" {
		many = make([]file, 60_000)
	}
	for i := range many {
		many[i] = file{name: fmt.Sprintf("many/%d/%d.py", i/100, i), data: fmt.Sprintf("n = %d\n", i)}
	}
	data := func(name, kind string) string { return name + "-1.0.data/" + kind + "/" }
	return map[string][]byte{
		"odd_wheel": oddWheel(t),
		"many":      makeWheel(t, "many", nil, many...),
		"pythons":   byPython(t, copied(t, "Pythons", zip.Deflate), "0"),
		"big":       byPython(t, copied(t, "Big", zip.Deflate), "1"),
		"stored":    copied(t, "Stored", zip.Store),
		"Up.Per_CASE": makeWheel(t, "Up.Per_CASE", nil, file{name: "upper.py", data: "a = 1\n"},
			file{name: data("Up.Per_CASE", "headers") + "a/b.h", data: "int x;\n"}),
		"names": makeWheel(t, "names", nil, file{name: "größe/日本.py", data: "a = 1\n"},
			file{name: "names/a b.txt", data: "a space\n"}, file{name: "names/c'd\".txt", data: "quotes\n"},
			file{name: "names/e,f.txt", data: "a comma\n"}, file{name: "names/~$%.txt", data: "signs\n"},
			file{name: "names/empty"}, file{name: data("names", "scripts") + "größe", data: "#!python\n"}),
		// An empty directory, and one that looks like that of another wheel's data.
		"folders": makeWheel(t, "folders", nil, file{name: "folders/empty/", unlisted: true},
			file{name: "folders/in.py", data: "a = 1\n"},
			file{name: "other-2.0.data/purelib/other.py", data: "b = 1\n"}),
		"namespace": makeWheel(t, "namespace", nil, file{name: "google/cloud/thing/__init__.py", data: "a = 1\n"},
			file{name: "namespace-nspkg.pth", data: "import sys\n"},
			file{name: "namespace-1.0.dist-info/namespace_packages.txt", data: "google\n"}),
		"commands": makeWheel(t, "commands", nil,
			file{name: "commands-1.0.dist-info/entry_points.txt", data: "# a comment\n; another\n[console_scripts]\n" +
				"zeta = commands:main\nalpha=commands:A.run [extra, more]\nUpper.Case-1 = commands.sub:main\n" +
				"\n[gui_scripts]\nwindow = commands:main\nzeta = commands:other\n[other]\nno = not a function\n"},
			file{name: data("commands", "scripts") + "zeta-script.py", data: "#!python\nold wrapper\n", mode: 0o755},
			file{name: data("commands", "scripts") + "alpha.exe", data: "MZ", mode: 0o755}),
		"old": makeWheel(t, "old", nil, file{name: "old-1.0.dist-info/entry_points.txt",
			data: "[console_scripts]\npip = old.cli:main\npip3 = old:x\npip9.9 = old:x\npip3.11 = old:x\n" +
				"pipx = old:x\neasy_install = old.easy:main\neasy_install-2.7 = old:x\n"},
			file{name: data("old", "scripts") + "pip9.9", data: "#!python\nold wrapper\n", mode: 0o755}),
		"scripts": makeWheel(t, "scripts", nil,
			file{name: data("scripts", "scripts") + "dos", data: "#!python\r\nprint(1)\r\n", mode: 0o755},
			file{name: data("scripts", "scripts") + "windowed", data: "#!pythonw -u\nprint(1)\n", mode: 0o755},
			file{name: data("scripts", "scripts") + "plain", data: "#!python\nprint(1)\n"},
			file{name: data("scripts", "scripts") + "none", mode: 0o755},
			file{name: data("scripts", "scripts") + "no-end", data: "#!python", mode: 0o755},
			file{name: data("scripts", "scripts") + "fixed", data: "#!/usr/bin/python3\n", mode: 0o755},
			file{name: data("scripts", "scripts") + "binary", data: "\x7fELF\x00#!python\n", mode: 0o711}),
		"twice": makeWheel(t, "twice", nil, file{name: data("twice", "scripts") + "same", data: "#!python\nscript\n"},
			file{name: data("twice", "purelib") + "twice.py", data: "it = 'data'\n"},
			file{name: data("twice", "data") + "bin/same", data: "data\n"},
			file{name: "twice.py", data: "it = 'root'\n"}),
		"info": makeWheel(t, "info", nil, file{name: "info-1.0.dist-info/INSTALLER", data: "somebody\n"},
			file{name: "info-1.0.dist-info/REQUESTED", data: "by somebody\n"},
			file{name: "info-1.0.dist-info/licenses/LICENSE", data: "free\n"},
			file{name: "info-1.0.dist-info/sboms/a.json", data: "{}\n"}),
		"windows": onWindows(t, makeWheel(t, "windows", nil, file{name: "windows/run.exe", data: "MZ", mode: 0o777},
			file{name: "windows/in.py", data: "a = 1\n", mode: 0o666},
			file{name: data("windows", "scripts") + "run.bat", data: "run\n", mode: 0o777})),
		"early": copiedAs(t, "Early", zip.Deflate, "Wheel-Version: 0.1"),
		"returns": makeWheel(t, "returns", func(s string) string { return strings.ReplaceAll(s, "\n", "\r") },
			file{name: "returns.py", data: "a = 1\n"}),
		"rows": makeWheel(t, "rows", func(s string) string {
			return s + "rows/missing.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
		}, file{name: "rows/short.py", data: "a = 1\n", unlisted: true}),
	}
}

// hashes are those of RECORD, and sizes.
var hashes = regexp.MustCompile(`,sha256=[^,]*,\d+`)

// onWindows is an archive as Python on Windows makes it: with modes of Unix, and another system's number.
func onWindows(t *testing.T, data []byte) []byte {
	t.Helper()
	entry := []byte("PK\x01\x02\x14\x03")
	if !bytes.Contains(data, entry) {
		t.Fatal("the archive has no entry made on Unix")
	}
	return bytes.ReplaceAll(data, entry, []byte("PK\x01\x02\x14\x00"))
}

// copied is the odd wheel as another project's. Its RECORD has no hashes.
func copied(t *testing.T, name string, method uint16) []byte {
	t.Helper()
	return copiedAs(t, name, method, "Wheel-Version: 1.0")
}

func copiedAs(t *testing.T, name string, method uint16, version string) []byte {
	t.Helper()
	data := oddWheel(t)
	edit := func(s string) string {
		s = strings.Replace(strings.ReplaceAll(s, "Odd_Wheel", name), "Wheel-Version: 1.0", version, 1)
		return hashes.ReplaceAllString(s, ",,")
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		h := &zip.FileHeader{Name: edit(f.Name), Method: method, ExternalAttrs: f.ExternalAttrs,
			CreatorVersion: f.CreatorVersion}
		to, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(to, edit(string(text)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
