package raybuild

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// pushStored lets the Docker Engine push the image that its BuildKit put into the image store. Then it adds
// the annotations that the Engine does not write to the manifest, and tags the manifest with the other names.
func (p *Project) pushStored(ctx context.Context, engine *docker.Host, to llb.BuildOptions, t *tally,
	image *llb.Build) error {
	if err := image.Checked(ctx); err != nil {
		return err
	}
	name := to.Names[0]
	host, err := registry.Host(name)
	if err != nil {
		return err
	}
	c, err := p.registry.Credentials(ctx, host)
	if err != nil {
		return err
	}
	reused := map[string]bool{}
	auth := docker.Auth{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, Registry: host}
	pushed, err := engine.Push(ctx, name, auth, func(l docker.PushedLayer) {
		if l.Done {
			reused[l.ID] = l.Reused
		}
		if l.Sent = min(l.Sent, l.Size-1); l.Done { // the Engine counts the tar's frame as well
			l.Sent = l.Size
		}
		image.Show(digest.FromString(l.ID), "layer "+l.ID, l.Sent, l.Size, l.Reused)
	})
	if err != nil {
		return err
	}
	from, err := registry.Pin(name, pushed)
	if err != nil {
		return err
	}
	manifest, err := p.registry.Annotate(ctx, from, name, to.Annotations)
	if err != nil {
		return err
	}
	if from, err = registry.Pin(name, digest.FromBytes(manifest).String()); err != nil {
		return err
	}
	if err := p.registry.Tag(ctx, from, to.Names[1:]...); err != nil {
		return err
	}
	if t.stored, err = p.storedLayers(ctx, from, reused); err != nil {
		return err
	}
	return image.Stored(manifest)
}

// storedLayers returns which layers the Engine sent and which it reused. The Engine names layers by
// the digests of their unpacked tars.
func (p *Project) storedLayers(ctx context.Context, ref string, reused map[string]bool) (registry.Pushed, error) {
	done := registry.Pushed{Reused: map[digest.Digest]bool{}}
	image, err := p.registry.Inspect(ctx, ref)
	if err != nil {
		return done, err
	}
	for _, l := range image.Platforms[0].Layers {
		if done.Reused[l.Digest] = reused[l.DiffID.Encoded()[:12]]; !done.Reused[l.Digest] {
			done.Bytes += l.Size
		}
	}
	return done, nil
}
