package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/layers"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	for file, url := range map[string]string{"recipe": layers.RecipeSchemaURL, "cluster": cluster.SchemaURL} {
		got := call(t, t.TempDir(), "schema", file)
		var schema map[string]any
		if err := json.Unmarshal([]byte(got.stdout), &schema); err != nil || got.code != exitDone ||
			schema["$id"] != url {
			t.Errorf("schema %s: %v, exit code %d, $id %v", file, err, got.code, schema["$id"])
		}
		page, err := os.ReadFile(filepath.Join("../../docs", file+".md"))
		if got := call(t, t.TempDir(), "schema", file, "--page"); err != nil || got.stdout != string(page) {
			t.Errorf("schema %s --page is not docs/%s.md (%v)", file, file, err)
		}
	}
	got := call(t, t.TempDir(), "schema", "lock")
	if got.code != exitUsage || !strings.Contains(got.stderr, "write recipe or cluster") {
		t.Errorf("schema lock: %+v", got)
	}
}

// The first line of a new recipe names its schema.
func TestInitNamesTheSchema(t *testing.T) {
	t.Parallel()
	want := "# yaml-language-server: $schema=" + layers.RecipeSchemaURL + "\n"
	if !strings.HasPrefix(string(initialRecipe), want) {
		t.Errorf("the recipe begins with %.120q", initialRecipe)
	}
}
