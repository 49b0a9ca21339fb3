package raybuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/sbom"
)

// SBOMOptions say how a bill of materials is made. The zero value lists packages, files of the recipe and steps.
type SBOMOptions struct {
	// Files also lists the files that belong to no package, step or file of the recipe. All layers are read for it.
	// Default: they are not listed.
	Files bool
}

// SBOM is the bill of materials of an image.
type SBOM struct {
	// Ref is the image by digest.
	Ref string
	// Packages of all platforms, sorted by platform, kind, name and version.
	Packages []ImagePackage
	// Unowned are the files that belong to nothing that has a name, by platform, if SBOMOptions.Files asked for them.
	Unowned map[string][]string
	// Recorded tells that the bill is made of the image's lock and record. If not, it is made of its layers alone.
	Recorded bool
	// Attached says how the bill that is attached to the image compares: AttachedSame, AttachedOther, AttachedUnsigned
	// or AttachedNone.
	Attached string
	// SignedBy is the identity that has signed the attached bill, if the recipe names identities. "": nobody needs to.
	SignedBy string
	// Refused says why a bill is AttachedUnsigned; "": it is not.
	Refused string

	bill *sbom.Bill
}

// How the attached bill of an image compares with one that is made again.
const (
	AttachedSame  = "same"  // it has the same bytes
	AttachedOther = "other" // there is one, and it has other bytes
	AttachedNone  = "none"  // there is none

	// AttachedUnsigned says that there is one, and that no identity of the recipe has signed it. It is not believed.
	AttachedUnsigned = "unsigned"
)

// ImagePackage is a package of an image. Its JSON is that of "raybuild inspect --packages --json".
type ImagePackage struct {
	Platform string `json:"platform"`
	Kind     string `json:"kind"` // deb, conda or python
	Name     string `json:"name"`
	Version  string `json:"version"`
	License  string `json:"license,omitempty"`
	PURL     string `json:"purl"`
	URL      string `json:"url,omitempty"`    // where it came from
	SHA256   string `json:"sha256,omitempty"` // of the artifact
	Source   string `json:"source,omitempty"` // the Debian source package, if its name differs
	// SourceVersion is that of the Debian source package, if it differs.
	SourceVersion string `json:"source_version,omitempty"`
	Distro        string `json:"distro,omitempty"` // of a Debian package: "debian-12"
	// Path is the file in the image by which the package was found; "" if the lock names it.
	Path   string         `json:"path,omitempty"`
	Layers []PackageLayer `json:"layers"` // that hold it
}

// PackageLayer is a layer that holds a package.
type PackageLayer struct {
	Digest digest.Digest `json:"digest"`
	Title  string        `json:"title"` // "base", "apt", "pip-1", or the text of the image's history
}

// SPDX writes the bill as SPDX 2.3 JSON.
func (s *SBOM) SPDX() ([]byte, error) { return s.bill.SPDX() }

// CycloneDX writes the bill as CycloneDX 1.6 JSON.
func (s *SBOM) CycloneDX() ([]byte, error) { return s.bill.CycloneDX() }

// ReadSBOM makes the bill of materials of an image in a registry. Of an image that raybuild built it needs lock,
// record, and what the layers of the base and of package systems say. Of others it reads all layers. What it has read
// it keeps in [Options.Home]. It does not believe a bill that is attached, except for licences that nothing else tells
// without reading large layers. If the recipe here names identities (or [Options.Trust] asks for them), only a bill
// that one of them has signed tells licences.
func ReadSBOM(ctx context.Context, ref string, o Options, s SBOMOptions) (_ *SBOM, err error) {
	defer public(ctx, &err)
	p, err := newProject(ctx, o)
	if err != nil {
		return nil, err
	}
	here, err := p.env.recipeHere()
	if err != nil {
		return nil, err
	}
	if err := p.trustIn(here.Trust, here.Dir); err != nil {
		return nil, err
	}
	image, err := loadPushedImage(ctx, p.registry, ref)
	if err != nil {
		return nil, err
	}
	return p.sbomOf(ctx, image, s)
}

// sbomOf makes the bill of an image.
func (p *Project) sbomOf(ctx context.Context, image *pushedImage, s SBOMOptions) (*SBOM, error) {
	home, err := p.env.MakeHome()
	if err != nil {
		return nil, err
	}
	attached, refused, err := p.attachedBills(ctx, image.Ref)
	if err != nil {
		return nil, err
	}
	store := sbom.Store{Dir: filepath.Join(home, factsDir)}
	b := &biller{store: store, image: billedOf(&image.Image), artifacts: filepath.Join(home, artifactsDir),
		files: s.Files, licences: len(attached) == 0, warn: p.env.warn,
		open: []opener{p.opener(image.Ref, image.Digest.String())}}
	if err := p.recordFor(ctx, image, b); err != nil {
		return nil, err
	}
	b.licencesOf(attached)
	bill, err := b.bill(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what is in image %q: %w", image.Ref, err)
	}
	out := &SBOM{Ref: image.Ref, Recorded: b.record != nil, bill: bill, Attached: AttachedNone,
		Packages: packagesOf(bill), Unowned: map[string][]string{}}
	for _, i := range bill.Platforms {
		if s.Files {
			out.Unowned[i.Name] = i.Unowned
		}
	}
	if len(attached) > 0 || p.trust.mode != TrustSigned {
		return out, out.compare(attached)
	}
	if refused == nil {
		plain, err := p.registry.Attached(ctx, image.Ref, sbom.SPDXType)
		if err != nil || len(plain) == 0 {
			return out, err
		}
		refused = errNotAttested
	}
	out.Attached, out.Refused = AttachedUnsigned, refused.Error()
	return out, nil
}

// errNotAttested says that a bill is attached to an image, and that there is no signature of it.
var errNotAttested = errors.New("it has no signature")

// recordFor gives record and lock of an image, if its manifest names them.
func (p *Project) recordFor(ctx context.Context, image *pushedImage, b *biller) error {
	if image.record == nil || image.doubt != nil {
		if image.doubt != nil && len(image.named()) > 0 {
			p.env.note("the bill of materials is made of the layers alone: %v", image.doubt)
		}
		return nil
	}
	lock, err := lockOf(ctx, p.registry, &image.Image)
	if errors.Is(err, errOtherDocument) || err == nil && lock == nil {
		p.env.note("the bill of materials is made of the layers alone: the image has no lock that its manifest names")
		return nil
	}
	if err != nil {
		return err
	}
	b.record, b.lock = image.record, lock
	return nil
}

// licencesOf takes the licences of wheels that nobody else knows from an attached bill.
func (b *biller) licencesOf(attached []attachedBill) {
	b.hint = sync.OnceValue(func() *sbom.Bill {
		bill := billAmong(attached, b.image.digest)
		if bill == nil {
			return nil
		}
		for i := range bill.Platforms {
			for n := range bill.Platforms[i].Layers {
				bill.Platforms[i].Layers[n].Digest = "" // what it says of layers is not believed
			}
		}
		return bill
	})
}

// compare tells whether one of the attached bills is the one that was made.
func (s *SBOM) compare(attached []attachedBill) error {
	if len(attached) == 0 {
		return nil
	}
	plain := *s.bill
	plain.Platforms = slices.Clone(plain.Platforms)
	for i := range plain.Platforms {
		plain.Platforms[i].Unowned = nil
	}
	mine, err := plain.SPDX()
	if err != nil {
		return err
	}
	s.Attached, s.SignedBy = AttachedOther, attached[0].who
	for _, a := range attached {
		if bytes.Equal(bytes.TrimSpace(a.data), bytes.TrimSpace(mine)) {
			s.Attached, s.SignedBy = AttachedSame, a.who
			break
		}
	}
	return nil
}

// packagesOf are the packages of a bill.
func packagesOf(bill *sbom.Bill) []ImagePackage {
	out := []ImagePackage{}
	for _, l := range bill.List() {
		if !slices.Contains(sbom.Packages(), l.Kind) {
			continue
		}
		p := ImagePackage{Platform: bill.Platforms[l.Platform].Name, Kind: l.Kind, Name: l.Name, Version: l.Version,
			License: l.License, PURL: l.PURL(), URL: l.URL, SHA256: l.SHA256, Source: l.Source,
			SourceVersion: l.SourceVersion, Distro: l.Distro, Path: l.Path}
		for _, n := range l.Layers {
			layer := bill.Platforms[l.Platform].Layers[n]
			p.Layers = append(p.Layers, PackageLayer{layer.Digest, layer.Title})
		}
		out = append(out, p)
	}
	return out
}
