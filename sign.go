package raybuild

import (
	"context"
	"fmt"
	"slices"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
)

// openKey opens the key that signs, if o asks for one. So a wrong password, or a job without a token, fails before
// anything is built.
func (p *Project) openKey(ctx context.Context, o *BuildOptions) (err error) {
	if o.Sign.Key == "" {
		return nil
	}
	k := signing.KeyOptions{Key: o.Sign.Key, Password: o.Sign.Password, Getenv: p.env.getenv, Trust: p.trust.root}
	if o.Sign.Config != "" {
		k.Config = p.env.path(o.Sign.Config)
	}
	if k.IsFile() {
		k.Key = p.env.path(k.Key)
	}
	p.key, err = signing.OpenKey(ctx, k)
	return err
}

// signer returns what signs an image before it gets its names, for a push. from is the image that is copied; "": it
// is pushed. signer returns nil if nothing is signed.
func (p *Project) signer(from string) func(ctx context.Context, images []string) error {
	if p.key == nil && (p.trust.mode != TrustSigned || from == "") {
		return nil
	}
	return func(ctx context.Context, images []string) error { return p.sign(ctx, from, images) }
}

// sign signs images, which are named by digest, unless they are signed already. If signatures are asked for, the copies
// of an image get those that it has.
func (p *Project) sign(ctx context.Context, from string, images []string) error {
	for _, image := range images {
		if from != "" && image != from && p.trust.mode == TrustSigned {
			if err := signing.Copy(ctx, p.registry, from, image); err != nil {
				return err
			}
		}
		if p.key == nil {
			continue
		}
		if err := p.key.Sign(ctx, p.registry, image, p.trust.signers); err != nil {
			return fmt.Errorf("%w: the image is in the registry under its digest, and no name was moved", err)
		}
		p.trust.forget()
		p.env.info("signed %s", image)
	}
	return nil
}

// tag gives an image names in any repositories. If images are signed, it brings the image to each repository and
// signs it there first.
func (p *Project) tag(ctx context.Context, from string, names ...string) error {
	sign := p.signer(from)
	if sign == nil || len(names) == 0 {
		return p.registry.Tag(ctx, from, names...)
	}
	d, err := registry.DigestOf(from)
	if err != nil {
		return err
	}
	var images []string
	for _, name := range names {
		image, err := registry.Pin(name, d.String())
		if err != nil {
			return err
		}
		if !slices.Contains(images, image) {
			images = append(images, image)
		}
	}
	elsewhere := slices.DeleteFunc(slices.Clone(images), func(image string) bool { return image == from })
	if err := p.registry.Tag(ctx, from, elsewhere...); err != nil {
		return err
	}
	if err := sign(ctx, images); err != nil {
		return err
	}
	return p.registry.Tag(ctx, from, names...)
}
