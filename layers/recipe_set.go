package layers

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

var setKey = lazy(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_/-]+)*$`)

// freeKeys are mappings whose keys are the user's: what follows them in a
// dotted key is one key, dots and all.
var freeKeys = []string{"image.env", "image.labels", "image.annotations"}

// applySet puts one KEY=VALUE into the tree and returns the tree's root. An
// empty VALUE removes the key, so that it has its default.
func (t *recipeReader) applySet(root *strictyaml.Node, set string) *strictyaml.Node {
	key, value, ok := strings.Cut(set, "=")
	file := "--set " + key
	if !ok || !setKey().MatchString(key) {
		t.Tell(strictyaml.Problem{File: "--set " + quoteShort(key), Message: "is not KEY=VALUE",
			Fix: "write it as in --set ray.version=2.60.0"})
		return root
	}
	n, problems := strictyaml.Parse([]byte(value), file, recipeLimits())
	for _, p := range problems {
		p.Line, p.Column = 0, 0
		t.Tell(p)
	}
	if len(problems) > 0 {
		return root
	}
	if n != nil {
		forgetLines(n)
	}
	out, message, fix := setIn(root, splitSetKey(key), n, file)
	if message != "" {
		t.Tell(strictyaml.Problem{File: file, Message: message, Fix: fix})
		return root
	}
	return out
}

// forgetLines removes line numbers: those of a value of the command line say nothing.
func forgetLines(n *strictyaml.Node) {
	n.Line, n.Column = 0, 0
	for _, it := range n.Items {
		forgetLines(it)
	}
	for _, p := range n.Pairs {
		forgetLines(p.Key)
		forgetLines(p.Value)
	}
}

func splitSetKey(key string) []string {
	for _, free := range freeKeys {
		if rest, ok := strings.CutPrefix(key, free+"."); ok {
			return append(strings.Split(free, "."), rest)
		}
	}
	return strings.Split(key, ".")
}

// setIn returns n with the value at the path; n itself is not changed. A nil
// value removes what is there.
func setIn(
	n *strictyaml.Node, path []string, value *strictyaml.Node, file string,
) (out *strictyaml.Node, message, fix string) {
	if len(path) == 0 {
		return value, "", ""
	}
	if n == nil || n.Kind == strictyaml.Null {
		n = &strictyaml.Node{Kind: strictyaml.Mapping, File: file}
	}
	c := *n
	switch n.Kind {
	case strictyaml.Refused: // the file's parser has told so
		return n, "", ""
	case strictyaml.Mapping:
		c.Pairs = nil
		done := false
		for _, p := range n.Pairs {
			if p.Key.Text == path[0] {
				if p.Value, message, fix = setIn(longForm(path, p.Value), path[1:], value, file); message != "" {
					return nil, message, fix
				}
				done = true
				if p.Value == nil {
					continue
				}
			}
			c.Pairs = append(c.Pairs, p)
		}
		if !done && value != nil {
			child, message, fix := setIn(nil, path[1:], value, file)
			if message != "" {
				return nil, message, fix
			}
			c.Pairs = append(c.Pairs, strictyaml.Pair{Key: &strictyaml.Node{Kind: strictyaml.Text,
				Text: path[0], File: file},
				Value: child})
		}
		return &c, "", ""
	case strictyaml.List:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(n.Items) {
			return nil, fmt.Sprintf("the recipe has a list of %d here, and %q is none of its places",
					len(n.Items), path[0]),
				"set the whole list, or give a place counted from 0"
		}
		child, message, fix := setIn(n.Items[i], path[1:], value, file)
		if message != "" {
			return nil, message, fix
		}
		c.Items = append([]*strictyaml.Node{}, n.Items[:i]...)
		if child != nil {
			c.Items = append(c.Items, child)
		}
		c.Items = append(c.Items, n.Items[i+1:]...)
		return &c, "", ""
	}
	return nil, fmt.Sprintf("the recipe has %s here, and %q would be below it", n.Kind, path[0]),
		"set the key above it as a whole"
}

// longForm writes the short form of apt and pip, a list of packages, out where
// the path goes below it.
func longForm(path []string, n *strictyaml.Node) *strictyaml.Node {
	if len(path) < 2 || n.Kind != strictyaml.List || path[0] != "apt" && path[0] != "pip" {
		return n
	}
	if _, err := strconv.Atoi(path[1]); err == nil {
		return n
	}
	key := &strictyaml.Node{Kind: strictyaml.Text, Text: "packages", File: n.File, Line: n.Line, Column: n.Column}
	return &strictyaml.Node{Kind: strictyaml.Mapping, File: n.File, Line: n.Line, Column: n.Column,
		Pairs: []strictyaml.Pair{{Key: key, Value: n}}}
}
