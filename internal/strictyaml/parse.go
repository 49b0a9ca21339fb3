package strictyaml

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

// Limits bound what a file may cost before anything of it is believed.
type Limits struct {
	// Bytes is the size of the file.
	Bytes int
	// Depth is the nesting of lists and mappings.
	Depth int
	// Tokens counts characters that can begin a token: time and memory of the parser grow with them.
	Tokens int
	// Large is what to do about a file that is too large, for its message. Default "is it the right file?".
	Large string
}

func (l Limits) fix() string {
	if l.Large != "" {
		return l.Large
	}
	return "is it the right file?"
}

// Parse reads one YAML document strictly. Anchors, aliases, merge keys, tags, second documents and repeated keys are
// problems, and so is text that looks other than it is. file names the document in problems.
//
// The tree is nil for an empty document, and for one that cannot be parsed. Where there are problems and a tree, what
// they are about is left out of the tree or is of the kind Refused, and the rest can be read: see Reader.Tell.
func Parse(data []byte, file string, limits Limits) (*Node, []Problem) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if p := Precheck(data, limits); p != nil {
		p.File = file
		return nil, []Problem{*p}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, []Problem{syntaxProblem(err, data, file)}
	}
	c := converter{file: file, limits: limits}
	var next yaml.Node
	if err := dec.Decode(&next); err != nil && !errors.Is(err, io.EOF) {
		return nil, []Problem{syntaxProblem(err, data, file)}
	} else if err == nil {
		c.refuse(&next, "a second document", "keep one document in the file: remove what follows ---")
		return nil, c.problems
	}
	root := c.convert(&doc, 0)
	return root, c.problems
}

// Precheck refuses what no parser should even see: too much, what is not UTF-8, control characters, and text that
// looks other than it is. It returns nil where there is nothing to refuse, else a problem without a file.
func Precheck(data []byte, limits Limits) *Problem {
	if len(data) > limits.Bytes {
		return &Problem{Message: fmt.Sprintf("the file has %d bytes, more than the %d allowed", len(data),
			limits.Bytes),
			Fix: limits.fix()}
	}
	tokens, line, col := 0, 1, 1
	for i := 0; i < len(data); col++ {
		b := data[i]
		if b < utf8.RuneSelf {
			if b < 0x20 && b != '\n' && b != '\t' && b != '\r' || b == 0x7f {
				return &Problem{Line: line, Column: col, Message: fmt.Sprintf("control character U+%04X", b),
					Fix: "remove it"}
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
		if what := HiddenRune(r); what != "" {
			return &Problem{Line: line, Column: col, Message: fmt.Sprintf("%s U+%04X", what, r),
				Fix: "remove it: it makes text look different from what it is"}
		}
		i += size
	}
	if tokens > limits.Tokens {
		return &Problem{Message: fmt.Sprintf("the file is too complex: more than %d lines and separators",
			limits.Tokens),
			Fix: limits.fix()}
	}
	return nil
}

//nolint:gochecknoglobals // compiled once, written never
var parserError = Regexp(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?(?s:(.*))$`)

// syntaxProblem gives a parser's error its place and, where the cause is plain to
// see, says what would be right.
func syntaxProblem(err error, data []byte, file string) Problem {
	p := Problem{File: file, Message: "not valid YAML: " + err.Error(),
		Fix: "check indentation, quotes and brackets around here"}
	m := parserError().FindStringSubmatch(err.Error())
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

// converter turns the parser's tree into ours, and collects what is refused.
type converter struct {
	file     string
	limits   Limits
	problems []Problem
}

func (c *converter) refuse(n *yaml.Node, message, fix string) {
	c.problems = append(c.problems, Problem{File: c.file, Line: n.Line, Column: n.Column, Message: message, Fix: fix})
}

func (c *converter) convert(n *yaml.Node, depth int) *Node {
	if n.Kind == yaml.DocumentNode {
		return c.convert(n.Content[0], depth)
	}
	out := &Node{Kind: Refused, File: c.file, Line: n.Line, Column: n.Column, Text: n.Value}
	switch {
	case depth > c.limits.Depth:
		c.refuse(n, fmt.Sprintf("nested deeper than %d levels", c.limits.Depth), c.limits.fix())
		return out
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		c.refuse(n, "anchors and aliases are not supported", "write the value out")
		return out
	case n.Style&yaml.TaggedStyle != 0:
		c.refuse(n, fmt.Sprintf("the tag %q is not supported", n.Tag),
			"remove it; quote text that looks like something else")
		return out
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.Kind = Mapping
		c.mapping(n, out, depth)
	case yaml.SequenceNode:
		out.Kind = List
		for _, item := range n.Content {
			out.Items = append(out.Items, c.convert(item, depth+1))
		}
	default:
		out.Kind = scalarKind(n.ShortTag())
	}
	return out
}

func (c *converter) mapping(n *yaml.Node, out *Node, depth int) {
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
			c.refuse(key, fmt.Sprintf("key %q is there twice, first in line %d", key.Value, first),
				"keep one of the two")
			continue
		}
		seen[key.Value] = key.Line
		k := c.convert(key, depth+1)
		v := c.convert(n.Content[i+1], depth+1)
		if k.Kind != Refused {
			out.Pairs = append(out.Pairs, Pair{k, v})
		}
	}
}

func scalarKind(tag string) Kind {
	switch tag {
	case "!!null":
		return Null
	case "!!bool":
		return Bool
	case "!!int", "!!float":
		return Number
	}
	return Text
}
