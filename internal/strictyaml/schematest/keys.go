package schematest

import (
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// CheckKeys tells what a description lacks: a key without a text, an example that the key's own
// value or its schema does not take, a default of a key that is required.
func CheckKeys(t *testing.T, keys []strictyaml.Key) {
	t.Helper()
	checkKeys(t, "", keys)
}

func checkKeys(t *testing.T, path string, keys []strictyaml.Key) {
	t.Helper()
	for _, k := range keys {
		key := strictyaml.JoinKey(path, k.Name)
		if !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: its text is %q, not a sentence", key, k.Doc)
		}
		if k.Required && k.Default != "" {
			t.Errorf("%s: it is required and has a default", key)
		}
		if k.Example != "" {
			checkExample(t, key, k)
		}
		checkShape(t, key, k.Value.Shape())
	}
}

// checkExample reads a key's example and validates it.
func checkExample(t *testing.T, key string, k strictyaml.Key) {
	t.Helper()
	n, problems := strictyaml.Parse([]byte(k.Example), key, limits())
	var r strictyaml.Reader
	r.Tell(problems...)
	r.Read(n, key, k.Value)
	if err := r.Err(); n == nil || err != nil {
		t.Errorf("%s: its reader refuses its example %q: %v", key, k.Example, err)
	}
	schema, err := strictyaml.File{Name: key, Value: k.Value}.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if v := Compile(t, schema).Verdict([]byte(k.Example)); v.Err != nil {
		t.Errorf("%s: its schema refuses its example %q: %v", key, k.Example, v.Err)
	}
}

// checkShape looks into the mappings of a shape.
func checkShape(t *testing.T, key string, s strictyaml.Shape) {
	t.Helper()
	for _, e := range s.Either {
		checkShape(t, key, e)
	}
	if s.Items != nil {
		checkShape(t, key+"[]", *s.Items)
	}
	checkKeys(t, key, s.Keys)
}
