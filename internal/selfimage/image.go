package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// stateDir is raybuild's directory in the image. It is a volume, because the embedded engine cannot
// work on a container's own filesystem, which is an overlay. Every user may write to it, so that
// the image works with --user too.
const stateDir = "/var/lib/raybuild"

// docDir is the directory of the licences.
const docDir = "usr/share/doc/raybuild"

// installPackages is the script of the only step. Its arguments are Debian packages.
const installPackages = `command -v apt-get >/dev/null || {
	echo "the base has no apt-get: take another base, or one that has all it needs and --packages ''" >&2
	exit 1
}
apt-get -q update
apt-get -qy install --no-install-recommends "$@"`

// debianPath is the PATH of Debian.
const debianPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// settings say what the image contains.
type settings struct {
	base     registry.Pinned
	packages []string // Debian packages; none: no step runs
	files    []byte   // see archive
	version  string   // as "v0.1.0"
	revision string   // git's commit; "": left out
	created  time.Time
}

// selfImage makes the image: the base, Debian packages, and raybuild with its licences. Each is a
// separate layer, which does not change if another one does.
func selfImage(s settings) (llb.Image, error) {
	base := llb.From(s.base.Ref)
	texts, err := baseLayers(s.base)
	if err != nil {
		return llb.Image{}, err
	}
	image := llb.Image{
		Platform: s.base.Platform, Base: base, BaseLayers: texts, Created: s.created,
		Config: ocispecs.ImageConfig{
			Env:        []string{debianPath, "RAYBUILD_HOME=" + stateDir},
			Entrypoint: []string{"/usr/local/bin/raybuild"},
			WorkingDir: "/work",
			Volumes:    map[string]struct{}{stateDir: {}},
			Labels:     labels(s),
		},
	}
	if len(s.packages) > 0 {
		installed := base.Run(llb.Exec{
			Title:   "[packages] install " + strings.Join(s.packages, ", "),
			Args:    append([]string{"/bin/sh", "-euc", installPackages, "install"}, s.packages...),
			Env:     map[string]string{"DEBIAN_FRONTEND": "noninteractive"},
			Network: llb.Online,
			Tmpfs:   []string{"/var/lib/apt/lists", "/var/cache/apt", "/var/log", "/tmp"},
		})
		layer := llb.Layer{Name: "packages", Stage: llb.Diff("[packages] layer", base, installed)}
		image.Layers = append(image.Layers, layer)
	}
	const name = "raybuild.tar"
	blob := llb.Artifact(llb.Blob{Digest: digest.FromBytes(s.files), Name: name})
	tree := llb.Scratch().Unpack("[raybuild] unpack raybuild "+s.version, blob, name, "/")
	image.Layers = append(image.Layers, llb.Layer{Name: "raybuild", Title: "raybuild " + s.version, Stage: tree})
	return image, nil
}

// baseLayers returns one history text for each layer of the base.
func baseLayers(base registry.Pinned) ([]string, error) {
	var config ocispecs.Image
	if err := json.Unmarshal(base.Config, &config); err != nil {
		return nil, fmt.Errorf("read config of base %q: %w", base.Ref, err)
	}
	texts := make([]string, len(config.RootFS.DiffIDs))
	for i := range texts {
		texts[i] = "base " + base.Ref
	}
	return texts, nil
}

// labels returns the labels of the OCI image specification. They are also the manifest's annotations.
func labels(s settings) map[string]string {
	name, _, _ := strings.Cut(s.base.Ref, "@")
	out := map[string]string{
		ocispecs.AnnotationTitle:           "raybuild",
		ocispecs.AnnotationDescription:     "Ray images without Dockerfiles, and Ray clusters from them",
		ocispecs.AnnotationURL:             "https://github.com/raybuild/raybuild",
		ocispecs.AnnotationSource:          "https://github.com/raybuild/raybuild",
		ocispecs.AnnotationDocumentation:   "https://github.com/raybuild/raybuild/blob/main/README.md",
		ocispecs.AnnotationLicenses:        "Apache-2.0",
		ocispecs.AnnotationVersion:         s.version,
		ocispecs.AnnotationBaseImageName:   name,
		ocispecs.AnnotationBaseImageDigest: s.base.Digest.String(),
	}
	if s.revision != "" {
		out[ocispecs.AnnotationRevision] = s.revision
	}
	return out
}

// archive returns the tar of raybuild's own layer: the program, its documents, the working
// directory and the state directory. docs are files and directories. A directory is packed with all
// its files, under its base name. All entries belong to root and have the time [llb.Epoch].
func archive(program string, docs []string) ([]byte, error) {
	var buf bytes.Buffer
	w := &writer{tar: tar.NewWriter(&buf)}
	dirs := "usr usr/local usr/local/bin usr/share usr/share/doc " + docDir + " var var/lib work"
	for _, dir := range strings.Fields(dirs) {
		w.dir(dir, 0o755)
	}
	w.dir(strings.TrimPrefix(stateDir, "/"), 0o1777)
	w.file("usr/local/bin/raybuild", program, 0o755)
	for _, doc := range docs {
		err := filepath.WalkDir(doc, func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			below, err := filepath.Rel(filepath.Dir(filepath.Clean(doc)), file)
			if err != nil {
				return err
			}
			to := docDir + "/" + filepath.ToSlash(below)
			switch {
			case entry.IsDir():
				w.dir(to, 0o755)
			case entry.Type().IsRegular():
				w.file(to, file, 0o644)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read documents %q: %w", doc, err)
		}
	}
	if err := errors.Join(w.err, w.tar.Close()); err != nil {
		return nil, fmt.Errorf("pack raybuild: %w", err)
	}
	return buf.Bytes(), nil
}

// writer writes an archive and keeps the first error.
type writer struct {
	tar *tar.Writer
	err error
}

func (w *writer) header(h *tar.Header) {
	h.ModTime = llb.Epoch()
	if w.err == nil {
		w.err = w.tar.WriteHeader(h)
	}
}

func (w *writer) dir(name string, mode int64) {
	w.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (w *writer) file(name, from string, mode int64) {
	data, err := os.ReadFile(from)
	if w.err == nil {
		w.err = err
	}
	w.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))})
	if w.err == nil {
		_, w.err = io.Copy(w.tar, bytes.NewReader(data))
	}
}
