package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The package that the patched image has another version of: nothing in the archive asks for one exact
// version of it, so that apt goes on working there.
const (
	patchedPackage = "libdebconfclient0"
	patchedFile    = "libdebconfclient.so.0.0.0"
)

// sourcesList is the canonical deb822 file of Debian's own images (docker-library's debian:bookworm has
// this form).
const sourcesList = `Types: deb
URIs: ` + CanonicalArchive + `
Suites: ` + Suite + ` ` + Suite + `-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: ` + CanonicalSecurity + `
Suites: ` + Suite + `-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

// makeImages turns dir/base.tar into two images in the OCI layout dir/images.
func makeImages(dir string) error {
	p, err := layout.Write(filepath.Join(dir, "images"), empty.Index)
	if err != nil {
		return err
	}
	for _, patched := range []bool{false, true} {
		rootfs := filepath.Join(dir, fmt.Sprintf("rootfs-%t.tar", patched))
		if err := writeRootfs(filepath.Join(dir, "base.tar"), rootfs, patched); err != nil {
			return fmt.Errorf("write root file system: %w", err)
		}
		img, err := makeImage(rootfs)
		if err != nil {
			return err
		}
		if err := p.AppendImage(img); err != nil {
			return fmt.Errorf("write base image: %w", err)
		}
		if err := os.Remove(rootfs); err != nil {
			return err
		}
	}
	return nil
}

func makeImage(rootfs string) (v1.Image, error) {
	layer, err := tarball.LayerFromFile(rootfs, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: time.Unix(epoch, 0).UTC()}
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer,
		History: v1.History{Created: created, CreatedBy: "mmdebstrap --variant=minbase " + Suite,
			Comment: "base image of raybuild's offline package world"}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Created = "amd64", "linux", created
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.Config.Cmd = []string{"bash"}
	return mutate.ConfigFile(img, config)
}

// writeRootfs copies a root file system without what differs between two makings or is the machine's
// own, with canonical sources, and, for the patched image, with the patched package.
func writeRootfs(from, to string, patched bool) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	tr, tw := tar.NewReader(in), tar.NewWriter(out)
	p := patcher{on: patched}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(h.Name, "./")
		if h.Name == "" || dropped(h) {
			continue
		}
		var body io.Reader = tr
		if h.Typeflag == tar.TypeReg && p.wants(h.Name) {
			data, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			data = p.edit(h.Name, data)
			h.Size, body = int64(len(data)), bytes.NewReader(data)
		}
		if err := copyEntry(tw, h, body); err != nil {
			return err
		}
	}
	if patched && p.done != 2 {
		return fmt.Errorf("patch package %q: %d of 2 files found: has %s another version of it?", patchedPackage,
			p.done, Suite)
	}
	h := &tar.Header{Name: "etc/apt/sources.list.d/debian.sources", Mode: 0o644, Size: int64(len(sourcesList)),
		Typeflag: tar.TypeReg}
	if err := copyEntry(tw, h, strings.NewReader(sourcesList)); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return out.Close()
}

func copyEntry(tw *tar.Writer, h *tar.Header, body io.Reader) error {
	// A hard link has no content of its own; times are whole seconds, of the epoch at the latest.
	if limit := time.Unix(epoch, 0); h.ModTime.IsZero() || h.ModTime.After(limit) ||
		h.Name == "etc/apt/sources.list.d/debian.sources" {
		h.ModTime = limit
	}
	h.ModTime = h.ModTime.Truncate(time.Second)
	h.AccessTime, h.ChangeTime, h.Uname, h.Gname, h.Format = time.Time{}, time.Time{}, "", "", tar.FormatPAX
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(tw, body)
	return err
}

// dropped says which files of a fresh Debian are left out: logs, caches, lists, the machine's own
// resolver and host name, and device nodes, which the container's runtime makes.
func dropped(h *tar.Header) bool {
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return true
	case tar.TypeDir:
		return false
	}
	switch h.Name {
	case "etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "var/cache/debconf/config.dat-old",
		"var/cache/debconf/templates.dat-old",
		"var/lib/dpkg/status-old", "var/lib/dpkg/available", "var/lib/apt/extended_states":
		return true
	}
	for _, prefix := range []string{"var/log/", "var/cache/apt/", "var/cache/ldconfig/", "var/lib/apt/lists/", "run/",
		"tmp/", "dev/"} {
		if strings.HasPrefix(h.Name, prefix) {
			return true
		}
	}
	return false
}

// patcher edits files on their way.
type patcher struct {
	on   bool
	done int
}

func (p *patcher) wants(name string) bool {
	switch name {
	case "etc/shadow", "etc/shadow-", "etc/machine-id":
		return true
	case "var/lib/dpkg/status":
		return p.on
	}
	return p.on && strings.HasSuffix(name, "/"+patchedFile)
}

var (
	shadowDate    = regexp.MustCompile(`(?m)^([^:]*:[^:]*:)[0-9]+:`)
	patchedStatus = regexp.MustCompile(`(?m)^Package: ` + patchedPackage + `\n(?:.+\n)*?Version: .*$`)
)

func (p *patcher) edit(name string, data []byte) []byte {
	switch {
	case name == "etc/machine-id":
		return nil
	case strings.HasPrefix(name, "etc/shadow"):
		return shadowDate.ReplaceAll(data, fmt.Appendf(nil, "${1}%d:", epoch/86400))
	case name == "var/lib/dpkg/status":
		return patchedStatus.ReplaceAllFunc(data, func(m []byte) []byte {
			p.done++
			return append(m[:len(m):len(m)], "+deb12u99"...)
		})
	}
	p.done++
	// Bytes after the last section change a shared library's content and not what it does.
	return append(data[:len(data):len(data)], "patched by raybuild's offline package world\n"...)
}
