package layers

import (
	"slices"
	"strings"
)

// markerVariables are those of PEP 508, as far as a lock of Linux platforms can
// answer them; "extra" belongs to a package's own metadata.
var markerVariables = []string{
	"python_version", "python_full_version", "os_name", "sys_platform", "platform_release", "platform_system",
	"platform_version", "platform_machine", "platform_python_implementation", "implementation_name",
	"implementation_version",
}

var markerOps = []string{"===", "~=", "==", "!=", "<=", ">=", "<", ">", "not in", "in"}

// normalMarker checks a PEP 508 marker and writes it with single spaces. It
// returns "" for what is none.
//
//	marker = and { "or" and } ; and = term { "and" term } ; term = "(" marker ")" | value op value
func normalMarker(s string) string {
	p := markerParser{tokens: markerTokens(s)}
	out, ok := p.or(0)
	if !ok || len(p.tokens) > 0 {
		return ""
	}
	return out
}

// markerTokens splits a marker; nil where it cannot be split.
func markerTokens(s string) []string {
	var tokens []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var n int
		switch c := s[0]; {
		case c == '(' || c == ')':
			n = 1
		case c == '\'' || c == '"':
			end := strings.IndexByte(s[1:], c)
			if end < 0 {
				return nil
			}
			n = end + 2
		case strings.IndexByte("=<>!~", c) >= 0:
			n = len(s) - len(strings.TrimLeft(s, "=<>!~"))
		default:
			n = len(s) - len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz_."))
			if n == 0 {
				return nil
			}
		}
		tokens = append(tokens, s[:n])
		s = s[n:]
	}
	return tokens
}

type markerParser struct{ tokens []string }

func (p *markerParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *markerParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *markerParser) or(depth int) (string, bool)  { return p.chain("or", depth, p.and) }
func (p *markerParser) and(depth int) (string, bool) { return p.chain("and", depth, p.term) }

func (p *markerParser) chain(word string, depth int, part func(int) (string, bool)) (string, bool) {
	out, ok := part(depth)
	for ok && p.peek() == word {
		p.next()
		var right string
		right, ok = part(depth)
		out += " " + word + " " + right
	}
	return out, ok
}

func (p *markerParser) term(depth int) (string, bool) {
	const maxDepth = 16
	if p.peek() == "(" {
		p.next()
		inside, ok := p.or(depth + 1)
		return "(" + inside + ")", ok && depth < maxDepth && p.next() == ")"
	}
	left, isVariable := markerValue(p.next())
	op := p.next()
	if op == "not" {
		op += " " + p.next()
	}
	right, rightVariable := markerValue(p.next())
	ok := left != "" && right != "" && slices.Contains(markerOps, op) && (isVariable || rightVariable)
	return left + " " + op + " " + right, ok
}

// markerValue is a value in its normal form, "" for none.
func markerValue(t string) (value string, isVariable bool) {
	if len(t) >= 2 && (t[0] == '\'' || t[0] == '"') {
		inside := t[1 : len(t)-1]
		for _, r := range inside {
			if r < ' ' || r > '~' || strings.ContainsRune("'\"\\`$", r) {
				return "", false
			}
		}
		return `"` + inside + `"`, false
	}
	if !slices.Contains(markerVariables, t) {
		return "", false
	}
	return t, true
}
