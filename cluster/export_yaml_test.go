package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"
)

// Whatever is text in an export is text for Kubernetes' reader of YAML, too; and keys keep their order.
func TestExportTextIsText(t *testing.T) {
	t.Parallel()
	texts := []string{"1", "1e3", "1E5", "0x1f", "0o7", "0b1", "1_000", "yes", "NO", "on", "y", "null", "~",
		"2026-01-02", "12:34:56", "true", ".5", ".inf", "-1", "+1", "", " a", "a ", "a: b", "a #b", "- a",
		"*a", "&a", "!a",
		"%a", "@a", "`a", "é", "'{\"a\":0.5}'", "a\nb", "="}
	for _, text := range texts {
		data, err := mapping{{"z", text}, {"a", []string{text}}, {"m", map[string]string{text: text}}}.write()
		if err != nil {
			t.Fatal(err)
		}
		j, err := yaml.YAMLToJSON(data)
		if err != nil {
			t.Fatalf("%q: %v\n%s", text, err, data)
		}
		var got map[string]any
		if err := json.Unmarshal(j, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"z": text, "a": []any{text}, "m": map[string]any{text: text}}
		if !reflect.DeepEqual(got, want) || data[0] != 'z' {
			t.Errorf("%q is read as %v of\n%s", text, got, data)
		}
	}
}
