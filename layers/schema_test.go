package layers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/strictyaml/schematest"
)

func recipeSchema(t testing.TB) schematest.Schema {
	t.Helper()
	data, err := RecipeSchema()
	if err != nil {
		t.Fatal(err)
	}
	return schematest.Compile(t, data)
}

// What is checked in is what the description gives.
func TestRecipeReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	schema, err := RecipeSchema()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{"../schema/recipe.schema.json": schema,
		"../docs/recipe.md": RecipePage()} {
		if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("%s is out of date (%v): run make docs", file, err)
		}
	}
}

// Every key has a text, and its example is one that reader and schema take.
func TestRecipeExamplesOfKeys(t *testing.T) {
	t.Parallel()
	schematest.CheckKeys(t, recipeKeys(&Recipe{}))
}

// Whatever the reader takes, the schema takes.
func TestSchemaTakesGoodRecipes(t *testing.T) {
	t.Parallel()
	schema := recipeSchema(t)
	nulls := "apt:\nsteps:\nmirrors:\nimage: {env: }\nray: {extras: }"
	good := map[string]string{"everything": everything, "nothing": "", "nulls": nulls}
	files, err := filepath.Glob("../examples/*/raybuild.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range append(files, "../internal/cli/init.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		good[file] = string(data)
	}
	for name, text := range good {
		if _, err := LoadRecipe([]byte(text), "raybuild.yaml", nil); err != nil {
			t.Errorf("%s: the reader refuses it: %v", name, err)
		}
		if v := schema.Verdict([]byte(text)); !v.Document || v.Err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, v.Err)
		}
	}
}

// schemaTakes are the refused recipes that the schema takes, with the reason.
func schemaTakes() map[string]string {
	const (
		between   = "it is a rule between two values"
		meaning   = "it depends on what the text means"
		lookahead = "that something is not there takes a lookahead, which not all validators have"
		hidden    = "characters that no text may have are in no pattern: each pattern would be as long as a page"
	)
	return map[string]string{
		"a mirror twice":                      between,
		"Miniconda's version for Miniforge":   between,
		"a step that needs what comes later":  between,
		"a step that needs what is not there": between,
		"steps that need each other":          between,
		"two files to one place":              between,
		"PATH without the environment":        between,
		"two versions of a package":           between,
		"one digest for two platforms":        between,
		"Anaconda's terms":                    between,
		"an identity that names nobody":       between,
		"a subject of any issuer":             between,
		"everybody of an issuer":              between,
		"a key and a subject":                 between,
		"two subjects":                        between,
		"an expression that is none":          meaning,
		"ray among the packages":              meaning,
		"python under conda":                  meaning,
		"a path out of the directory":         lookahead,
		"tokens of conda servers":             lookahead,
		"a token without a URL":               lookahead,
		"a test that runs nothing":            "what a blank is differs between validators",
		"not a number":                        "JSON has no .nan",
		"an escaped NUL in a test":            hidden,
		"an escaped NUL":                      hidden,
		"an escaped turn of direction":        hidden,
	}
}

// What the reader refuses, the schema refuses, but for what is listed.
func TestSchemaRefusesBadRecipes(t *testing.T) {
	t.Parallel()
	schema := recipeSchema(t)
	takes, seen := schemaTakes(), map[string]bool{}
	for _, tt := range refusedRecipes() {
		v := schema.Verdict([]byte(tt.text))
		why, listed := takes[tt.name]
		seen[tt.name] = true
		switch {
		case !v.Document: // no schema is asked about what is no document
		case v.Err == nil && !listed:
			t.Errorf("%s: the reader refuses it and the schema takes it:\n%s", tt.name, tt.text)
		case v.Err != nil && listed:
			t.Errorf("%s: the schema refuses it, though it is listed as one that it cannot refuse: %s", tt.name, why)
		}
	}
	for name := range takes {
		if !seen[name] {
			t.Errorf("%q is listed, and is no refused recipe", name)
		}
	}
}

// FuzzSchemaTakes looks for a recipe that the reader takes and the schema refuses.
func FuzzSchemaTakes(f *testing.F) {
	schema := recipeSchema(f)
	f.Add([]byte(everything))
	f.Add([]byte("mirrors: {fetch: auto, image: {pip: https://h/simple/}}\nlayers: {budget: 20, max_size: ' " +
		"16MB'}\nenv: {python: 3.12}"))
	f.Add([]byte("pip: {added: [[a]], extra_indexes: [{url: HTTP://h, packages: [a]}]}\nsmoke: x\nimage: {labels: " +
		"{a: 1e400, b: 0x1}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := LoadRecipe(data, "raybuild.yaml", nil); err != nil {
			return
		}
		if v := schema.Verdict(data); !v.Document || v.Err != nil {
			t.Errorf("the schema refuses what the reader takes: %v\n%q", v.Err, data)
		}
	})
}

// The strings that no grammar should let through, in every field: what the reader takes of them all the same, the
// schema takes.
func TestSchemaTakesWhatPassesHostileFields(t *testing.T) {
	t.Parallel()
	schema := recipeSchema(t)
	taken := 0
	for field, form := range hostileFields() {
		for _, value := range append(oddValues(), quotedHostile(t)...) {
			text := fmt.Appendf(nil, form, value)
			if _, err := LoadRecipe(text, "raybuild.yaml", nil); err != nil {
				continue
			}
			taken++
			if v := schema.Verdict(text); v.Err != nil {
				t.Errorf("%s: the schema refuses %s: %v", field, value, v.Err)
			}
		}
	}
	if taken < 200 {
		t.Errorf("the reader takes %d of the values", taken)
	}
}

// quotedHostile are the hostile strings in JSON.
func quotedHostile(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, s := range hostileStrings() {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(quoted))
	}
	return out
}

// oddValues are values that some field takes.
func oddValues() []string {
	return []string{`""`, "null", "true", "0", "007", "1", "1.5", "3.12", "1e3", "0x10", "1_000", "2026-01-02", ".nan",
		"[]", "{}", "[a]", "[null]", "{a: b}", "a", "a.b-c_d", "vim=2:9.1", "ubuntu:22.04", `"[::1]:5000/a/b:x"`,
		"localhost/x@sha256:" + strings.Repeat("a", 64), "HTTP://h/x", `"https://[::1]:8080/simple//"`, "https://h",
		"./a/b", "./dist/a-?.whl", "données/é x", "/", "/a b/é", "pkgs/main", "conda-forge::numpy=1.26=py312_0",
		"_libgcc_mutex", `"numpy >=1.26,<2|3.*"`, `" x [a, b] (>=1) ; os_name=='posix'"`, `"\u00a0x"`, "A.b_c", "3.6",
		"0.8.6", "1.0.1.post1", "py312_26.7.1-1", "16MB", `" 1GB "`, "linux/arm/v7", "noble-updates", "xenial/", "x/y"}
}
