package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// fileLimits of a cluster.yaml keep a hostile file from costing time.
func fileLimits() strictyaml.Limits {
	const ranges = "name hosts by ranges such as 10.0.0.[2-9]"
	return strictyaml.Limits{Bytes: 256 << 10, Depth: 32, Tokens: 60_000, Large: ranges}
}

// Problem is one thing that is wrong with a cluster.yaml.
type Problem struct {
	File         string // its name as the caller gave it
	Line, Column int    // from 1; 0: no place is known
	Key          string // dotted, as head.host; empty: the file as a whole
	Message      string // what is wrong
	Fix          string // what would be right
}

// String is the problem in one line: "file:line:column: key: message; fix".
func (p Problem) String() string { return strictyaml.Problem(p).String() }

// SpecError is everything that is wrong with a cluster.yaml.
type SpecError struct {
	Problems []Problem // in the order of the file
}

// Error lists the problems, one a line.
func (e *SpecError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a cluster.yaml. It checks every value, fills in defaults and expands ranges. Its error is a *[SpecError],
// which lists everything that is wrong. file is the name that messages show.
func Load(file string, data []byte) (*Spec, error) {
	spec, err := read(file, data)
	var found *strictyaml.Error
	if !errors.As(err, &found) {
		return spec, err
	}
	all := &SpecError{Problems: make([]Problem, len(found.Problems))}
	for i, p := range found.Problems {
		all.Problems[i] = Problem(p)
	}
	return nil, all
}

func read(file string, data []byte) (*Spec, error) {
	d := &decoder{file: file}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		d.bad(nil, "save it without one", "the file starts with a byte order mark")
		return nil, d.Err()
	}
	root, problems := strictyaml.Parse(data, file, fileLimits())
	d.Tell(problems...)
	if root == nil && len(problems) == 0 {
		d.bad(nil, "`raybuild cluster init HOST…` writes one that works", "the file describes no cluster")
	}
	if root == nil {
		return nil, d.Err()
	}
	spec := d.spec(root)
	if err := d.Err(); err != nil {
		return nil, err
	}
	return spec, nil
}

// decoder reads a cluster.yaml and finds what contradicts itself there.
type decoder struct {
	strictyaml.Reader
	file string
}

// bad records a problem at a node; nil stands for the whole file.
func (d *decoder) bad(n *strictyaml.Node, fix, format string, a ...any) {
	p := strictyaml.Problem{File: d.file, Message: fmt.Sprintf(format, a...), Fix: fix}
	if n != nil {
		p.Key, p.Line, p.Column = n.Key, n.Line, n.Column
	}
	d.Tell(p)
}

// clip keeps a user's text short in a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "…"
	}
	return s
}
