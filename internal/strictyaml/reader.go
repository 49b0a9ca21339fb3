package strictyaml

import (
	"fmt"
	"strings"
)

// Reader walks a tree by a description and collects everything that is wrong with it, so that a user mends it once.
// Its zero value is ready.
type Reader struct {
	Problems
	places map[string]*Node // of each key that was read
}

// Read reads a node by a value; key is the node's dotted key. What a parser has refused already is left out.
func (r *Reader) Read(n *Node, key string, v Value) {
	if n == nil || n.Kind == Refused {
		return
	}
	if r.places == nil {
		r.places = map[string]*Node{}
	}
	r.places[key] = n
	n.Key = key
	v.read(r, n, key)
}

// Place is the node that was read for a key, or nil.
func (r *Reader) Place(key string) *Node { return r.places[key] }

// Add records a problem of a key, at its place or at that of the nearest key above.
func (r *Reader) Add(key, message, fix string) {
	at := key
	for r.places[at] == nil && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	r.AddAt(r.places[at], key, message, fix)
}

// WrongKind says that a node should have been something else.
func (r *Reader) WrongKind(n *Node, key, want string) {
	fix := "write " + want
	if n.Kind == Bool || n.Kind == Number {
		if strings.HasPrefix(want, "text") {
			fix = fmt.Sprintf("quote it: %q", n.Text)
		}
	}
	r.AddAt(n, key, fmt.Sprintf("is %s, not %s", n.Kind, want), fix)
}

// keys reads the keys of a mapping in the order of the description, so that a value may depend on what was read for a
// key above it there. Keys that are not in the description are problems, and so are those that are missing.
func (r *Reader) keys(n *Node, key string, keys []Key) {
	read := 0
	for _, k := range keys {
		if v := n.Get(k.Name); v != nil {
			read++
			r.Read(v, JoinKey(key, k.Name), k.Value)
		}
	}
	if read < len(n.Pairs) {
		r.unknown(n, key, keys)
	}
	for _, k := range keys {
		if k.Required && n.Get(k.Name) == nil {
			fix := k.Missing
			if fix == "" {
				fix = "add it"
			}
			r.AddAt(n, key, "has no "+k.Name, fix)
		}
	}
}

// unknown tells of keys that the description does not have.
func (r *Reader) unknown(n *Node, key string, keys []Key) {
	known := make([]string, len(keys))
	byName := make(map[string]bool, len(keys))
	for i, k := range keys {
		known[i], byName[k.Name] = k.Name, true
	}
	told := 0
	for _, p := range n.Pairs {
		if byName[p.Key.Text] {
			continue
		}
		fix := ""
		if told++; told <= maxProblems { // what is not shown needs no suggestion
			fix = DidYouMean(p.Key.Text, known)
		}
		r.AddAt(p.Key, JoinKey(key, p.Key.Text), "unknown key", fix)
	}
}

// text is the text of a scalar that is of the grammar, in its normal form. Numbers are taken as they are written.
func (r *Reader) text(n *Node, key string, g Grammar) (string, bool) {
	// Of numbers, .nan and .inf alone have an n.
	isNaN := n.Kind == Number && strings.ContainsAny(n.Text, "nN") && strings.Contains(n.Text, ".")
	switch {
	case n.Kind == Refused:
		return "", false
	case n.Kind == Null:
		r.AddAt(n, key, "has no value", "give it one or remove the key")
		return "", false
	case n.Kind == Bool && g.Bools:
	case n.Kind != Text && n.Kind != Number || isNaN:
		r.WrongKind(n, key, "text")
		return "", false
	}
	// What is refused may hold anything, so messages of control characters come first.
	if m, f := Lines(n.Text); m != "" {
		r.AddAt(n, key, m, f)
		return "", false
	}
	if m, f := g.check(n.Text); m != "" {
		r.AddAt(n, key, m, f)
		return "", false
	}
	if g.Normal != nil {
		return g.Normal(n.Text), true
	}
	return n.Text, true
}

// JoinKey is the dotted key of a key below another one. A key that is not a short word is quoted.
func JoinKey(parent, key string) string {
	if message, _ := OneLine(key); message != "" || len(key) > 64 {
		key = Quote(key)
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}
