package layers

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/uv"
)

// distMetadata is where a conda package has the metadata of a Python distribution, in all layouts: noarch
// packages have it below site-packages, others below lib/pythonX.Y.
var distMetadata = regexp.MustCompile(
	`^(?:lib/python3\.\d+/)?site-packages/[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)$`)

// activationFile is a file of a conda package that gives variables to an activated environment.
var activationFile = regexp.MustCompile(`^etc/conda/(?:activate\.d/[^/]+\.sh|env_vars\.d/[^/]+)$`)

// maxCondaPackage limits what a conda package unpacks to, in bytes: pytorch has some 2 GB.
const maxCondaPackage = 16 << 30

// maxMetadata is the largest METADATA that is read, in bytes.
const maxMetadata = 4 << 20

// forDists is the fact of a conda package that names the Python distributions in it, "NAME==VERSION"
// each, or "none". With it, nobody has to fetch the package to know them.
const forDists = "python"

// noteDists notes in the lock which Python distributions the environment's packages bring.
func (r *Resolver) noteDists(ctx context.Context) error {
	at := slices.IndexFunc(r.locked.Layers, func(l LockLayer) bool { return l.Name == "env" })
	if at < 0 {
		return nil
	}
	packages := slices.Clone(r.locked.Layers[at].Artifacts)
	if _, err := r.condaDists(ctx, packages); err != nil {
		return err
	}
	r.locked.Layers[at].Artifacts = packages
	return nil
}

// condaDists are the Python distributions that conda packages bring. It reads those of which the lock
// does not say that, and notes it in packages.
func (r *Resolver) condaDists(ctx context.Context, packages []Artifact) ([]uv.Installed, error) {
	found := make([][]uv.Installed, len(packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, a := range packages {
		if a.Kind != KindConda || a.Name == "python" {
			continue
		}
		if text := a.For[forDists]; text != "" {
			found[i] = distsNamed(text)
			continue
		}
		g.Go(func() (err error) {
			file, size, err := r.in.Sources.Open(ctx, a.Digest())
			if err != nil {
				return err
			}
			defer file.Close()
			dists, activates, err := distsOf(a.Filename(), file, size)
			if err != nil {
				return fmt.Errorf("read conda package %q: %w", a.Filename(), err)
			}
			found[i] = dists
			var names []string
			for _, d := range dists {
				names = append(names, d.Name+"=="+d.Version)
			}
			packages[i].For = withFact(a.For, forDists, cmp.Or(strings.Join(names, " "), "none"))
			if activates {
				packages[i].For[forActivates] = "yes"
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// distsNamed are the distributions that a lock names.
func distsNamed(text string) []uv.Installed {
	var all []uv.Installed
	for _, word := range strings.Fields(text) {
		if name, version, ok := strings.Cut(word, "=="); ok {
			all = append(all, uv.Installed{Name: name, Version: version})
		}
	}
	return all
}

// distsOf reads one conda package: a .conda file is a ZIP archive of tar files in zstd, an older one a tar
// file in bzip2.
func distsOf(name string, r io.Reader, size int64) (dists []uv.Installed, activates bool, err error) {
	if !strings.HasSuffix(name, ".conda") {
		return distsIn(tar.NewReader(bzip2.NewReader(bufio.NewReader(r))))
	}
	at, ok := r.(io.ReaderAt) // a package may have gigabytes, and is a file
	if !ok {
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, false, err
		}
		at, size = bytes.NewReader(data), int64(len(data))
	}
	archive, err := zip.NewReader(at, size)
	if err != nil {
		return nil, false, err
	}
	for _, f := range archive.File {
		if !strings.HasPrefix(f.Name, "pkg-") || !strings.HasSuffix(f.Name, ".tar.zst") {
			continue
		}
		packed, err := f.Open()
		if err != nil {
			return nil, false, err
		}
		defer packed.Close()
		z, err := zstd.NewReader(packed, zstd.WithDecoderMaxMemory(maxCondaPackage))
		if err != nil {
			return nil, false, err
		}
		defer z.Close()
		return distsIn(tar.NewReader(z))
	}
	return nil, false, errors.New("it has no pkg-*.tar.zst")
}

// distsIn reads the files of a package: its distributions, and whether it wants variables when it is activated.
func distsIn(in *tar.Reader) (all []uv.Installed, activates bool, err error) {
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all, activates, nil
		}
		if err != nil {
			return nil, false, err
		}
		activates = activates || activationFile.MatchString(path.Clean(h.Name))
		if h.Typeflag != tar.TypeReg || !distMetadata.MatchString(path.Clean(h.Name)) {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(in, maxMetadata))
		if err != nil {
			return nil, false, err
		}
		if d := distOf(text); d.Name != "" && d.Version != "" {
			all = append(all, d)
		}
	}
}

// distOf reads name and version of a METADATA (its header is as a mail's).
func distOf(text []byte) uv.Installed {
	d := uv.Installed{Metadata: text}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		key, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "name":
			d.Name = strings.TrimSpace(value)
		case "version":
			d.Version = strings.TrimSpace(value)
		}
	}
	return d
}
