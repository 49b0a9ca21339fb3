package cluster

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// field is a key of a mapping and the function that reads its value.
type field struct {
	key  string
	read func(ast.Node)
}

// pairs returns the entries of a mapping; a problem and nothing when it is none.
func (d *decoder) pairs(n ast.Node, what string) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	d.bad(n, "write `key: value` pairs", "%s is %s, not a mapping", what, kind(n))
	return nil
}

// each calls f for every entry of a mapping whose key is a plain, new string.
func (d *decoder) each(n ast.Node, what string, f func(key string, at, value ast.Node)) {
	seen := map[string]bool{}
	for _, p := range d.pairs(n, what) {
		key, ok := d.key(p.Key)
		if !ok {
			continue
		}
		if seen[key] {
			d.bad(p.Key, "keep one of the two", "%s has %q twice", what, key)
			continue
		}
		seen[key] = true
		f(key, p.Key, p.Value)
	}
}

func (d *decoder) key(k ast.MapKeyNode) (string, bool) {
	switch n := k.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.MergeKeyNode:
		d.bad(k, "put what nodes share at the top of the file: it is the default of every node", "merge keys are not read")
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	default:
		d.bad(k, "write a plain key", "the key is %s", kind(k))
	}
	return "", false
}

// fields reads a mapping whose keys are known.
func (d *decoder) fields(n ast.Node, what string, fs []field) {
	d.each(n, what, func(key string, at, value ast.Node) {
		for _, f := range fs {
			if f.key == key {
				f.read(value)
				return
			}
		}
		keys := make([]string, len(fs))
		for i, f := range fs {
			keys[i] = f.key
		}
		fix := "it may have " + strings.Join(keys, ", ")
		if near := nearest(key, keys); near != "" {
			fix = "did you mean " + near + "?"
		}
		d.bad(at, fix, "%s has no key %q", what, clip(key))
	})
}

// list calls f for each element of a sequence.
func (d *decoder) list(n ast.Node, what string, f func(ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.bad(n, "write it as a list", "%s is %s, not a list", what, kind(n))
		return
	}
	for _, v := range s.Values {
		f(v)
	}
}

// text reads a string; numbers and booleans are taken as they are written, so that versions and ports need no quotes.
func (d *decoder) text(n ast.Node, what string) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	d.bad(n, "write a string", "%s is %s", what, kind(n))
	return "", false
}

// kind names a node's type for messages.
func kind(n ast.Node) string {
	switch n.(type) {
	case nil:
		return "empty"
	case *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return "a string"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.InfinityNode, *ast.NanNode:
		return "not a finite number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not read"
	case *ast.TagNode:
		return "tagged, and tags are not read"
	}
	return "something else"
}

// plain is the text of a scalar as written, and whether it was quoted.
func plain(n ast.Node) (text string, quoted bool) {
	t := n.GetToken()
	if t == nil {
		return "", false
	}
	return t.Value, t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}

// clip keeps a user's text short and free of control characters in a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "…"
	}
	return s
}

// nearest returns the candidate that a typing error away, or nothing.
func nearest(s string, candidates []string) string {
	best, found := 3, ""
	for _, c := range candidates {
		if n := distance(s, c, best); n < best && n < len(c) {
			best, found = n, c
		}
	}
	return found
}

// distance is the Levenshtein distance of a and b, or limit when it is no less.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
