package raybuild

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/layers"
)

// TrustMode says which images of registries are believed: which count as built, give their layers, or are changed by
// [Rebase] and [Add].
type TrustMode string

// Modes of trust.
const (
	TrustByRecipe TrustMode = ""       // TrustSigned if the recipe has identities, else TrustTag
	TrustNone     TrustMode = "none"   // no image: everything is built
	TrustTag      TrustMode = "tag"    // those whose text fits the graph, whoever pushed them
	TrustSigned   TrustMode = "signed" // of those, the ones that an identity of trust.signed_by has signed
)

// errTrustNone says that no image is believed because that was asked for.
var errTrustNone = errors.New("no image of a registry is believed, because the mode of trust is none")

// check returns an [OptionError] if the mode is none that there is.
func (m TrustMode) check() error {
	switch m {
	case TrustByRecipe, TrustNone, TrustTag, TrustSigned:
		return nil
	}
	return optionErrorf("Trust", "%q: must be none, tag or signed", string(m))
}

// of returns the mode for a recipe's identities.
func (m TrustMode) of(t layers.Trust) TrustMode {
	switch {
	case m != TrustByRecipe:
		return m
	case len(t.SignedBy) > 0:
		return TrustSigned
	}
	return TrustTag
}

// trustIn makes the project believe the identities of a recipe that lies in the directory dir. The recipe that
// travels with an image has no say in that.
func (p *Project) trustIn(t layers.Trust, dir string) error {
	if err := p.env.Trust.check(); err != nil {
		return err
	}
	p.trust.mode, p.trust.root = p.env.Trust.of(t), signing.RootOf(t, dir, p.env.sigstoreCache())
	if p.trust.mode == TrustSigned && len(t.SignedBy) == 0 {
		return optionErrorf("Trust", "signed needs identities: name them in the recipe under trust.signed_by")
	}
	if len(t.SignedBy) == 0 {
		return nil
	}
	known, err := signing.ReadTrust(t, dir, p.trust.root)
	p.trust.signers = known
	return err
}

// trust says which images of registries are believed.
type trust struct {
	mode    TrustMode
	signers *signing.Trust       // the recipe's identities; nil: it names nobody
	root    signing.TrustOptions // of keyless signatures

	mu   sync.Mutex
	seen map[string]error // images that were looked at, by digest, and why they are not believed
}

// sigstoreCache is the directory that keeps the root of the public Sigstore. "": it is not kept, because there is no
// home; what needs the home tells the error.
func (e *env) sigstoreCache() string {
	home, err := e.homeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, "sigstore")
}

// mayTrust returns an error if the image ref (by digest) is not believed, whatever its text says.
func (p *Project) mayTrust(ctx context.Context, ref string) error {
	switch p.trust.mode {
	case TrustNone:
		return errTrustNone
	case TrustSigned:
		return p.trust.signed(ctx, p.registry, ref)
	}
	return nil
}

// mustTrust returns an error if the image that is changed is not believed.
func (p *Project) mustTrust(ctx context.Context) error {
	if err := p.mayTrust(ctx, p.ofImage.Ref); err != nil {
		return fmt.Errorf("verify image %q: %w: let an identity of the recipe here sign it, or choose another --trust",
			p.ofImage.Ref, err)
	}
	return nil
}

// signed returns an error if no identity has signed an image. It asks the registry only once for each image.
func (t *trust) signed(ctx context.Context, c *registry.Client, ref string) error {
	t.mu.Lock()
	err, looked := t.seen[ref]
	t.mu.Unlock()
	if looked {
		return err
	}
	if _, err = t.signers.Verify(ctx, c, ref); err != nil {
		err = &notSignedError{err}
	}
	if ctx.Err() != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]error{}
	}
	t.seen[ref] = err
	return err
}

// forget forgets what is known of images, because they have been signed since.
func (t *trust) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = nil
}

// notSignedError says that an image is not signed by an identity of the recipe.
type notSignedError struct{ err error }

func (e *notSignedError) Error() string {
	return fmt.Sprintf("it is not signed by an identity of trust.signed_by (%v)", e.err)
}

func (e *notSignedError) Unwrap() error { return e.err }
