package layers

import (
	"fmt"
	"strconv"
	"strings"
)

var setKey = lazy(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_/-]+)*$`)

// freeKeys are mappings whose keys are the user's: what follows them in a
// dotted key is one key, dots and all.
var freeKeys = []string{"image.env", "image.labels", "image.annotations"}

// applySet puts one KEY=VALUE into the tree and returns the tree's root. An
// empty VALUE removes the key, so that it has its default.
func (t *recipeReader) applySet(root *yamlNode, set string) *yamlNode {
	key, value, ok := strings.Cut(set, "=")
	file := "--set " + key
	if !ok || !setKey().MatchString(key) {
		t.problems = append(t.problems, Problem{File: "--set " + quoteShort(key), Message: "is not KEY=VALUE", Fix: "write it as in --set ray.version=2.60.0"})
		return root
	}
	n, bad := parseYAML([]byte(value), file, recipeLimits())
	if bad != nil {
		for _, p := range bad.Problems {
			p.Line, p.Column = 0, 0
			t.problems = append(t.problems, p)
		}
		return root
	}
	if n != nil {
		forgetLines(n)
	}
	out, message, fix := setIn(root, splitSetKey(key), n, file)
	if message != "" {
		t.problems = append(t.problems, Problem{File: file, Message: message, Fix: fix})
		return root
	}
	return out
}

// forgetLines removes line numbers: those of a value of the command line say nothing.
func forgetLines(n *yamlNode) {
	n.line, n.col = 0, 0
	for _, it := range n.items {
		forgetLines(it)
	}
	for _, p := range n.pairs {
		forgetLines(p.key)
		forgetLines(p.value)
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
func setIn(n *yamlNode, path []string, value *yamlNode, file string) (out *yamlNode, message, fix string) {
	if len(path) == 0 {
		return value, "", ""
	}
	if n == nil || n.kind == yamlNull {
		n = &yamlNode{kind: yamlMap, file: file}
	}
	c := *n
	switch n.kind {
	case yamlMap:
		c.pairs = nil
		done := false
		for _, p := range n.pairs {
			if p.key.text == path[0] {
				if p.value, message, fix = setIn(longForm(path, p.value), path[1:], value, file); message != "" {
					return nil, message, fix
				}
				done = true
				if p.value == nil {
					continue
				}
			}
			c.pairs = append(c.pairs, p)
		}
		if !done && value != nil {
			child, message, fix := setIn(nil, path[1:], value, file)
			if message != "" {
				return nil, message, fix
			}
			c.pairs = append(c.pairs, yamlPair{&yamlNode{kind: yamlText, text: path[0], file: file}, child})
		}
		return &c, "", ""
	case yamlList:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(n.items) {
			return nil, fmt.Sprintf("the recipe has a list of %d here, and %q is none of its places", len(n.items), path[0]), "set the whole list, or give a place counted from 0"
		}
		child, message, fix := setIn(n.items[i], path[1:], value, file)
		if message != "" {
			return nil, message, fix
		}
		c.items = append([]*yamlNode{}, n.items[:i]...)
		if child != nil {
			c.items = append(c.items, child)
		}
		c.items = append(c.items, n.items[i+1:]...)
		return &c, "", ""
	}
	return nil, fmt.Sprintf("the recipe has %s here, and %q would be below it", n.kind, path[0]), "set the key above it as a whole"
}

// longForm writes the short form of apt and pip, a list of packages, out where
// the path goes below it.
func longForm(path []string, n *yamlNode) *yamlNode {
	if len(path) < 2 || n.kind != yamlList || path[0] != "apt" && path[0] != "pip" {
		return n
	}
	if _, err := strconv.Atoi(path[1]); err == nil {
		return n
	}
	key := &yamlNode{kind: yamlText, text: "packages", file: n.file, line: n.line, col: n.col}
	return &yamlNode{kind: yamlMap, file: n.file, line: n.line, col: n.col, pairs: []yamlPair{{key, n}}}
}
