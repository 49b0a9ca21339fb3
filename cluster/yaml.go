package cluster

import (
	"bytes"
	"fmt"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// fileLimits of a cluster.yaml keep a hostile file from costing time.
func fileLimits() strictyaml.Limits {
	const ranges = "name hosts by ranges such as 10.0.0.[2-9]"
	return strictyaml.Limits{Bytes: 256 << 10, Depth: 32, Tokens: 60_000, Large: ranges}
}

// Problem is one thing wrong with a cluster.yaml: where it is, what is wrong, and what would be right.
type Problem = strictyaml.Problem

// SpecError is everything that is wrong with a cluster.yaml: its Problems are in the order of the file.
type SpecError = strictyaml.Error

// Load reads a cluster.yaml, checks every value against its grammar, and expands ranges and defaults. The error is a
// *[SpecError] with everything that is wrong, not only the first thing.
func Load(file string, data []byte) (*Spec, error) {
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
	p := Problem{File: d.file, Message: fmt.Sprintf(format, a...), Fix: fix}
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
