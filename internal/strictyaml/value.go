package strictyaml

import (
	"fmt"
	"strconv"
	"strings"
)

// Key is one key of a mapping.
type Key struct {
	// Name is how it is written.
	Name string
	// Doc says in a line or two what the key is for.
	Doc string
	// Default says what holds without the key. "" where there is nothing to say.
	Default string
	// Example is a value, as YAML in one line.
	Example string
	// Required refuses a mapping without the key. Missing is what to do then; default "add it".
	Required bool
	Missing  string
	// Group is a name for keys that several mappings share: pages have them once. "" for a mapping's own.
	Group string
	// Value reads what the key has.
	Value Value
}

// Value reads a node into a variable of the program, and tells what it takes. The zero Value ignores what it reads.
type Value struct {
	reads  func(r *Reader, n *Node, key string)
	shapes func() Shape
}

func (v Value) read(r *Reader, n *Node, key string) {
	if v.reads != nil {
		v.reads(r, n, key)
	}
}

// Shape describes what the value takes.
func (v Value) Shape() Shape {
	if v.shapes == nil {
		return Shape{}
	}
	return v.shapes()
}

// Func is a value with a reader of its own.
func Func(shape func() Shape, read func(r *Reader, n *Node, key string)) Value {
	return Value{reads: read, shapes: shape}
}

// Shaped is the value with another description, where its own says too little.
func (v Value) Shaped(shape Shape) Value {
	return Value{reads: v.reads, shapes: func() Shape { return shape }}
}

// Then is the value, and calls f when the value has been read, whether or not it was right.
func (v Value) Then(f func()) Value {
	return Value{shapes: v.shapes, reads: func(r *Reader, n *Node, key string) {
		v.read(r, n, key)
		f()
	}}
}

// String reads a string of the grammar. Numbers are taken as they are written.
func String(dst *string, g Grammar) Value {
	return Each(g, func(s string) { *dst = s })
}

// Each reads a string of the grammar and hands it on in its normal form.
func Each(g Grammar, set func(s string)) Value {
	return Value{
		shapes: func() Shape { return Shape{Kind: Text, Grammar: g} },
		reads: func(r *Reader, n *Node, key string) {
			if s, ok := r.text(n, key, g); ok {
				set(s)
			}
		},
	}
}

// Strings reads a list of strings of the grammar. A null is an empty list, and an empty list is nil.
func Strings(dst *[]string, g Grammar) Value {
	return Value{
		shapes: func() Shape { return Shape{Kind: List, Items: &Shape{Kind: Text, Grammar: g}} },
		reads: func(r *Reader, n *Node, key string) {
			var out []string
			r.list(n, key, "a list of text", Each(g, func(s string) { out = append(out, s) }))
			*dst = out
		},
	}
}

// Flag reads true or false.
func Flag(dst *bool) Value {
	return Value{
		shapes: func() Shape { return Shape{Kind: Bool} },
		reads: func(r *Reader, n *Node, key string) {
			if n.Kind != Bool {
				r.WrongKind(n, key, "true or false")
				return
			}
			*dst = strings.EqualFold(n.Text, "true")
		},
	}
}

// MaxInt is the High of a whole number that has no bound of its own: what every reader of JSON can hold.
const MaxInt = 1<<53 - 1

// Int reads a whole number from low to high, in decimal digits and without quotes.
func Int[T ~int | ~int64](dst *T, low, high int64) Value {
	return Value{
		shapes: func() Shape { return Shape{Kind: Number, Low: low, High: high} },
		reads: func(r *Reader, n *Node, key string) {
			v, err := strconv.ParseInt(n.Text, 10, 64)
			if n.Kind == Number && err == nil && strings.Trim(n.Text, "0123456789") == "" && v >= low && v <= high {
				*dst = T(v)
				return
			}
			want := fmt.Sprintf("a whole number from %d to %d", low, high)
			if high >= MaxInt {
				want = "a whole number"
			}
			switch n.Kind {
			case Number, Text:
				r.AddAt(n, key, Quote(n.Text)+" is not "+want, "write one in digits, without quotes")
			default:
				r.WrongKind(n, key, want)
			}
		},
	}
}

// Map reads a mapping of the keys. A null is an empty mapping.
func Map(keys ...Key) Value {
	return Value{
		shapes: func() Shape { return Shape{Kind: Mapping, Keys: keys} },
		reads: func(r *Reader, n *Node, key string) {
			if n.Kind == Null || r.isMapping(n, key, "a mapping") {
				r.keys(n, key, keys)
			}
		},
	}
}

// isMapping tells whether there is something to read in n, which should be a mapping.
func (r *Reader) isMapping(n *Node, key, want string) bool {
	if n.Kind == Mapping {
		return true
	}
	if n.Kind != Null {
		r.WrongKind(n, key, want)
	}
	return false
}

// Pairs reads a mapping of free keys to strings into dst, beside what is there. A null is an empty mapping.
func Pairs(dst *map[string]string, names, values Grammar) Value {
	entries := Entries(names, func(name string) Value {
		return Each(values, func(s string) { (*dst)[name] = s })
	})
	return Func(entries.shapes, func(r *Reader, n *Node, key string) {
		if n.Kind == Mapping && *dst == nil {
			*dst = map[string]string{}
		}
		entries.read(r, n, key)
	})
}

// Entries reads a mapping whose keys are the user's own. A null is an empty mapping.
func Entries(names Grammar, value func(name string) Value) Value {
	return Value{
		shapes: func() Shape {
			items := value("").Shape()
			return Shape{Kind: Mapping, Names: &names, Items: &items}
		},
		reads: func(r *Reader, n *Node, key string) {
			if !r.isMapping(n, key, "a mapping of names to values") {
				return
			}
			for _, p := range n.Pairs {
				if name, ok := r.text(p.Key, key, names); ok {
					r.Read(p.Value, JoinKey(key, name), value(name))
				}
			}
		},
	}
}

// ListOf reads a list into dst: each item into a new T, by the value that item makes for it. A null is an empty list.
func ListOf[T any](dst *[]T, what string, item func(*T) Value) Value {
	return Value{
		shapes: func() Shape {
			s := item(new(T)).Shape()
			return Shape{Kind: List, Items: &s}
		},
		reads: func(r *Reader, n *Node, key string) {
			r.list(n, key, what, Func(nil, func(r *Reader, n *Node, key string) {
				one := new(T)
				item(one).read(r, n, key)
				*dst = append(*dst, *one)
			}))
		},
	}
}

// Items reads each item of a list by one value. what is the list, for messages. A null is an empty list.
func Items(what string, item Value) Value {
	return Value{
		shapes: func() Shape {
			s := item.Shape()
			return Shape{Kind: List, Items: &s}
		},
		reads: func(r *Reader, n *Node, key string) { r.list(n, key, what, item) },
	}
}

// list reads each item of a list. A null is an empty list.
func (r *Reader) list(n *Node, key, want string, item Value) {
	if n.Kind == Null {
		return
	}
	if n.Kind != List {
		r.WrongKind(n, key, want)
		return
	}
	for i, it := range n.Items {
		r.Read(it, fmt.Sprintf("%s[%d]", key, i), item)
	}
}

// ListOr is a value that has a list as its short form: a list is read by list, anything else by long.
func ListOr(list, long Value) Value {
	return Value{
		shapes: func() Shape { return Shape{Either: []Shape{list.Shape(), long.Shape()}} },
		reads: func(r *Reader, n *Node, key string) {
			switch n.Kind {
			case List:
				list.read(r, n, key)
			case Mapping, Null:
				long.read(r, n, key)
			default: // "apt: vim"
				r.AddAt(n, key, fmt.Sprintf("is %s, not a list", n.Kind), fmt.Sprintf("write [%s]", n.Text))
			}
		},
	}
}

// WordOr is a value that may be a word in place of what v reads.
func WordOr(word string, set func(), v Value) Value {
	return Value{
		shapes: func() Shape {
			return Shape{Either: []Shape{{Kind: Text, Grammar: Grammar{Words: []string{word}}}, v.Shape()}}
		},
		reads: func(r *Reader, n *Node, key string) {
			if n.Kind == Text && n.Text == word {
				set()
				return
			}
			v.read(r, n, key)
		},
	}
}

// NullOr is a value that may be left empty, as in "head:".
func NullOr(set func(), v Value) Value {
	return Value{
		shapes: func() Shape { return Shape{Either: []Shape{v.Shape(), {Kind: Null}}} },
		reads: func(r *Reader, n *Node, key string) {
			if n.Kind == Null {
				set()
				return
			}
			v.read(r, n, key)
		},
	}
}
