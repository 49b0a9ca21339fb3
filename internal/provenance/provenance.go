// Package provenance says how an image was made, as SLSA v1 provenance in an in-toto statement v1. It knows no
// registry, no lock and no builder.
package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
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
	predicate, err := in.predicate()
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	// json.Marshal takes out the spaces that protojson puts in at random.
	data, err := json.Marshal(statement{Type: intoto.StatementTypeUri, PredicateType: PredicateType,
		Subject: []subject{{digests(in.Image)}}, Predicate: predicate})
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	return data, nil
}

// statement is an intoto.Statement whose predicate is written already.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Digest map[string]string `json:"digest"`
}

func digests(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// predicate is SLSA's provenance as JSON.
func (in Input) predicate() (json.RawMessage, error) {
	platforms := make([]any, len(in.Platforms))
	for i, p := range in.Platforms {
		platforms[i] = p
	}
	external, err := structpb.NewStruct(map[string]any{
		"recipe": map[string]any{"digest": in.Recipe.String()}, "lock": map[string]any{"digest": in.Lock.String()},
		"platforms": platforms, "compression": in.Compression,
	})
	if err != nil {
		return nil, err
	}
	internal, err := structpb.NewStruct(map[string]any{"graph": in.Graph.String()})
	if err != nil {
		return nil, err
	}
	materials, err := in.materials()
	if err != nil {
		return nil, err
	}
	p := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{BuildType: BuildType, ExternalParameters: external,
			InternalParameters: internal, ResolvedDependencies: materials},
		RunDetails: &slsa.RunDetails{Builder: &slsa.Builder{Id: BuilderID,
			Version: map[string]string{"raybuild": in.Version}}},
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return protojson.Marshal(p)
}

// materials are sorted, each once.
func (in Input) materials() ([]*intoto.ResourceDescriptor, error) {
	all := slices.Clone(in.Materials)
	text := func(m Material) string {
		return strings.Join([]string{m.Use, m.Name, m.URI, m.Digest.String()}, "\x00")
	}
	slices.SortFunc(all, func(a, b Material) int { return strings.Compare(text(a), text(b)) })
	all = slices.Compact(all)
	out := make([]*intoto.ResourceDescriptor, len(all))
	for i, m := range all {
		if m.Digest.Validate() != nil {
			return nil, fmt.Errorf("material %q: %w", m.Name, errIncomplete)
		}
		use, err := structpb.NewStruct(map[string]any{"use": m.Use})
		if err != nil {
			return nil, err
		}
		out[i] = &intoto.ResourceDescriptor{Name: m.Name, Uri: m.URI, Digest: digests(m.Digest), Annotations: use}
	}
	return out, nil
}
