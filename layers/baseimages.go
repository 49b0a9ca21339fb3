package layers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

// baseImages pins the base and the image of the tool stage. The second is the base as it was on the
// day of the lock. It stays when the base moves, so that the steps on it need not run again. It moves
// if `lock --update tool` asks for it, or if the base has another release.
func (r *Resolver) baseImages(ctx context.Context) error {
	ref := r.in.Recipe.Base
	r.locked.Base = r.old.Base
	if r.old.Base.Reference != ref || r.updates("base") {
		base, err := r.pin(ctx, ref)
		if err != nil {
			return err
		}
		if r.in.SameRelease {
			if err := fitsBase(r.old.Base, base, r.old.Tool); err != nil {
				return err
			}
		}
		if base.Digest != r.old.Base.Digest {
			r.locked.Resolved = r.in.Now.UTC().Truncate(1e9)
		}
		r.locked.Base = base
	}
	r.locked.Tool = r.old.Tool
	moved := r.old.Tool.ID != r.locked.Base.ID || r.old.Tool.Release != r.locked.Base.Release
	if r.old.Tool.Digest == "" || moved || r.updates("tool") {
		r.locked.Tool = r.locked.Base
	}
	return nil
}

// base is the pinned base: the stage in which apt resolves.
func (r *Resolver) base() llb.Stage { return llb.From(pinned(r.locked.Base)) }

// pin finds the digest of an image and reads the facts that the graph needs of it.
func (r *Resolver) pin(ctx context.Context, ref string) (LockImage, error) {
	r.in.Log("pinning %s for %s", ref, r.name)
	p, err := r.in.Sources.Pin(ctx, ref, r.platform)
	if err != nil {
		return LockImage{}, err
	}
	var config ocispecs.Image
	if err := json.Unmarshal(p.Config, &config); err != nil {
		return LockImage{}, fmt.Errorf("read config of image %q: %w", ref, err)
	}
	image := LockImage{Reference: ref, Digest: p.Digest, Layers: len(config.RootFS.DiffIDs), LayerDigests: p.Layers,
		DiffIDs: config.RootFS.DiffIDs, Env: config.Config.Env}
	if err := r.facts(ctx, &image); err != nil {
		return LockImage{}, fmt.Errorf("look into image %q: %w", ref, err)
	}
	return image, nil
}

const dpkgStatus = "/var/lib/dpkg/status"

// facts reads what the graph must know of an image.
func (r *Resolver) facts(ctx context.Context, image *LockImage) error {
	sandbox, err := r.in.Sandbox(ctx)
	if err != nil {
		return err
	}
	stage := llb.From(pinned(*image))
	sources := "/etc/apt/sources.list.d"
	names, err := sandbox.ListDir(ctx, stage, r.platform, sources, r.session())
	if err != nil {
		return fmt.Errorf("list %s: %w; the base must be apt-based", sources, err)
	}
	candidates := []string{"/etc/apt/sources.list"}
	for _, n := range names {
		if ext := path.Ext(n); ext == ".list" || ext == ".sources" {
			candidates = append(candidates, path.Join(sources, n))
		}
	}
	files, err := sandbox.ReadFiles(ctx, stage, r.platform,
		append([]string{"/etc/os-release", "/usr/lib/os-release", dpkgStatus}, candidates...), r.session())
	if err != nil {
		return err
	}
	if files[dpkgStatus] == nil {
		return fmt.Errorf("it has no %s: the base must be apt-based, such as ubuntu:22.04 or debian:12", dpkgStatus)
	}
	release := osRelease(files["/etc/os-release"])
	if len(release) == 0 {
		release = osRelease(files["/usr/lib/os-release"])
	}
	image.ID, image.Release, image.Codename = release["ID"], release["VERSION_ID"], release["VERSION_CODENAME"]
	image.Glibc = glibc(files[dpkgStatus])
	for _, name := range candidates {
		if _, ok := files[name]; ok {
			image.AptFiles = append(image.AptFiles, name)
		}
	}
	slices.Sort(image.AptFiles)
	image.DpkgPaths, err = r.dpkgPaths(ctx, sandbox, stage)
	return err
}

// dpkgPaths reads what an image's dpkg leaves out when it unpacks packages.
func (r *Resolver) dpkgPaths(ctx context.Context, sandbox Sandbox, stage llb.Stage) ([]string, error) {
	const file, dir = "/etc/dpkg/dpkg.cfg", "/etc/dpkg/dpkg.cfg.d"
	names, err := sandbox.ListDir(ctx, stage, r.platform, dir, r.session())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	paths := []string{file}
	for _, n := range names {
		paths = append(paths, path.Join(dir, n))
	}
	files, err := sandbox.ReadFiles(ctx, stage, r.platform, paths, r.session())
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, p := range append(paths[1:], file) { // dpkg reads the directory first (dpkg(1))
		texts = append(texts, files[p])
	}
	return dpkgPaths(texts...), nil
}

// osRelease reads an os-release file (os-release(5)).
func osRelease(data []byte) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			out[name] = strings.Trim(value, `"'`)
		}
	}
	return out
}

// glibc is the version of libc6 in a dpkg status file, without Debian's part, or "".
func glibc(status []byte) string {
	for _, stanza := range bytes.Split(status, []byte("\n\n")) {
		name, version := "", ""
		for line := range strings.SplitSeq(string(stanza), "\n") {
			if v, ok := strings.CutPrefix(line, "Package: "); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(line, "Version: "); ok {
				version = v
			}
		}
		if name == "libc6" {
			_, after, found := strings.Cut(version, ":")
			if found {
				version = after
			}
			if end := strings.IndexAny(version, "-+~"); end >= 0 {
				version = version[:end]
			}
			return version
		}
	}
	return ""
}

// openIn gives a function that opens a file below dir. It refuses a file that is not below dir.
func openIn(dir, name string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.OpenInRoot(dir, name) }
}

// fileDigests are the digests of files below dir, in the order of names.
func fileDigests(dir string, names []string) ([]digest.Digest, error) {
	var out []digest.Digest
	for _, name := range names {
		f, err := openIn(dir, name)()
		if err != nil {
			return nil, fmt.Errorf("read file %q of the recipe: %w", name, err)
		}
		d, err := digest.FromReader(f)
		if err := f.Close(); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("read file %q of the recipe: %w", name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func aptKeys(a Apt) []string {
	var out []string
	for _, r := range a.Repositories {
		out = append(out, r.Key)
	}
	return out
}
