package provenance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
)

func input() Input {
	d := func(s string) digest.Digest { return digest.FromString(s) }
	return Input{Image: d("image"), Version: "v1", Recipe: d("recipe"), Lock: d("lock"), Graph: d("graph"),
		Platforms: []string{"linux/amd64"}, Compression: "gzip", Materials: []Material{
			{"wheel ray 2.60.0", "https://files.pythonhosted.org/ray.whl", d("ray"), "artifact"},
			{"ubuntu:22.04", "pkg:oci/ubuntu@x", d("base"), "base"}, {"app/main.py", "", d("main"), "file"}}}
}

// The statement is one for in-toto's own reader, and its predicate for SLSA's.
func TestStatementIsValid(t *testing.T) {
	t.Parallel()
	data, err := Statement(input())
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if s.GetType() != "https://in-toto.io/Statement/v1" || s.GetPredicateType() != PredicateType ||
		s.GetSubject()[0].GetDigest()["sha256"] != digest.FromString("image").Encoded() {
		t.Errorf("%s", data)
	}
	var p slsa.Provenance
	text, err := protojson.Marshal(s.GetPredicate())
	if err == nil {
		err = protojson.Unmarshal(text, &p)
	}
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		t.Error(err)
	}
	b := p.GetBuildDefinition()
	if len(b.GetResolvedDependencies()) != 3 || b.GetBuildType() != BuildType ||
		p.GetRunDetails().GetBuilder().GetVersion()["raybuild"] != "v1" || p.GetRunDetails().GetMetadata() != nil {
		t.Errorf("%s", data)
	}
}

func TestStatementIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	first, err := Statement(input())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		in := input()
		slices.Reverse(in.Materials)
		in.Materials = append(in.Materials, in.Materials[0])
		if again, err := Statement(in); err != nil || !bytes.Equal(again, first) {
			t.Fatalf("%v:\n%s\n%s", err, first, again)
		}
	}
	if !json.Valid(first) {
		t.Errorf("%s", first)
	}
}

func TestStatementNeedsDigests(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Input){
		"image": func(in *Input) { in.Image = "" }, "version": func(in *Input) { in.Version = "" },
		"lock": func(in *Input) { in.Lock = "sha256:x" }, "platforms": func(in *Input) { in.Platforms = nil },
		"material": func(in *Input) { in.Materials[0].Digest = "" },
	} {
		in := input()
		spoil(&in)
		if data, err := Statement(in); err == nil {
			t.Errorf("without %s there is %s", name, data)
		}
	}
}

// BenchmarkStatement writes the provenance of an image of 600 artifacts.
func BenchmarkStatement(b *testing.B) {
	in := input()
	for n := range 600 {
		in.Materials = append(in.Materials, Material{fmt.Sprint("deb package ", n), "http://deb.debian.org/pool/a.deb",
			digest.FromString(fmt.Sprint(n)), "artifact"})
	}
	for b.Loop() {
		if _, err := Statement(in); err != nil {
			b.Fatal(err)
		}
	}
}
