package strictyaml

import (
	"fmt"
	"slices"
	"strings"
)

// Shape describes what a value takes. The zero Shape takes anything.
type Shape struct {
	// Words are what a page says of the shape. Default "": they are made of the other fields.
	Words string
	// Kind is the kind of node. It says nothing where Either is set.
	Kind Kind
	// Either lists shapes of which the value has one.
	Either []Shape
	// Grammar is that of a Text.
	Grammar Grammar
	// Low and High bound a Number. A High of 0 is no bound.
	Low, High int64
	// Decimals tells that a Number need not be whole.
	Decimals bool
	// Keys are those of a Mapping. A Mapping with Names has free keys in their place.
	Keys []Key
	// Names is the grammar of a Mapping's free keys; Items is what they have.
	Names *Grammar
	// Items is what each item of a List is.
	Items *Shape
	// Filled refuses an empty List or Mapping, and a null.
	Filled bool
}

// takes tells whether the grammar has one of the texts.
func (g Grammar) takes(texts ...string) bool {
	return slices.ContainsFunc(texts, func(s string) bool {
		message, _ := g.check(s)
		return message == "" && (len(g.Words) == 0 || slices.Contains(g.Words, s))
	})
}

// numeric tells whether a plain number can be a text of the grammar: 3.12 is a version of Python, and no user's name.
func (g Grammar) numeric() bool {
	return g.takes("1", "12", "100", "1073741824", "2.5", "3.12", "1e3", "0x10")
}

// words are the shape in words, for a page.
func (s Shape) words() string {
	if s.Words != "" {
		return s.Words
	}
	if len(s.Either) > 0 {
		var all []string
		for _, e := range s.Either {
			if w := e.words(); !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
		return strings.Join(all, ", or ")
	}
	switch s.Kind {
	case Text:
		switch {
		case len(s.Grammar.Words) > 0:
			return oneOf(s.Grammar.Words)
		case s.Grammar.What != "":
			return s.Grammar.What
		}
		return "text"
	case Number:
		return s.numberWords()
	case Bool:
		return "true or false"
	case List:
		if s.Items.Kind == Mapping && len(s.Items.Either) == 0 {
			return "a list of mappings"
		}
		return "a list, each item " + s.Items.words()
	case Mapping:
		if s.Names != nil {
			return "a mapping from " + s.Names.What + " to " + s.Items.words()
		}
		return "a mapping"
	case Null:
		return "nothing"
	}
	return "anything"
}

// oneOf is a list of words as a sentence has it.
func oneOf(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return "`" + words[0] + "`"
	}
	return "`" + strings.Join(words[:last], "`, `") + "` or `" + words[last] + "`"
}

func (s Shape) numberWords() string {
	what := "a whole number"
	if s.Decimals {
		what = "a number"
	}
	if s.High == 0 || s.High >= MaxInt {
		return what
	}
	return fmt.Sprintf("%s from %d to %d", what, s.Low, s.High)
}

// parts are the mappings with known keys in the shape: itself, of its alternatives and items. path is where the shape
// is.
func (s Shape) parts(path string) []part {
	var out []part
	for _, e := range s.Either {
		out = append(out, e.parts(path)...)
	}
	switch {
	case len(s.Keys) > 0:
		out = append(out, part{path, s.Keys})
	case s.Kind == List && s.Items != nil:
		out = append(out, s.Items.parts(path+"[]")...)
	case s.Kind == Mapping && s.Items != nil:
		out = append(out, s.Items.parts(path+".NAME")...)
	}
	return out
}

// part is a mapping of known keys and its place in the file.
type part struct {
	path string
	keys []Key
}
