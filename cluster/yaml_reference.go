package cluster

import (
	_ "embed"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// SchemaURL is the address of the published JSON Schema of a cluster.yaml. Editors read it from the first line of a
// file.
const SchemaURL = "https://raw.githubusercontent.com/raybuild/raybuild/main/schema/cluster.schema.json"

//go:embed data/cluster.md
var fileIntro string

// Schema returns the JSON Schema of a cluster.yaml, draft 2020-12. It accepts every file that Load accepts. It accepts
// more, because it has no rules between keys.
func Schema() ([]byte, error) { return referenceFile().Schema() }

// Page returns the reference of a cluster.yaml in Markdown. Every key has a sentence, a type, a default and an
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
