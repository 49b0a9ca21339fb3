package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func testSettings(t *testing.T) settings {
	t.Helper()
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "bin/raybuild"), "a program")
	licence := write(t, filepath.Join(dir, "LICENSE"), "a licence")
	write(t, filepath.Join(dir, "licences/example.org/module/LICENSE"), "another licence")
	files, err := archive(program, []string{licence, filepath.Join(dir, "licences") + "/"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(ocispecs.Image{
		RootFS: ocispecs.RootFS{DiffIDs: []digest.Digest{"sha256:1", "sha256:2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	base := digest.FromString("base")
	return settings{
		base: registry.Pinned{
			Ref: "docker.io/library/debian:12-slim@" + base.String(), Digest: base, Config: config,
			Platform: llb.Platform{OS: "linux", Architecture: "amd64"},
		},
		packages: []string{"ca-certificates", "runc"}, files: files, version: "v0.1.0", revision: "deee213",
	}
}

func marshalled(t *testing.T, s settings) (*llb.Definition, ocispecs.Image) {
	t.Helper()
	image, err := selfImage(s)
	if err != nil {
		t.Fatal(err)
	}
	def, err := image.Marshal(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	var config ocispecs.Image
	if err := json.Unmarshal(def.Config, &config); err != nil {
		t.Fatal(err)
	}
	return def, config
}

func TestImage(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	def, config := marshalled(t, s)
	again, _ := marshalled(t, testSettings(t))
	if def.Digest() != again.Digest() {
		t.Error("two graphs of the same files differ")
	}
	want := map[string]string{
		"org.opencontainers.image.version": "v0.1.0", "org.opencontainers.image.revision": "deee213",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.base.name":   "docker.io/library/debian:12-slim",
		"org.opencontainers.image.base.digest": s.base.Digest.String(),
	}
	for key, value := range want {
		if config.Config.Labels[key] != value {
			t.Errorf("label %s is %q, want %q", key, config.Config.Labels[key], value)
		}
	}
	if len(config.History) != 4 {
		t.Errorf("%d texts of history, want those of two base layers, the packages and raybuild", len(config.History))
	}
	s.packages = nil
	if _, config := marshalled(t, s); len(config.History) != 3 {
		t.Errorf("%d texts of history without packages, want 3", len(config.History))
	}
	s.base.Config = []byte("{")
	if _, err := selfImage(s); err == nil || !strings.Contains(err.Error(), s.base.Ref) {
		t.Errorf("a base with a broken config gives %v", err)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	r := tar.NewReader(bytes.NewReader(testSettings(t).files))
	modes, texts := map[string]int64{}, map[string]string{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(llb.Epoch()) {
			t.Errorf("%s belongs to %d:%d and is of %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		modes[h.Name], texts[h.Name] = h.Mode, string(data)
	}
	for name, want := range map[string]struct {
		mode int64
		text string
	}{
		"usr/local/bin/raybuild":                                     {0o755, "a program"},
		"usr/share/doc/raybuild/LICENSE":                             {0o644, "a licence"},
		"usr/share/doc/raybuild/licences/":                           {0o755, ""},
		"usr/share/doc/raybuild/licences/example.org/module/LICENSE": {0o644, "another licence"},
		"var/lib/raybuild/":                                          {0o1777, ""},
	} {
		if mode, there := modes[name]; !there || mode != want.mode || texts[name] != want.text {
			t.Errorf("%s: mode %o, text %q (there: %v); want %o, %q", name, mode, texts[name], there,
				want.mode, want.text)
		}
	}
	if _, err := archive(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an archive without a program gives %v", err)
	}
}

func TestRefusals(t *testing.T) {
	if err := run(t.Context(), options{}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "--output") {
		t.Errorf("no place for the image gives %v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	err := run(t.Context(), options{}, []string{"registry.example/raybuild:1"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"today"`) {
		t.Errorf("a bad SOURCE_DATE_EPOCH gives %v", err)
	}
}
