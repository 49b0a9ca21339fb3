package cluster

import (
	_ "embed"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// SchemaURL is where the JSON Schema of a cluster.yaml is published. Editors take it from the first line of a file.
const SchemaURL = "https://raw.githubusercontent.com/raybuild/raybuild/main/schema/cluster.schema.json"

//go:embed data/cluster.md
var fileIntro string

// Schema is the JSON Schema of a cluster.yaml, draft 2020-12. It takes every file that Load takes, and some that Load
// refuses: rules between keys are not in it.
func Schema() ([]byte, error) { return referenceFile().Schema() }

// Page is the reference of a cluster.yaml in Markdown: every key with what it is for, its type, its default and an
// example.
func Page() []byte { return referenceFile().Page() }

func referenceFile() strictyaml.File {
	const common = "These keys stand at the top of the file for all nodes, and in `head` or a group of `workers` for " +
		"its own.\nThe key nearer to a node wins: its list or value replaces the one above, and its " +
		"mapping is added to it."
	return strictyaml.File{Name: "cluster.yaml", Title: "A cluster of raybuild", URL: SchemaURL,
		Common: map[string]string{nodeKeyGroup: common},
		Intro:  strings.ReplaceAll(fileIntro, "SCHEMA", SchemaURL), Value: strictyaml.Map(newDocument().keys()...)}
}
