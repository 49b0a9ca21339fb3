package raybuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/llb"
)

// onBase returns an error if layers do not begin with those of a base. A base's layer that was packed in
// another way has another digest, and the same diff ID. As eStargz it has another diff ID, too.
func (p *Project) onBase(ctx context.Context, all []registry.Layer, base lockedBase) error {
	if startsWith(all, base.layers) {
		return nil
	}
	if len(base.layers) == 0 || len(base.layers) > len(all) {
		return errOtherBase(base.ref)
	}
	if err := p.learnDiffIDs(ctx, &base); err != nil {
		return fmt.Errorf("its base cannot be compared: %w", err)
	}
	for i, l := range base.layers {
		if all[i].DiffID == l.DiffID {
			continue
		}
		if !isEStargz(all[i]) {
			return errOtherBase(base.ref)
		}
		packed, err := p.packedBase(ctx, base.ref, l.Digest)
		if err != nil {
			return fmt.Errorf("its base cannot be compared: %w", err)
		}
		if packed != all[i].Digest {
			return errOtherBase(base.ref)
		}
	}
	return nil
}

// learnDiffIDs asks the registry for the diff IDs of a base's layers, if they are not known.
func (p *Project) learnDiffIDs(ctx context.Context, base *lockedBase) error {
	if !slices.ContainsFunc(base.layers, func(l registry.Layer) bool { return l.DiffID == "" }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, baseWait)
	defer cancel()
	image, err := p.registry.Inspect(ctx, base.ref)
	if err != nil {
		return err
	}
	if len(image.Platforms) != 1 {
		return fmt.Errorf("%s has %d platforms, not one", base.ref, len(image.Platforms))
	}
	base.layers = image.Platforms[0].Layers
	for _, l := range base.layers {
		if l.DiffID == "" {
			return fmt.Errorf("the config of %s does not name all layers", base.ref)
		}
	}
	return nil
}

func errOtherBase(ref string) error { return fmt.Errorf("its lowest layers are not those of %s", ref) }

// isEStargz tells whether a layer says that it has a table of contents.
func isEStargz(l registry.Layer) bool {
	_, ok := l.Annotations["containerd.io/snapshot/stargz/toc.digest"]
	return ok
}

// packedBase returns the digest of a base's layer as eStargz. It reads the whole layer once, and keeps the digest.
func (p *Project) packedBase(ctx context.Context, ref string, layer digest.Digest) (digest.Digest, error) {
	home, err := p.env.homeDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(home, basesDir, digest.FromString(fmt.Sprintf("estargz level %d %s", llb.GzipLevel,
		layer)).Encoded())
	if data, err := os.ReadFile(file); err == nil {
		if kept := digest.Digest(data); kept.Validate() == nil {
			return kept, nil
		}
	}
	p.env.info("reading %s, to compare its eStargz layers", ref)
	blob, err := p.registry.OpenBlob(ctx, ref, layer, 0)
	if err != nil {
		return "", err
	}
	packed, err := llb.EStargz(blob)
	if err = errors.Join(err, blob.Close()); err != nil {
		return "", err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), wholefile.Write(file, []byte(packed),
		0o600)); err != nil {
		p.env.warn("the base will be read again: %v", err)
	}
	return packed, nil
}
