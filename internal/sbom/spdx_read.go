package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// errOtherSPDX says that a document is not one that this raybuild wrote.
var errOtherSPDX = errors.New("it is not one that this raybuild wrote")

// ReadSPDX reads a bill that [Bill.SPDX] wrote.
func ReadSPDX(data []byte) (*Bill, error) {
	var doc v2_3.Document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read SPDX: %w", err)
	}
	about := doc.CreationInfo
	if about == nil || len(about.Creators) != 1 || about.Creators[0].Creator != tool() {
		return nil, fmt.Errorf("read SPDX: %w", errOtherSPDX)
	}
	r := spdxReader{within: map[common.ElementID][]common.ElementID{}, texts: map[string]string{}}
	for _, l := range doc.OtherLicenses {
		r.texts[l.LicenseIdentifier] = plain(l.ExtractedText)
	}
	for _, rel := range doc.Relationships {
		if rel.Relationship == common.TypeRelationshipContains {
			to := rel.RefB.ElementRefID
			r.within[to] = append(r.within[to], rel.RefA.ElementRefID)
		}
	}
	return r.bill(&doc)
}

// spdxReader is a document that is being read.
type spdxReader struct {
	within map[common.ElementID][]common.ElementID
	texts  map[string]string // of licences by reference
}

// bill puts layers and parts into their places.
func (r spdxReader) bill(doc *v2_3.Document) (*Bill, error) {
	out := &Bill{Digest: digest.Digest(doc.DocumentName)}
	images, layers := map[common.ElementID]int{}, map[common.ElementID][2]int{}
	for _, p := range doc.Packages {
		kind, id := kindOf(p), p.PackageSPDXIdentifier
		switch kind {
		case kindImage:
			images[id] = len(out.Platforms)
			out.Platforms = append(out.Platforms, Platform{Name: plain(p.PackageName),
				Digest: digest.Digest(p.PackageVersion)})
		case kindLayer:
			for _, image := range r.within[id] {
				i, ok := images[image]
				if !ok {
					return nil, fmt.Errorf("read SPDX: layer %q: %w", plain(p.PackageName), errOtherSPDX)
				}
				layers[id] = [2]int{i, len(out.Platforms[i].Layers)}
				out.Platforms[i].Layers = append(out.Platforms[i].Layers, Layer{
					Digest: digest.Digest(p.PackageVersion), Title: plain(p.PackageName)})
			}
		}
	}
	for _, p := range doc.Packages {
		part, ok := r.part(p)
		if !ok {
			continue
		}
		for _, l := range r.within[p.PackageSPDXIdentifier] {
			if at, known := layers[l]; known {
				layer := &out.Platforms[at[0]].Layers[at[1]]
				layer.Parts = append(layer.Parts, part)
			}
		}
	}
	return out, nil
}

func kindOf(p *v2_3.Package) string { return strings.TrimPrefix(p.PackageComment, kindComment) }

// part reads one part; ok is false for what is none.
func (r spdxReader) part(p *v2_3.Package) (out Part, ok bool) {
	out = Part{Kind: kindOf(p), Name: plain(p.PackageName), Version: plain(p.PackageVersion),
		URL: PublicURL(p.PackageDownloadLocation)}
	switch out.Kind {
	case Deb, Conda, Python:
		for _, ref := range p.PackageExternalReferences {
			if ref.RefType == common.TypePackageManagerPURL {
				ok = out.fromPURL(ref.Locator)
			}
		}
	case Base, Installer, File, Step, Config:
		ok = true
	}
	for _, c := range p.PackageChecksums {
		if c.Algorithm == common.SHA256 && IsSHA256(c.Value) {
			out.SHA256 = c.Value
		}
	}
	if found, cut := strings.CutPrefix(p.PackageSourceInfo, foundComment); cut {
		out.Path = plain(found)
	}
	if l := p.PackageLicenseDeclared; l != noAssertion && l != "NONE" {
		out.License = plain(reference().ReplaceAllStringFunc(l, func(ref string) string {
			return first(r.texts[ref], ref)
		}))
	}
	return out, ok && out.Name != ""
}

var reference = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled once, when it is used
	return regexp.MustCompile(`LicenseRef-[A-Za-z0-9.-]+`)
})
