package cluster

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Limits of a cluster.yaml. They keep a hostile file from costing time: the parser's cost grows faster than the nesting.
const (
	maxFile  = 256 << 10 // bytes
	maxDepth = 32        // nested lists and mappings
)

// Problem is one thing wrong with a cluster.yaml.
type Problem struct {
	File      string
	Line, Col int    // from 1; 0: the file as a whole
	Text      string // what is wrong
	Fix       string // what would be right
}

// String is "file:line:col: text: fix".
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
	if p.Fix == "" {
		return where + ": " + p.Text
	}
	return where + ": " + p.Text + ": " + p.Fix
}

// Problems are all the things wrong with a cluster.yaml, in file order.
type Problems []Problem //nolint:errname // what it holds says more than what it is

// Error is one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a cluster.yaml, checks every value against its grammar, and expands ranges and defaults. The error is a [Problems]
// with everything that is wrong, not only the first thing.
func Load(file string, data []byte) (*Spec, error) {
	d := &decoder{file: file}
	root := d.parse(data)
	var spec *Spec
	if len(d.problems) == 0 {
		spec = d.spec(root)
	}
	if len(d.problems) > 0 {
		sort.SliceStable(d.problems, func(i, j int) bool {
			a, b := d.problems[i], d.problems[j]
			return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
		})
		return nil, d.problems
	}
	return spec, nil
}

// decoder walks a parsed file and gathers problems.
type decoder struct {
	file     string
	problems Problems
}

// bad records a problem at a node; nil stands for the whole file.
func (d *decoder) bad(n ast.Node, fix, format string, a ...any) {
	p := Problem{File: d.file, Text: fmt.Sprintf(format, a...), Fix: fix}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Col = t.Position.Line, t.Position.Column
		}
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) parse(data []byte) ast.Node {
	if fix, text := unreadable(data); text != "" {
		d.bad(nil, fix, "%s", text)
		return nil
	}
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey()) // duplicates are reported by fields, with the others
	if err != nil {
		d.problems = append(d.problems, syntaxProblem(d.file, err))
		return nil
	}
	var docs []ast.Node
	for _, doc := range f.Docs {
		if doc.Body != nil {
			docs = append(docs, doc.Body)
		}
	}
	switch len(docs) {
	case 0:
		d.bad(nil, "`raybuild cluster init HOST…` writes one that works", "the file describes no cluster")
		return nil
	case 1:
		return docs[0]
	}
	d.bad(docs[1], "keep one cluster in one file", "a second YAML document")
	return nil
}

// unreadable finds what the parser shall not even see.
func unreadable(data []byte) (fix, text string) {
	if len(data) > maxFile {
		return "name hosts by ranges such as 10.0.0.[2-9]", fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), maxFile)
	}
	if !utf8.Valid(data) {
		return "save it as UTF-8", "the file is not UTF-8"
	}
	if strings.HasPrefix(string(data), "\ufeff") {
		return "save it without one", "the file starts with a byte order mark"
	}
	for _, line := range strings.Split(string(data), "\n") {
		if nesting(line) > maxDepth {
			return fmt.Sprintf("no cluster needs more than %d levels", maxDepth), "lists and mappings are nested too deep"
		}
	}
	if d := flowDepth(string(data)); d > maxDepth {
		return fmt.Sprintf("no cluster needs more than %d levels", maxDepth), "lists and mappings are nested too deep"
	}
	if n := strings.Count(string(data), "[") + strings.Count(string(data), "{"); n > 4096 {
		return "name hosts by ranges such as 10.0.0.[2-9]", fmt.Sprintf("the file has %d lists and mappings in brackets", n)
	}
	return "", ""
}

// nesting counts the levels that one line can open in block style: its indentation and its "- " and "? " marks.
func nesting(line string) int {
	trimmed := strings.TrimLeft(line, " ")
	n := (len(line) - len(trimmed)) / 2
	for strings.HasPrefix(trimmed, "- ") || strings.HasPrefix(trimmed, "? ") {
		trimmed = strings.TrimLeft(trimmed[2:], " ")
		n++
	}
	return n
}

// flowDepth is the deepest nesting of brackets, counted without regard to quotes: never too low.
func flowDepth(s string) int {
	depth, deepest := 0, 0
	for _, c := range s {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

func syntaxProblem(file string, err error) Problem {
	var s *yaml.SyntaxError
	p := Problem{File: file, Text: "not valid YAML", Fix: "indent with spaces, and quote values that hold [ { : or #"}
	if errors.As(err, &s) {
		p.Text += ": " + s.Message
		if s.Token != nil && s.Token.Position != nil {
			p.Line, p.Col = s.Token.Position.Line, s.Token.Position.Column
		}
	}
	return p
}
