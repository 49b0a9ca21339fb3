package raybuild

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
)

// Limits for the Debian packages that plan fetches: their size in bytes, and the time for them.
const (
	debsMost = 64 << 20
	debsWait = 20 * time.Second
)

// aptSize estimates the size of the layer of Debian packages. For packages that the layer had before,
// it scales the old size. For new packages it fetches the packages, which the build would do next, and
// computes their size in the layer. If it cannot fetch them, it scales the old size for all packages.
func (r *Plan) aptSize(ctx context.Context, g *comparison, f layers.LayerComparison, oldSize int64) int64 {
	like := func(bytes int64) int64 { return int64(float64(oldSize) * float64(bytes) / float64(f.OldBytes)) }
	added := addedDebs(g.p.lock.Platforms[f.Platform], f.Changes)
	var bytes int64
	for _, a := range added {
		bytes += a.Size
	}
	if bytes == 0 {
		return like(f.Bytes)
	}
	come, err := g.debSizes(ctx, f.Platform, added, bytes)
	if err != nil {
		r.note("apt's new packages are taken to be packed as its others are: %v", err)
		return like(f.Bytes)
	}
	return like(f.Bytes-bytes) + come
}

// addedDebs returns the packages of which the layer had no version before.
func addedDebs(p *layers.LockPlatform, changes []layers.InputChange) []layers.Artifact {
	come := map[string]bool{}
	for _, c := range changes {
		if words := strings.Fields(c.To); strings.HasPrefix(c.Input, layers.KindDeb+" ") &&
			c.From == "" && len(words) == 3 {
			come[words[1]] = true
		}
	}
	var out []layers.Artifact
	for _, l := range p.Layers {
		if l.Name != "apt" {
			continue
		}
		for _, a := range l.Artifacts {
			if a.Kind == layers.KindDeb && come[a.Digest().String()] {
				out = append(out, a)
			}
		}
	}
	return out
}

// debSizes returns how many bytes packages add to a compressed layer.
func (g *comparison) debSizes(ctx context.Context, platform string, debs []layers.Artifact,
	bytes int64) (int64, error) {
	base := g.p.lock.Platforms[platform].Base
	switch {
	case len(base.DpkgPaths) == 0:
		return 0, errors.New("the lock does not know what the base's dpkg leaves out: raybuild lock --update base")
	case bytes > debsMost:
		return 0, fmt.Errorf("they are %s", show.Size(bytes))
	}
	out, err := g.p.reach(ctx)
	if err != nil {
		return 0, err
	}
	out.Know(debs, nil)
	ctx, cancel := context.WithTimeout(ctx, debsWait)
	defer cancel()
	var sum int64
	for _, a := range debs {
		n, err := debSize(ctx, out, a, base, g.graph.Compression)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func debSize(ctx context.Context, out *sources.Sources, a layers.Artifact, base layers.LockImage,
	compression string) (int64, error) {
	body, _, err := out.Open(ctx, a.Digest())
	if err != nil {
		return 0, err
	}
	n, err := layers.DebSize(body, base, compression)
	if err = errors.Join(err, body.Close()); err != nil {
		return 0, fmt.Errorf("look into %s: %w", a.Filename(), err)
	}
	return n, nil
}
