package raybuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/llb"
)

// onBase returns an error if layers do not begin with those of a base. A base's layer that was packed in
// another way has another digest, and the same diff ID. As eStargz it has another diff ID, too.
func (p *Project) onBase(ctx context.Context, all []registry.Layer, base registry.Descriptor) error {
	if startsWith(all, base.Layers) {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, baseWait)
	defer cancel()
	image, err := p.registry.Inspect(within, base.Ref)
	if err != nil {
		return fmt.Errorf("its base cannot be compared: %w", err)
	}
	if len(image.Platforms) != 1 || len(base.Layers) == 0 || len(base.Layers) > len(all) {
		return errOtherBase(base.Ref)
	}
	for i, l := range image.Platforms[0].Layers {
		if l.DiffID != "" && all[i].DiffID == l.DiffID {
			continue
		}
		if !isEStargz(all[i]) {
			return errOtherBase(base.Ref)
		}
		packed, err := p.packedBase(ctx, base.Ref, l.Digest)
		if err != nil {
			return fmt.Errorf("its base cannot be compared: %w", err)
		}
		if packed != all[i].Digest {
			return errOtherBase(base.Ref)
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
