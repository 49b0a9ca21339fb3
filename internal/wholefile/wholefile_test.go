package wholefile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileIsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	for _, text := range []string{"one", "two"} {
		if err := Write(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := Write(filepath.Join(dir, "missing", "a"), nil, 0o644); err == nil {
		t.Error("a file in a directory that is not there was written")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestOutputFileIsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	for _, failed := range []error{errors.New("the build failed"), nil} {
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, bytes.NewReader(make([]byte, 10))); err != nil {
			t.Fatal(err)
		}
		if err := f.Finish(0o644, failed); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); (err == nil) != (failed == nil) {
			t.Errorf("after %v: %v", failed, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
