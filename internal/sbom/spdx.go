package sbom

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is SPDX's value for what is not known.
const noAssertion = "NOASSERTION"

// namespace begins the name of each document. The image's digest follows.
const namespace = "https://raybuild.dev/sbom/"

// Purposes of SPDX (7.24) by kind.
func purpose(kind string) string {
	switch kind {
	case Deb, Conda, Python:
		return "LIBRARY"
	case Base:
		return "CONTAINER"
	case Installer:
		return "INSTALL"
	case File:
		return "FILE"
	}
	return "OTHER"
}

// Comments by which [ReadSPDX] knows what a package of SPDX stands for.
const (
	kindComment  = "raybuild kind: "
	foundComment = "found by /"
	kindLayer    = "layer"
	kindImage    = "image"
)

// spdx is a document that is being made.
type spdx struct {
	doc  *v2_3.Document
	refs map[string]string // identifiers of licences by text
	used map[string]bool

	declared func(text string) string // a licence as SPDX writes it; "": none
}

// SPDX writes the bill as SPDX 2.3 JSON. The same bill gives the same bytes.
func (b *Bill) SPDX() ([]byte, error) {
	s := spdx{refs: map[string]string{}, used: map[string]bool{}, doc: &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      b.Digest.String(),
		DocumentNamespace: fmt.Sprintf("%s%d/%s", namespace, Rules, b.Digest.Encoded()),
		CreationInfo: &v2_3.CreationInfo{
			LicenseListVersion: majorMinor(spdxlicenses.LicenseListVersion()),
			Creators:           []common.Creator{{CreatorType: "Tool", Creator: tool()}},
			Created:            b.Created.UTC().Format(time.RFC3339),
		},
	}}
	s.declared = once(func(text string) string {
		l, ok := readLicence(text)
		if !ok {
			return ""
		}
		return l.ofSPDX(s.licence)
	})
	for i, p := range b.Platforms {
		s.platform(i, p)
	}
	for _, l := range b.List() {
		s.part(l)
	}
	var out bytes.Buffer
	if err := spdxjson.Write(s.doc, &out, spdxjson.EscapeHTML(false)); err != nil {
		return nil, fmt.Errorf("write SPDX: %w", err)
	}
	return out.Bytes(), nil
}

// tool names what wrote a document. It has no version of raybuild: others by the same rules write the same.
func tool() string { return fmt.Sprintf("raybuild-sbom-%d", Rules) }

// majorMinor is a version as SPDX has it in a document (6.7).
func majorMinor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func (s *spdx) relate(from common.ElementID, what string, to common.ElementID) {
	s.doc.Relationships = append(s.doc.Relationships, &v2_3.Relationship{Relationship: what,
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}})
}

// add adds a package with the fields that all have.
func (s *spdx) add(id common.ElementID, name, kind, sha256 string) *v2_3.Package {
	p := &v2_3.Package{PackageName: name, PackageSPDXIdentifier: id, PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
		PackageComment: kindComment + kind, IsFilesAnalyzedTagPresent: true}
	if sha256 != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: sha256}}
	}
	s.doc.Packages = append(s.doc.Packages, p)
	return p
}

func imageID(i int) common.ElementID { return common.ElementID(fmt.Sprintf("Image-%d", i+1)) }

func layerID(i, n int) common.ElementID {
	return common.ElementID(fmt.Sprintf("Layer-%d-%d", i+1, n+1))
}

// platform adds an image and its layers.
func (s *spdx) platform(i int, p Platform) {
	image := s.add(imageID(i), first(p.Name, "image"), kindImage, p.Digest.Encoded())
	image.PackageVersion, image.PrimaryPackagePurpose = p.Digest.String(), "CONTAINER"
	s.relate("DOCUMENT", common.TypeRelationshipDescribe, imageID(i))
	for n, l := range p.Layers {
		layer := s.add(layerID(i, n), first(plain(l.Title), "layer"), kindLayer, l.Digest.Encoded())
		layer.PackageVersion, layer.PrimaryPackagePurpose = l.Digest.String(), "ARCHIVE"
		s.relate(imageID(i), common.TypeRelationshipContains, layerID(i, n))
	}
	for n, f := range p.Unowned {
		id := common.ElementID(fmt.Sprintf("Unowned-%d-%d", i+1, n+1))
		s.add(id, "/"+f, "unowned", "").PrimaryPackagePurpose = "FILE"
		s.relate(imageID(i), common.TypeRelationshipContains, id)
	}
}

// id is an identifier that nothing else has, of readable words.
func (s *spdx) id(words ...string) string {
	stem := strings.Join(strings.FieldsFunc(strings.Join(words, "-"), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.'
	}), "-")
	id := stem
	for n := 2; s.used[id]; n++ {
		id = fmt.Sprintf("%s-%d", stem, n)
	}
	s.used[id] = true
	return id
}

// part adds a package, file or step.
func (s *spdx) part(l Listed) {
	id := common.ElementID(s.id("Part", l.Kind, l.Name, l.Version))
	p := s.add(id, l.Name, l.Kind, l.SHA256)
	p.PackageVersion, p.PrimaryPackagePurpose = l.Version, purpose(l.Kind)
	if l.URL != "" {
		p.PackageDownloadLocation = l.URL
	}
	if l.Path != "" {
		p.PackageSourceInfo = foundComment + l.Path
	}
	if purl := l.PURL(); purl != "" {
		p.PackageExternalReferences = []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager,
			RefType: common.TypePackageManagerPURL, Locator: purl}}
	}
	if licence := s.declared(l.License); licence != "" {
		p.PackageLicenseDeclared = licence
	}
	for _, n := range l.Layers {
		s.relate(layerID(l.Platform, n), common.TypeRelationshipContains, id)
	}
}

// licence gives the reference of a licence that is not in SPDX's list.
func (s *spdx) licence(name string) string {
	if ref, ok := s.refs[name]; ok {
		return ref
	}
	ref := s.id("LicenseRef", name)
	s.refs[name] = ref
	s.doc.OtherLicenses = append(s.doc.OtherLicenses, &v2_3.OtherLicense{LicenseIdentifier: ref, ExtractedText: name,
		LicenseName: name})
	return ref
}
