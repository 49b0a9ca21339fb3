package strictyaml

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// File is a kind of file: what it is called, and the description of what is in it.
type File struct {
	// Name is how such a file is usually called.
	Name string
	// Title is what it is, in a few words.
	Title string
	// URL is where its JSON Schema is published.
	URL string
	// Intro is what the page says before its tables, in Markdown.
	Intro string
	// Common are headings of the page, by the group of keys (Key.Group) that stand below them once. Each says in
	// Markdown where the keys may be.
	Common map[string]string
	// Value reads the whole file.
	Value Value
}

// Schema is the file's JSON Schema, draft 2020-12. A file that the reader takes fits it. The schema takes some files
// that the reader refuses: it has no rules between keys, and of some grammars a pattern that is wider.
func (f File) Schema() ([]byte, error) {
	root := f.Value.Shape().schema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = f.URL
	root["title"] = f.Title
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("write schema of %q: %w", f.Name, err)
	}
	return []byte(b.String()), nil
}

// schema is the shape as a JSON Schema.
func (s Shape) schema() map[string]any {
	if len(s.Either) > 0 {
		of := make([]any, len(s.Either))
		for i, e := range s.Either {
			of[i] = e.schema()
		}
		return map[string]any{"anyOf": of}
	}
	switch s.Kind {
	case Text:
		return s.Grammar.schema()
	case Number:
		return s.numberSchema()
	case Bool:
		return map[string]any{"type": "boolean"}
	case List:
		out := map[string]any{"type": []string{"array", "null"}, "items": s.Items.schema()}
		if s.Filled {
			out["type"], out["minItems"] = "array", 1
		}
		return out
	case Mapping:
		return s.mappingSchema()
	}
	return map[string]any{"type": "null"}
}

func (s Shape) numberSchema() map[string]any {
	out := map[string]any{"type": "integer", "minimum": s.Low}
	if s.Decimals {
		out["type"] = "number"
	}
	if s.High != 0 && s.High < MaxInt {
		out["maximum"] = s.High
	}
	return out
}

// schema is the grammar as a JSON Schema. A number that the grammar takes is not looked into: what it was written as
// is lost.
func (g Grammar) schema() map[string]any {
	if len(g.Words) > 0 {
		return map[string]any{"enum": g.Words}
	}
	out := g.stringSchema()
	types := []string{"string"}
	if g.numeric() {
		types = append(types, "number")
	}
	if g.Bools && g.takes("true", "false") {
		types = append(types, "boolean")
	}
	out["type"] = types
	if len(types) == 1 {
		out["type"] = "string"
	}
	return out
}

func (g Grammar) stringSchema() map[string]any {
	out := map[string]any{}
	if g.Pattern != "" {
		out["pattern"] = "^(?:" + g.Pattern + ")$"
	}
	if g.Limit > 0 {
		out["maxLength"] = g.Limit
	}
	if len(g.Except) > 0 {
		out["not"] = map[string]any{"enum": g.Except}
	}
	return out
}

func (s Shape) mappingSchema() map[string]any {
	out := map[string]any{"type": []string{"object", "null"}}
	if s.Names != nil {
		out["propertyNames"] = s.Names.stringSchema()
		out["additionalProperties"] = s.Items.schema()
		return out
	}
	properties := map[string]any{}
	var required []string
	for _, k := range s.Keys {
		properties[k.Name] = k.schema()
		if k.Required {
			required = append(required, k.Name)
		}
	}
	out["properties"], out["additionalProperties"] = properties, false
	if s.Filled {
		out["type"], out["minProperties"] = "object", 1
	}
	if len(required) > 0 {
		out["type"], out["required"] = "object", required
	}
	return out
}

func (k Key) schema() map[string]any {
	out := k.Value.Shape().schema()
	out["description"] = k.Doc
	if k.Default != "" {
		out["description"] = k.Doc + " Default: " + k.Default + "."
	}
	if k.Example != "" {
		if n, problems := Parse([]byte(k.Example), k.Name, exampleLimits()); len(problems) == 0 && n != nil {
			out["examples"] = []any{n.JSON()}
		}
	}
	return out
}

func exampleLimits() Limits { return Limits{Bytes: 4096, Depth: 8, Tokens: 1000} }

// jsonNumber is a number of YAML as a json.Number, or the text itself where JSON has no such number.
func jsonNumber(text string) any {
	if json.Valid([]byte(text)) {
		return json.Number(text)
	}
	text = strings.ReplaceAll(text, "_", "")
	if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) { // 007, .5, +1
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64))
	}
	if v, err := strconv.ParseInt(text, 0, 64); err == nil { // 0x10
		return json.Number(strconv.FormatInt(v, 10))
	}
	return text
}

// JSON is the node as JSON has it: nil, string, json.Number, bool, []any or map[string]any. A number that JSON cannot
// write is a string.
func (n *Node) JSON() any {
	switch n.Kind {
	case Text:
		return n.Text
	case Number:
		return jsonNumber(n.Text)
	case Bool:
		return strings.EqualFold(n.Text, "true")
	case List:
		out := make([]any, len(n.Items))
		for i, it := range n.Items {
			out[i] = it.JSON()
		}
		return out
	case Mapping:
		out := make(map[string]any, len(n.Pairs))
		for _, p := range n.Pairs {
			out[p.Key.Text] = p.Value.JSON()
		}
		return out
	}
	return nil
}
