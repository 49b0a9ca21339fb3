package layers

import (
	"fmt"
	"slices"
	"strings"
)

// treeReader walks a tree of YAML and collects everything that is wrong with
// it, so that a user mends it once.
type treeReader struct {
	problemList
	places map[string]*yamlNode // of each key that was read
}

func (t *treeReader) seen(n *yamlNode, key string) {
	if t.places == nil {
		t.places = map[string]*yamlNode{}
	}
	t.places[key] = n
}

// add records a problem of a key, at its place or at that of the nearest key above.
func (t *treeReader) add(key, message, fix string) {
	at := key
	for t.places[at] == nil && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	t.addAt(t.places[at], key, message, fix)
}

// treeField is one key of a mapping, and what to do with its value.
type treeField struct {
	key  string
	read func(n *yamlNode, key string)
}

// mapping reads the keys of a mapping. A null is an empty mapping. Keys that
// are not among the fields are problems.
func (t *treeReader) mapping(n *yamlNode, key string, fields ...treeField) {
	if n == nil || n.kind == yamlNull {
		return
	}
	if n.kind != yamlMap {
		t.wrongKind(n, key, "a mapping")
		return
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	t.seen(n, key)
	for _, p := range n.pairs {
		i := slices.Index(known, p.key.text)
		if i < 0 {
			t.addAt(p.key, joinKey(key, p.key.text), "unknown key", didYouMean(p.key.text, known))
			continue
		}
		t.seen(p.value, joinKey(key, p.key.text))
		fields[i].read(p.value, joinKey(key, p.key.text))
	}
}

// wrongKind says that n should have been something else.
func (t *treeReader) wrongKind(n *yamlNode, key, want string) {
	fix := "write " + want
	if n.kind == yamlBool || n.kind == yamlNumber {
		if strings.HasPrefix(want, "text") {
			fix = fmt.Sprintf("quote it: %q", n.text)
		}
	}
	t.addAt(n, key, fmt.Sprintf("is %s, not %s", n.kind, want), fix)
}

// text reads a string into dst where it is of the grammar. Numbers are taken as
// they are written.
func (t *treeReader) text(dst *string, g grammar) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		if s, ok := t.string(n, key, g); ok {
			*dst = s
		}
	}
}

func (t *treeReader) string(n *yamlNode, key string, g grammar) (string, bool) {
	isNaN := n.kind == yamlNumber && strings.ContainsAny(n.text, "nN") && strings.HasPrefix(strings.TrimLeft(n.text, "+-"), ".")
	switch {
	case n.kind == yamlNull:
		t.addAt(n, key, "has no value", "give it one or remove the key")
		return "", false
	case n.kind != yamlText && n.kind != yamlNumber || isNaN:
		t.wrongKind(n, key, "text")
		return "", false
	}
	// What is refused may hold anything, so messages of control characters come first.
	if m, f := linesText(n.text); m != "" {
		t.addAt(n, key, m, f)
		return "", false
	}
	if m, f := g(n.text); m != "" {
		t.addAt(n, key, m, f)
		return "", false
	}
	return n.text, true
}

// texts reads a list of strings into dst. A null is an empty list, and an empty list is nil.
func (t *treeReader) texts(dst *[]string, g grammar) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		var out []string
		t.list(n, key, "a list of text", func(item *yamlNode, key string) {
			if s, ok := t.string(item, key, g); ok {
				out = append(out, s)
			}
		})
		*dst = out
	}
}

// list reads each item of a list. A null is an empty list.
func (t *treeReader) list(n *yamlNode, key, want string, item func(*yamlNode, string)) {
	if n == nil || n.kind == yamlNull {
		return
	}
	if n.kind != yamlList {
		t.wrongKind(n, key, want)
		return
	}
	for i, it := range n.items {
		t.seen(it, fmt.Sprintf("%s[%d]", key, i))
		item(it, fmt.Sprintf("%s[%d]", key, i))
	}
}

// pairs reads a mapping of free keys to text.
func (t *treeReader) pairs(dst *map[string]string, names, values grammar) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		if n.kind == yamlNull {
			return
		}
		if n.kind != yamlMap {
			t.wrongKind(n, key, "a mapping of text to text")
			return
		}
		out := make(map[string]string, len(n.pairs))
		for _, p := range n.pairs {
			k, ok := t.string(p.key, key, names)
			if !ok {
				continue
			}
			t.seen(p.value, joinKey(key, k))
			if v, ok := t.string(p.value, joinKey(key, k), values); ok {
				out[k] = v
			}
		}
		*dst = out
	}
}

func (t *treeReader) boolean(dst *bool) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		if n.kind != yamlBool {
			t.wrongKind(n, key, "true or false")
			return
		}
		*dst = strings.EqualFold(n.text, "true")
	}
}

func joinKey(parent, key string) string {
	if message, _ := freeText(key); message != "" || len(key) > 64 {
		key = quoteShort(key)
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// didYouMean names the known word nearest to one that is not, or all of them.
func didYouMean(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	sorted := slices.Sorted(slices.Values(known))
	if len(sorted) == 0 {
		return "there is nothing to choose from"
	}
	return "known are " + strings.Join(sorted, ", ")
}

// editDistance is the Levenshtein distance with transpositions of neighbours,
// of words of which the longer than 40 are infinitely far.
func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 99
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
