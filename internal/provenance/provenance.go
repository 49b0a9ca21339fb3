// Package provenance says how an image was made, as SLSA v1 provenance in an in-toto statement v1. It knows no
// registry, no lock and no builder.
package provenance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	// ArtifactType is that of a statement that is attached to an image, and the payload type of its DSSE envelope.
	ArtifactType = "application/vnd.in-toto+json"
	// PredicateType is SLSA's (https://slsa.dev/spec/v1.1/provenance).
	PredicateType = "https://slsa.dev/provenance/v1"
	// BuildType names what the parameters mean: docs/sbom.md.
	BuildType = "https://raybuild.dev/provenance/build/v1"
	// BuilderID names raybuild on a machine that nobody vouches for.
	BuilderID = "https://raybuild.dev/provenance/builder/v1"
)

// Input is what an image was made of.
type Input struct {
	// Image is the digest of its manifest or index. Required.
	Image digest.Digest
	// Version of raybuild. Required.
	Version string
	// Recipe, Lock and Graph are their digests. Required.
	Recipe, Lock, Graph digest.Digest
	// Platforms of the image, as "linux/amd64". Required.
	Platforms []string
	// Compression of the layers: gzip, zstd or estargz.
	Compression string
	// Materials are all files and images that the image was made of. They may be in any order.
	Materials []Material
}

// Material is a file or an image that went into the image, or that helped to make it.
type Material struct {
	// Name says what it is: "python ray 2.60.0", "base ubuntu:22.04".
	Name string
	// URI is its canonical place, without users and passwords; "": it is a file of the recipe's directory.
	URI string
	// Digest of its bytes, or of an image's manifest. Required.
	Digest digest.Digest
	// Use says what it is for: artifact, base, tool or file.
	Use string
}

// errIncomplete says that something is missing that each build has.
var errIncomplete = errors.New("a digest, a version or a platform is missing")

// Statement writes the statement as JSON. The same input gives the same bytes: it holds no time and no place of this
// machine. A signature can wrap it as the payload of a DSSE envelope.
func Statement(in Input) ([]byte, error) {
	for _, d := range []digest.Digest{in.Image, in.Recipe, in.Lock, in.Graph} {
		if d.Validate() != nil || in.Version == "" || len(in.Platforms) == 0 {
			return nil, fmt.Errorf("write provenance: %w", errIncomplete)
		}
	}
	materials, err := in.materials()
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	data, err := json.Marshal(statement{Type: statementType, PredicateType: PredicateType,
		Subject: []descriptor{{Digest: digests(in.Image)}},
		Predicate: predicate{
			Definition: definition{
				BuildType: BuildType,
				External: external{Recipe: pinned{in.Recipe}, Lock: pinned{in.Lock}, Platforms: in.Platforms,
					Compression: in.Compression},
				Internal: internal{Graph: in.Graph}, Materials: materials,
			},
			Run: run{Builder: builder{ID: BuilderID, Version: map[string]string{"raybuild": in.Version}}},
		}})
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	return data, nil
}

func digests(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// materials are sorted, each once.
func (in Input) materials() ([]descriptor, error) {
	all := slices.Clone(in.Materials)
	slices.SortFunc(all, func(a, b Material) int {
		return cmp.Or(strings.Compare(a.Use, b.Use), strings.Compare(a.Name, b.Name), strings.Compare(a.URI, b.URI),
			strings.Compare(a.Digest.String(), b.Digest.String()))
	})
	all = slices.Compact(all)
	out := make([]descriptor, len(all))
	for i, m := range all {
		if m.Digest.Validate() != nil {
			return nil, fmt.Errorf("material %q: %w", m.Name, errIncomplete)
		}
		out[i] = descriptor{Name: m.Name, URI: m.URI, Digest: digests(m.Digest), Annotations: &annotations{m.Use}}
	}
	return out, nil
}
