// Package schematest asks a JSON Schema what it says of YAML files, for tests that compare it with the reader of the
// same description. The validator is santhosh-tekuri/jsonschema, so that the schema is read by another program than
// the one that wrote it.
package schematest

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Schema is a compiled JSON Schema.
type Schema struct{ compiled *jsonschema.Schema }

// Compile reads a JSON Schema, which has to be valid by its own meta-schema.
func Compile(t testing.TB, schema []byte) Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatalf("read schema: %v", err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatalf("add schema: %v", err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("compile schema: %v", err)
	}
	return Schema{s}
}

// Verdict is what a schema says of a file.
type Verdict struct {
	// Document tells whether the file is a document at all: a schema cannot say that a key is there twice.
	Document bool
	// Err is why the schema refuses it; nil where it takes it.
	Err error
}

func limits() strictyaml.Limits { return strictyaml.Limits{Bytes: 1 << 20, Depth: 32, Tokens: 100_000} }

// Verdict validates a YAML file of at most a megabyte. A file without content is an empty mapping.
func (s Schema) Verdict(data []byte) Verdict {
	root, problems := strictyaml.Parse(data, "file", limits())
	if len(problems) > 0 {
		return Verdict{}
	}
	var value any = map[string]any{}
	if root != nil {
		value = root.JSON()
	}
	return Verdict{Document: true, Err: s.compiled.Validate(value)}
}
