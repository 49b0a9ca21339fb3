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

// plan looks into Debian packages of this many bytes at most, and waits this long for them.
const (
	debsMost = 64 << 20
	debsWait = 20 * time.Second
)

// aptSize is how large the layer of Debian packages will be. What stays of it is as large as it
// was, in the proportion of its packages; of packages that come to it nothing is known before they
// are there, so they are fetched, which the build would do next, and looked into. Where that cannot
// be, they are taken to be like the others.
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

// addedDebs are the packages that the layer had no version of.
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

// debSizes is what packages add to a compressed layer.
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
