package wheel

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
)

// plain is a wheel with two files, to be damaged.
func plain(t testing.TB) []byte {
	return makeWheel(t, "plain", nil,
		file{name: "plain/__init__.py", data: strings.Repeat("x = 1\n", 500)},
		file{name: "plain/more.py", data: "more = 1\n"})
}

// edit changes bytes of a wheel: the n-th place of old, from 0.
func edit(t testing.TB, data []byte, old, with string, n int) []byte {
	t.Helper()
	out, at := bytes.Clone(data), 0
	for {
		i := bytes.Index(out[at:], []byte(old))
		if i < 0 {
			t.Fatalf("the wheel has no place %d of %q", n, old)
		}
		if at += i; n == 0 {
			copy(out[at:], with)
			return out
		}
		at, n = at+len(old), n-1
	}
}

// TestWheelsThatLie has wheels that are refused, each with a word of the reason.
func TestWheelsThatLie(t *testing.T) {
	t.Parallel()
	good := plain(t)
	with := func(files ...file) []byte { return makeWheel(t, "bad", nil, files...) }
	record := func(f func(string) string) []byte {
		return makeWheel(t, "bad", f, file{name: "bad.py", data: "bad = 1\n"})
	}
	entry := bytes.Index(good, []byte("PK\x01\x02"))
	directory := func(at int, value uint32) []byte { // of its first entry
		out := bytes.Clone(good)
		binary.LittleEndian.PutUint32(out[entry+at:], value)
		return out
	}
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":               {nil, "too short"},
		"text":                  {[]byte(strings.Repeat("no wheel ", 10)), "no ZIP archive"},
		"cut off":               {good[:len(good)-30], "no ZIP archive"},
		"bytes before it":       {append([]byte("#!/bin/sh\n"), good...), "not where its end says"},
		"bytes after it":        {append(bytes.Clone(good), "x"...), "no ZIP archive"},
		"a path upwards":        {with(file{name: "../bad.py", data: "x"}), "leads out"},
		"a path upwards inside": {with(file{name: "bad/../../bad.py", data: "x"}), "leads out"},
		"an absolute path":      {with(file{name: "/etc/passwd", data: "x"}), "leads out"},
		"a path with a dot":     {with(file{name: "./bad.py", data: "x"}), "odd path"},
		"a backslash":           {with(file{name: `bad\bad.py`, data: "x"}), "backslash"},
		"a line end":            {with(file{name: "bad\n.py", data: "x"}), "control character"},
		"a link": {with(file{name: "bad.py", data: "/etc/passwd", mode: fs.ModeSymlink | 0o777}),
			"is a link"},
		"one name twice": {with(file{name: "a.py", data: "1"}, file{name: "a.py", data: "2"}),
			"there twice"},
		"a file and a directory": {with(file{name: "a", data: "1"}, file{name: "a/b", data: "2"}),
			"a file and a directory"},
		"a kind that there is not":  {with(file{name: "bad-1.0.data/secrets/x", data: "1"}), "no kind"},
		"two dist-info directories": {with(file{name: "other-1.0.dist-info/x", data: "1"}), "2 .dist-info"},
		"a command with a path": {with(file{name: "bad-1.0.dist-info/entry_points.txt",
			data: "[console_scripts]\n../../x = a:b\n"}), "entry point"},
		"a command that is no call": {with(file{name: "bad-1.0.dist-info/entry_points.txt",
			data: "[console_scripts]\nx = a; import os\n"}), "entry point"},
		"another checksum":          {directory(16, 1), "size or checksum"},
		"another size":              {directory(24, 7), "another size"},
		"another compressed size":   {directory(20, 7), "inflate: unexpected EOF"},
		"another place":             {directory(42, 1), "local header is damaged"},
		"a size beyond the archive": {directory(20, 1<<30), "reaches over"},
		"another local name":        {edit(t, good, "plain/more.py", "plain/evil.py", 0), "another name"},
		"another name":              {edit(t, good, "plain/more.py", "plain/evil.py", 1), "another name"},
		"another compression": {edit(t, good, "PK\x01\x02\x14\x03\x14\x00\x08\x00\x08\x00",
			"PK\x01\x02\x14\x03\x14\x00\x08\x00\x0c\x00", 0), "method 12"},
		"an encrypted member": {edit(t, good, "PK\x01\x02\x14\x03\x14\x00\x08\x00",
			"PK\x01\x02\x14\x03\x14\x00\x09\x00", 0), "encrypted"},
		"another hash in RECORD": {record(func(s string) string {
			return strings.Replace(s, "sha256=", "sha256=A", 1)
		}), "another hash than RECORD"},
		"a weak hash in RECORD": {record(func(s string) string { return strings.Replace(s, "sha256=", "md5=", 1) }),
			"proves nothing"},
		"a script with another hash": {makeWheel(t, "bad",
			func(s string) string { return strings.Replace(s, "sha256=", "sha256=A", 1) },
			file{name: "bad-1.0.data/scripts/x", data: "#!python\n"}), "another hash than RECORD"},
		"another Wheel-Version": {edit(t, storedWheel(t), "Wheel-Version: 1.0", "Wheel-Version: 2.0", 0),
			"another size or checksum"},
	} {
		err := tryLayer(t, c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", what, err, c.want)
		}
	}
	if err := tryLayer(t, good); err != nil {
		t.Errorf("a good wheel: %v", err)
	}
}

// storedWheel is a wheel whose metadata can be edited.
func storedWheel(t testing.TB) []byte {
	data := plain(t)
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
		to, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err == nil {
			_, err = to.Write(text)
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

func tryLayer(t testing.TB, data []byte) error {
	w, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	_, err = w.Layer(t.Context(), target(), io.Discard)
	return err
}

// TestStreamThatLies has a member whose DEFLATE stream gives more, less or other bytes than the archive says.
func TestStreamThatLies(t *testing.T) {
	t.Parallel()
	good := plain(t)
	entry := bytes.Index(good, []byte("PK\x01\x02"))
	for _, size := range []uint32{0, 1, 2999, 3001, 1 << 30} {
		data := bytes.Clone(good)
		binary.LittleEndian.PutUint32(data[entry+24:], size) // the local header has none: it uses a descriptor
		if err := tryLayer(t, data); err == nil || !strings.Contains(err.Error(), "another size or checksum") {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// TestBombEndsAtItsSize has a member that unpacks to far more than it says: it is not unpacked to its end.
func TestBombEndsAtItsSize(t *testing.T) {
	t.Parallel()
	data := makeWheel(t, "bomb", nil, file{name: "bomb.py", data: strings.Repeat("\x00", 64<<20)})
	entry := bytes.Index(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[entry+24:], 100)
	w, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	out := &counter{}
	if _, err := w.Layer(t.Context(), target(), out); err == nil || !strings.Contains(err.Error(), `"bomb.py"`) {
		t.Errorf("the error is %v", err)
	}
	if out.n > 8192 {
		t.Errorf("%d bytes were written", out.n)
	}
	all := make([]file, 0, 100)
	for i := range cap(all) {
		all = append(all, file{name: fmt.Sprintf("%d.py", i)})
	}
	many := makeWheel(t, "bomb", nil, all...)
	at := bytes.Index(many, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(many[at+20:], 0xfffffffe)
	binary.LittleEndian.PutUint32(many[at+24:], 0xfffffffe)
	if err := tryLayer(t, many); err == nil {
		t.Error("a member of 4 GB in an archive of some kB is taken")
	}
}
