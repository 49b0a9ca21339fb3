package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Types of claims: in-toto's predicate types, which cosign also names slsaprovenance1, spdxjson and cyclonedx.
const (
	ProvenanceClaim = "https://slsa.dev/provenance/v1"
	SPDXClaim       = "https://spdx.dev/Document"
	CycloneDXClaim  = "https://cyclonedx.org/bom"
)

// ClaimTypes are the types of claims that raybuild signs.
func ClaimTypes() []string { return []string{ProvenanceClaim, SPDXClaim, CycloneDXClaim} }

// Claim is what somebody says of an image: what is in it, or how it was made.
type Claim struct {
	Type      string // one of [ClaimTypes]
	Predicate []byte // a JSON object
}

// statement is an in-toto statement.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

type statementSubject struct {
	Digest map[string]string `json:"digest"`
}

// statement is the claim about an image as text. The bytes of the predicate stay, if it has no needless spaces.
func (c Claim) statement(d digest.Digest) ([]byte, error) {
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	write.SetEscapeHTML(false)
	if err := write.Encode(statement{Type: "https://in-toto.io/Statement/v1", PredicateType: c.Type,
		Subject:   []statementSubject{{map[string]string{d.Algorithm().String(): d.Encoded()}}},
		Predicate: c.Predicate}); err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// ClaimOf reads the claim of an in-toto statement.
func ClaimOf(text []byte) (Claim, error) {
	var s statement
	if err := json.Unmarshal(text, &s); err != nil {
		return Claim{}, fmt.Errorf("read statement: %w", err)
	}
	if s.PredicateType == "" || len(s.Predicate) == 0 {
		return Claim{}, errors.New("read statement: it has no predicate")
	}
	return Claim{Type: s.PredicateType, Predicate: s.Predicate}, nil
}
