package cli

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/raybuild/raybuild"
)

// pushedPackages puts an image with packages into a registry that serves in dir, and gives its name.
func pushedPackages(t *testing.T, dir string) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	site := "opt/lib/python3.11/site-packages/"
	for _, f := range [][2]string{
		{"usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"},
		{"var/lib/dpkg/status", "Package: libssl3\nStatus: install ok installed\nVersion: 3.0.14-1\nSource: openssl\n"},
		{site + "ray-2.40.0.dist-info/METADATA", "Name: ray\nVersion: 2.40.0\nLicense: Apache 2.0\n"},
		{site + "evil-1.dist-info/METADATA", "Name: \x1b[31mevil-" + strings.Repeat("x", 100) + "\nVersion: 1\n"},
		{"opt/lone", "x"},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Typeflag: tar.TypeReg, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	to := serve(t, dir) + "/others:1"
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestSBOM(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := pushedPackages(t, dir)
	got := call(t, dir, "sbom", image)
	var spdx struct{ SpdxVersion string }
	if err := json.Unmarshal([]byte(got.stdout), &spdx); err != nil || spdx.SpdxVersion != "SPDX-2.3" ||
		!strings.Contains(got.stdout, "pkg:deb/debian/libssl3@3.0.14-1?distro=debian-12&upstream=openssl") ||
		!strings.Contains(got.stdout, `"Apache-2.0"`) || strings.Contains(got.stdout, "\x1b") {
		t.Errorf("%v: %+v", err, got)
	}
	got = call(t, dir, "sbom", "--format", "cyclonedx", "--files", "-o", "bill.json", image)
	data, err := os.ReadFile(filepath.Join(dir, "bill.json"))
	if err != nil || !strings.Contains(string(data), `"specVersion":"1.6"`) || !strings.Contains(string(data), `"/opt/lone"`) ||
		!strings.Contains(got.stderr, "files belong to no package") || got.stdout != "" {
		t.Errorf("%v: %+v\n%s", err, got, data)
	}
	for _, args := range [][]string{{"sbom"}, {"sbom", "--format", "x", image}, {"sbom", "UPPER"},
		{"inspect", "--packages", "--lock", image}, {"audit", "UPPER"}, {"audit", "a", "b"}} {
		if got := call(t, dir, args...); got.code != exitUsage {
			t.Errorf("%q: exit code %d: %s", args, got.code, got.stderr)
		}
	}
}

func TestInspectPackages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := pushedPackages(t, dir)
	got := call(t, dir, "inspect", "--packages", image)
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(line); n > 81 || strings.Contains(line, "\x1b") {
			t.Errorf("a line has %d characters: %q", n, line)
		}
	}
	if !strings.Contains(got.stdout, "packages  3") || !strings.Contains(got.stdout, "libssl3") {
		t.Errorf("%+v", got)
	}
	var all []raybuild.ImagePackage
	got = call(t, dir, "inspect", "--packages", "--json", image)
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || len(all) != 3 || all[0].Source != "openssl" {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := pushedPackages(t, dir)
	const advisory = `{"id": "DEBIAN-CVE-2026-1", "upstream": ["CVE-2026-1"], "summary": "bad\u001b[31m", "affected": [{"package":
		{"ecosystem": "Debian:12", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"},
		{"fixed": "3.0.15-1"}]}]}]}`
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(advisory), 0o644); err != nil {
		t.Fatal(err)
	}
	got := call(t, dir, "audit", "--db", "a.json", image)
	if got.code != exitChanges || !strings.Contains(got.stdout, "CVE-2026-1  libssl3 3.0.14-1: mended in 3.0.15-1") ||
		!strings.Contains(got.stdout, "CVE-2025-1979  ray 2.40.0: mended in 2.43.0") ||
		strings.Contains(got.stdout, "\x1b") || got.stderr != "" {
		t.Errorf("%+v", got)
	}
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(line); n > 81 {
			t.Errorf("a line has %d characters: %q", n, line)
		}
	}
	var report raybuild.AuditReport
	got = call(t, dir, "audit", "--json", "--ignore", "CVE-2025-1979", image)
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Packages != 3 ||
		got.code != exitChanges {
		t.Errorf("%v: %+v", err, got)
	}
	for _, a := range report.Advisories {
		if a.ID == "CVE-2025-1979" || a.Package != "ray" {
			t.Errorf("%+v", a)
		}
	}
	if got := call(t, dir, "audit"); got.code != exitFailed || !strings.Contains(got.stderr, "name an image, or run") {
		t.Errorf("without lock: %+v", got)
	}
}
