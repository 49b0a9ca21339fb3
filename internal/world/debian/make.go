package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// epoch is the time of everything in the base images, in Unix seconds (2025-01-01): mmdebstrap takes it
// as SOURCE_DATE_EPOCH.
const epoch = 1735689600

// Made is what Make made.
type Made struct {
	// Dir holds base.tar, the debs, and an OCI layout of the two images.
	Dir string
	// Base and Patched are images of one release: Patched has another version of one package.
	Base, Patched v1.Image
}

// Deb is the path of a downloaded package.
func (m *Made) Deb(name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(m.Dir, "debs", name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find Debian package %q: %d files, want 1", name, len(found))
	}
	return found[0], nil
}

// Make makes the base images and fetches the named packages (checked by apt against the archive's
// signature) below dir, or finds them there. It needs mmdebstrap.
func Make(ctx context.Context, dir string, from Mirror, packages []string, log func(string, ...any)) (*Made, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("make base image for %q: the offline package world is for amd64 only", runtime.GOARCH)
	}
	key, err := sourceKey(packages)
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "debian-"+key)
	if made, err := open(dir); err == nil {
		return made, nil
	}
	log("make base image of Debian %s with mmdebstrap from %s", Suite, from.Archive)
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(tmp, "debs"), 0o755); err != nil {
		return nil, err
	}
	if err := mmdebstrap(ctx, tmp, from, packages); err != nil {
		return nil, err
	}
	if err := makeImages(tmp); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(tmp, "base.tar")); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return open(dir)
}

func sourceKey(packages []string) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		data, err := sources.ReadFile(name)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		return err
	})
	_, _ = fmt.Fprintf(sum, "%q", packages)
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}

func open(dir string) (*Made, error) {
	p, err := layout.FromPath(filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	index, err := p.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) != 2 {
		return nil, fmt.Errorf("open base images: %d images, want 2", len(m.Manifests))
	}
	made := &Made{Dir: dir}
	if made.Base, err = p.Image(m.Manifests[0].Digest); err != nil {
		return nil, err
	}
	made.Patched, err = p.Image(m.Manifests[1].Digest)
	return made, err
}

// mmdebstrap writes base.tar and debs/ into dir.
func mmdebstrap(ctx context.Context, dir string, from Mirror, packages []string) error {
	mode := "unshare"
	if os.Geteuid() == 0 {
		mode = "root"
	}
	args := []string{
		"--quiet", "--variant=minbase", "--mode=" + mode, "--format=tar",
		"--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		`--aptopt=Apt::Install-Recommends "false"`,
		// $1 is the new root. The download goes into it, since in mode unshare a hook can't write elsewhere.
		`--customize-hook=mkdir "$1/debs" && cd "$1/debs" && apt-get -qq -o APT::Sandbox::User=root download ` +
			strings.Join(packages, " ") + " >&2",
		"--customize-hook=sync-out /debs " + filepath.Join(dir, "debs"),
		`--customize-hook=rm -rf "$1/debs"`,
		Suite, filepath.Join(dir, "base.tar"),
		"deb " + from.Archive + " " + Suite + " main",
		"deb " + from.Archive + " " + Suite + "-updates main",
		"deb " + from.Security + " " + Suite + "-security main",
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch), "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	if err := cmd.Run(); err != nil {
		if _, missing := exec.LookPath("mmdebstrap"); missing != nil {
			return fmt.Errorf("make base image: %w: install it with: apt-get install mmdebstrap", missing)
		}
		return fmt.Errorf("make base image with mmdebstrap from %s: %w\n%s", from.Archive, err,
			lastLines(stderr.String(), 15))
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
