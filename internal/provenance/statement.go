package provenance

import "github.com/opencontainers/go-digest"

// statementType is that of in-toto's statements
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).
const statementType = "https://in-toto.io/Statement/v1"

// statement is in-toto's, with SLSA's predicate. Its fields are those that raybuild writes. in-toto's own types are
// made for protobuf, and take 20 times as long for the materials of an image.
type statement struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     predicate    `json:"predicate"`
}

// descriptor is in-toto's ResourceDescriptor.
type descriptor struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations *annotations      `json:"annotations,omitempty"`
}

type annotations struct {
	Use string `json:"use"`
}

type predicate struct {
	Definition definition `json:"buildDefinition"`
	Run        run        `json:"runDetails"`
}

type definition struct {
	BuildType string       `json:"buildType"`
	External  external     `json:"externalParameters"`
	Internal  internal     `json:"internalParameters"`
	Materials []descriptor `json:"resolvedDependencies,omitempty"`
}

// external are the parameters that a user gives.
type external struct {
	Compression string   `json:"compression"`
	Lock        pinned   `json:"lock"`
	Platforms   []string `json:"platforms"`
	Recipe      pinned   `json:"recipe"`
}

type internal struct {
	Graph digest.Digest `json:"graph"`
}

type pinned struct {
	Digest digest.Digest `json:"digest"`
}

type run struct {
	Builder builder `json:"builder"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}
