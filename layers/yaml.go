package layers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlLimits bound what a file may cost before anything of it is believed.
type yamlLimits struct {
	bytes  int // size of the file
	depth  int // nesting
	tokens int // characters that can begin a token: what time and memory of the parser grow with
}

// recipeLimits keep the reading of any recipe below half a second and 100 MB.
func recipeLimits() yamlLimits { return yamlLimits{bytes: 1 << 20, depth: 32, tokens: 100_000} }

// lockLimits are for what a machine writes: some ten thousand artifacts.
func lockLimits() yamlLimits { return yamlLimits{bytes: 16 << 20, depth: 32, tokens: 1_500_000} }

// yamlKind is what a node is, as far as a strict reader must tell.
type yamlKind int

const (
	yamlNull yamlKind = iota
	yamlText          // a string, quoted or plain, and a plain date
	yamlNumber
	yamlBool
	yamlList
	yamlMap
)

func (k yamlKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a mapping"}[k]
}

// yamlNode is a value with its place. Numbers keep the text that was written,
// so that 3.10 stays 3.10.
type yamlNode struct {
	kind      yamlKind
	text      string
	items     []*yamlNode
	pairs     []yamlPair
	file      string // where it was written: a file name, or "--set KEY"
	line, col int    // 0 where it is not from a file
}

// yamlPair is one entry of a mapping.
type yamlPair struct{ key, value *yamlNode }

// get returns the value of a key, or nil.
func (n *yamlNode) get(key string) *yamlNode {
	for _, p := range n.pairs {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// parseYAML reads one YAML document strictly: no anchors, aliases, merge keys,
// tags, second documents or repeated keys. It returns nil for an empty document.
func parseYAML(data []byte, file string, limits yamlLimits) (*yamlNode, *RecipeError) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if p := yamlPrecheck(data, limits); p != nil {
		p.File = file
		return nil, &RecipeError{Problems: []Problem{*p}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, &RecipeError{Problems: []Problem{yamlSyntax(err, data, file)}}
	}
	var next yaml.Node
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		p := Problem{File: file, Line: next.Line, Column: next.Column, Message: "a second document", Fix: "keep one document in the file: remove what follows ---"}
		if err != nil {
			p = yamlSyntax(err, data, file)
		}
		return nil, &RecipeError{Problems: []Problem{p}}
	}
	c := yamlConverter{file: file, limits: limits}
	root := c.convert(&doc, 0)
	if len(c.problems) > 0 {
		return nil, &RecipeError{Problems: c.problems}
	}
	return root, nil
}

// yamlPrecheck refuses what the parser should not even see.
func yamlPrecheck(data []byte, limits yamlLimits) *Problem {
	if len(data) > limits.bytes {
		return &Problem{Message: fmt.Sprintf("the file has %d bytes, more than the %d allowed", len(data), limits.bytes), Fix: "is it the right file?"}
	}
	tokens, line, col := 0, 1, 1
	for i := 0; i < len(data); col++ {
		b := data[i]
		if b < utf8.RuneSelf {
			if b < 0x20 && b != '\n' && b != '\t' && b != '\r' || b == 0x7f {
				return &Problem{Line: line, Column: col, Message: fmt.Sprintf("control character U+%04X", b), Fix: "remove it"}
			}
			if strings.IndexByte("\n,:-?[]{}#&*!|>'\"%@`", b) >= 0 {
				tokens++
			}
			if b == '\n' {
				line, col = line+1, 0
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return &Problem{Line: line, Column: col, Message: "not UTF-8", Fix: "save the file as UTF-8"}
		}
		if what := hiddenRune(r); what != "" {
			return &Problem{Line: line, Column: col, Message: fmt.Sprintf("%s U+%04X", what, r), Fix: "remove it: it makes text look other than it is"}
		}
		i += size
	}
	if tokens > limits.tokens {
		return &Problem{Message: fmt.Sprintf("the file is too complex: more than %d lines and separators", limits.tokens), Fix: "is it the right file?"}
	}
	return nil
}

var yamlErrorLine = lazy(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?(?s:(.*))$`)

// yamlSyntax gives a parser's error its place and, where the cause is plain to
// see, says what would be right.
func yamlSyntax(err error, data []byte, file string) Problem {
	p := Problem{File: file, Message: "not valid YAML: " + err.Error(), Fix: "check indentation, quotes and brackets around here"}
	m := yamlErrorLine().FindStringSubmatch(err.Error())
	if m == nil {
		return p
	}
	p.Message = "not valid YAML: " + m[2]
	p.Line, _ = strconv.Atoi(m[1])
	if strings.HasPrefix(m[2], "unknown anchor") {
		p.Message, p.Fix = "anchors and aliases are not supported", "write the value out"
		return p
	}
	lines := strings.Split(string(data), "\n")
	// The parser counts lines from 0 in some of its messages: a tab is looked
	// for on the next line as well.
	for l := max(p.Line, 1); l <= min(p.Line+1, len(lines)); l++ {
		text := lines[l-1]
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
			p.Line, p.Column = l, tab+1
			p.Message, p.Fix = "a tab in the indentation", "indent with spaces"
			return p
		}
	}
	return p
}

// yamlConverter turns the parser's tree into ours, and collects what is refused.
type yamlConverter struct {
	file     string
	limits   yamlLimits
	problems []Problem
}

func (c *yamlConverter) refuse(n *yaml.Node, message, fix string) {
	c.problems = append(c.problems, Problem{File: c.file, Line: n.Line, Column: n.Column, Message: message, Fix: fix})
}

func (c *yamlConverter) convert(n *yaml.Node, depth int) *yamlNode {
	if n.Kind == yaml.DocumentNode {
		return c.convert(n.Content[0], depth)
	}
	out := &yamlNode{file: c.file, line: n.Line, col: n.Column, text: n.Value}
	switch {
	case depth > c.limits.depth:
		c.refuse(n, fmt.Sprintf("nested deeper than %d levels", c.limits.depth), "is it the right file?")
		return out
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		c.refuse(n, "anchors and aliases are not supported", "write the value out")
		return out
	case n.Style&yaml.TaggedStyle != 0:
		c.refuse(n, fmt.Sprintf("the tag %q is not supported", n.Tag), "remove it; quote text that looks like something else")
		return out
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.kind = yamlMap
		c.mapping(n, out, depth)
	case yaml.SequenceNode:
		out.kind = yamlList
		for _, item := range n.Content {
			out.items = append(out.items, c.convert(item, depth+1))
		}
	default:
		out.kind = yamlScalarKind(n.ShortTag())
	}
	return out
}

func (c *yamlConverter) mapping(n *yaml.Node, out *yamlNode, depth int) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			c.refuse(key, "a key that is not text", "keys are plain words")
			continue
		case key.Tag == "!!merge":
			c.refuse(key, "merge keys (<<) are not supported", "write the values out")
			continue
		}
		if first, ok := seen[key.Value]; ok {
			c.refuse(key, fmt.Sprintf("key %q is there twice, first in line %d", key.Value, first), "keep one of the two")
			continue
		}
		seen[key.Value] = key.Line
		k := c.convert(key, depth+1)
		out.pairs = append(out.pairs, yamlPair{k, c.convert(n.Content[i+1], depth+1)})
	}
}

func yamlScalarKind(tag string) yamlKind {
	switch tag {
	case "!!null":
		return yamlNull
	case "!!bool":
		return yamlBool
	case "!!int", "!!float":
		return yamlNumber
	}
	return yamlText
}
