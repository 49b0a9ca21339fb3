package sbom

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// Names of properties in CycloneDX. Their values are texts.
const (
	layerProperty    = "raybuild:layer"    // the digest and title of a layer that holds the component
	platformProperty = "raybuild:platform" // os/arch, in an image of several platforms
	kindProperty     = "raybuild:kind"     // one of the kinds of parts
	pathProperty     = "raybuild:path"     // the file in the image by which it was found
)

// cdxType is the type of a component by kind.
func cdxType(kind string) cyclonedx.ComponentType {
	switch kind {
	case Base:
		return cyclonedx.ComponentTypeContainer
	case Installer:
		return cyclonedx.ComponentTypeApplication
	case File:
		return cyclonedx.ComponentTypeFile
	case Step, Config:
		return cyclonedx.ComponentTypeData
	}
	return cyclonedx.ComponentTypeLibrary
}

// CycloneDX writes the bill as CycloneDX 1.6 JSON. The same bill gives the same bytes.
func (b *Bill) CycloneDX() ([]byte, error) {
	serial := uuid.NewHash(sha256.New(), uuid.NameSpaceURL,
		[]byte(fmt.Sprintf("%s%d/%s", namespace, Rules, b.Digest)), 5)
	components := make([]cyclonedx.Component, 0, len(b.Platforms))
	ids, declared := spdx{used: map[string]bool{}}, once(licences)
	for _, l := range b.List() {
		c := b.component(l, ids.id(l.Kind, l.Name, l.Version))
		c.Licenses = declared(l.License)
		components = append(components, c)
	}
	for i, p := range b.Platforms {
		for _, f := range p.Unowned {
			components = append(components, cyclonedx.Component{BOMRef: ids.id("unowned", f),
				Type: cyclonedx.ComponentTypeFile, Name: "/" + f,
				Properties: b.properties(Listed{Part: Part{Kind: "unowned"}, Platform: i})})
		}
	}
	bom := cyclonedx.BOM{JSONSchema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
		BOMFormat: cyclonedx.BOMFormat, SpecVersion: cyclonedx.SpecVersion1_6, Version: 1,
		SerialNumber: serial.URN(), Components: &components,
		Metadata: &cyclonedx.Metadata{
			Timestamp: b.Created.UTC().Format(time.RFC3339),
			Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{Name: "raybuild-sbom",
				Type: cyclonedx.ComponentTypeApplication, Version: strconv.Itoa(Rules)}}},
			Component: &cyclonedx.Component{BOMRef: "image", Type: cyclonedx.ComponentTypeContainer, Name: "image",
				Version: b.Digest.String(), Hashes: hashes(b.Digest.Encoded())},
		}}
	var out bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetEscapeHTML(false)
	if err := encoder.Encode(&bom); err != nil {
		return nil, fmt.Errorf("write CycloneDX: %w", err)
	}
	return out.Bytes(), nil
}

func hashes(sha256 string) *[]cyclonedx.Hash {
	if sha256 == "" {
		return nil
	}
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sha256}}
}

// component writes one part without its licences.
func (b *Bill) component(l Listed, ref string) cyclonedx.Component {
	c := cyclonedx.Component{BOMRef: ref, Type: cdxType(l.Kind), Name: l.Name, Version: l.Version,
		Hashes: hashes(l.SHA256), PackageURL: l.PURL(), Properties: b.properties(l)}
	if l.URL != "" {
		c.ExternalReferences = &[]cyclonedx.ExternalReference{{Type: cyclonedx.ERTypeDistribution, URL: l.URL}}
	}
	return c
}

// licences writes what a package declares.
func licences(text string) *cyclonedx.Licenses {
	l, ok := readLicence(text)
	switch {
	case !ok:
		return nil
	case l.known && l.names == 1 && len(l.words) == 1 && isListed(l.words[0]):
		return &cyclonedx.Licenses{{License: &cyclonedx.License{ID: l.words[0]}}}
	case l.known:
		return &cyclonedx.Licenses{{Expression: l.String()}}
	}
	return &cyclonedx.Licenses{{License: &cyclonedx.License{Name: l.String()}}}
}

// properties writes where a part is.
func (b *Bill) properties(l Listed) *[]cyclonedx.Property {
	out := []cyclonedx.Property{{Name: kindProperty, Value: l.Kind}}
	platform := b.Platforms[l.Platform]
	for _, n := range l.Layers {
		layer := platform.Layers[n]
		out = append(out, cyclonedx.Property{Name: layerProperty,
			Value: layer.Digest.String() + " " + plain(layer.Title)})
	}
	if len(b.Platforms) > 1 {
		out = append(out, cyclonedx.Property{Name: platformProperty, Value: platform.Name})
	}
	if l.Path != "" {
		out = append(out, cyclonedx.Property{Name: pathProperty, Value: "/" + l.Path})
	}
	return &out
}
