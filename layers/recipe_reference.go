package layers

import (
	_ "embed"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// RecipeSchemaURL is where the JSON Schema of a recipe is published. Editors take it from the first line of a file.
const RecipeSchemaURL = "https://raw.githubusercontent.com/raybuild/raybuild/main/schema/recipe.schema.json"

//go:embed data/recipe.md
var recipeIntro string

// RecipeSchema is the JSON Schema of a recipe, draft 2020-12. It takes every recipe that LoadRecipe takes, and some
// that LoadRecipe refuses: rules between keys are not in it.
func RecipeSchema() ([]byte, error) { return recipeFile().Schema() }

// RecipePage is the reference of a recipe in Markdown: every key with what it is for, its type, its default and an
// example.
func RecipePage() []byte { return recipeFile().Page() }

func recipeFile() strictyaml.File {
	return strictyaml.File{Name: "raybuild.yaml", Title: "A recipe of raybuild", URL: RecipeSchemaURL,
		Intro: strings.ReplaceAll(recipeIntro, "SCHEMA", RecipeSchemaURL), Value: recipeValue(&Recipe{})}
}
