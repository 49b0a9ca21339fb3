package pylock

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Marker is a condition on an environment (PEP 508, and PEP 751 for extras and dependency_groups). Its zero value
// holds everywhere.
//
//	marker = and { "or" and } ; and = term { "and" term } ; term = "(" marker ")" | value op value
type Marker struct{ root *markerNode }

// markerNode is a comparison, a row of parts, or a marker in parentheses.
type markerNode struct {
	op          string // of a comparison; "and", "or" or "(" for parts
	left, right operand
	parts       []*markerNode
}

// operand is a variable's name or a text.
type operand struct {
	text     string
	variable bool
}

// Variables of markers that are no facts of an environment.
const (
	extraVariable  = "extra"
	extrasVariable = "extras"
	groupsVariable = "dependency_groups"
)

// Environment is what markers are evaluated in.
type Environment struct {
	// Values of the variables of PEP 508, by name, from Target.Markers.
	Values map[string]string
	// Extras and Groups are what is asked for, by normalised names.
	Extras, Groups []string
}

var (
	errMarker = errors.New("want VARIABLE OP 'VALUE', and, or, and parentheses")
	errDeep   = errors.New("its parentheses are too deep")
)

func markerOps() []string {
	return []string{"===", "~=", "==", "!=", "<=", ">=", "<", ">", "not in", "in"}
}

func markerVariables() []string {
	return []string{"python_version", "python_full_version", "os_name", "sys_platform", "platform_release",
		"platform_system", "platform_version", "platform_machine", "platform_python_implementation",
		"implementation_name", "implementation_version", extraVariable, extrasVariable, groupsVariable}
}

// ParseMarker reads a marker.
func ParseMarker(s string) (Marker, error) {
	tokens, err := markerTokens(s)
	if err != nil {
		return Marker{}, fmt.Errorf("read marker %q: %w", s, err)
	}
	p := markerParser{tokens: tokens}
	root, err := p.or(0)
	if err == nil && len(p.tokens) > 0 {
		err = errMarker
	}
	if err != nil {
		return Marker{}, fmt.Errorf("read marker %q: %w", s, err)
	}
	return Marker{root: root}, nil
}

// markerTokens splits a marker.
func markerTokens(s string) ([]string, error) {
	var tokens []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var n int
		switch c := s[0]; {
		case c == '(' || c == ')':
			n = 1
		case c == '\'' || c == '"':
			end := strings.IndexByte(s[1:], c)
			if end < 0 {
				return nil, errMarker
			}
			n = end + 2
		case strings.IndexByte("=<>!~", c) >= 0:
			n = len(s) - len(strings.TrimLeft(s, "=<>!~"))
		default:
			n = len(s) - len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz_."))
			if n == 0 {
				return nil, errMarker
			}
		}
		tokens = append(tokens, s[:n])
		s = s[n:]
	}
	return tokens, nil
}

type markerParser struct{ tokens []string }

func (p *markerParser) next() string {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *markerParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *markerParser) or(depth int) (*markerNode, error)  { return p.chain("or", depth, p.and) }
func (p *markerParser) and(depth int) (*markerNode, error) { return p.chain("and", depth, p.term) }

func (p *markerParser) chain(word string, depth int, part func(int) (*markerNode, error)) (*markerNode, error) {
	first, err := part(depth)
	if err != nil || p.peek() != word {
		return first, err
	}
	n := &markerNode{op: word, parts: []*markerNode{first}}
	for p.peek() == word {
		p.next()
		one, err := part(depth)
		if err != nil {
			return nil, err
		}
		n.parts = append(n.parts, one)
	}
	return n, nil
}

func (p *markerParser) term(depth int) (*markerNode, error) {
	const maxDepth = 16
	if depth >= maxDepth {
		return nil, errDeep
	}
	if p.peek() == "(" {
		p.next()
		inside, err := p.or(depth + 1)
		if err == nil && p.next() != ")" {
			err = errMarker
		}
		return &markerNode{op: "(", parts: []*markerNode{inside}}, err
	}
	left, ok := readOperand(p.next())
	op := p.next()
	if op == "not" {
		op += " " + p.next()
	}
	right, also := readOperand(p.next())
	if !ok || !also || !slices.Contains(markerOps(), op) || !left.variable && !right.variable {
		return nil, errMarker
	}
	return &markerNode{op: op, left: left, right: right}, nil
}

func readOperand(t string) (operand, bool) {
	if len(t) >= 2 && (t[0] == '\'' || t[0] == '"') {
		return operand{text: t[1 : len(t)-1]}, true
	}
	return operand{text: t, variable: true}, slices.Contains(markerVariables(), t)
}

// String writes the marker with single spaces and double quotes.
func (m Marker) String() string {
	if m.root == nil {
		return ""
	}
	return m.root.String()
}

// String writes the node.
func (n *markerNode) String() string {
	switch n.op {
	case "(":
		return "(" + n.parts[0].String() + ")"
	case "and", "or":
		var out []string
		for _, p := range n.parts {
			out = append(out, p.String())
		}
		return strings.Join(out, " "+n.op+" ")
	}
	return n.left.String() + " " + n.op + " " + n.right.String()
}

// String writes the operand as a marker has it.
func (o operand) String() string {
	switch {
	case o.variable:
		return o.text
	case strings.Contains(o.text, `"`):
		return "'" + o.text + "'"
	}
	return `"` + o.text + `"`
}

// Operands are the variables and the texts of the marker, in its order.
func (m Marker) Operands() (variables, texts []string) {
	var walk func(n *markerNode)
	walk = func(n *markerNode) {
		for _, p := range n.parts {
			walk(p)
		}
		if n.parts != nil {
			return
		}
		for _, o := range []operand{n.left, n.right} {
			if o.variable {
				variables = append(variables, o.text)
			} else {
				texts = append(texts, o.text)
			}
		}
	}
	if m.root != nil {
		walk(m.root)
	}
	return variables, texts
}

// Holds tells whether the marker is true in the environment.
func (m Marker) Holds(e Environment) bool { return m.root == nil || m.root.holds(e) }

func (n *markerNode) holds(e Environment) bool {
	switch n.op {
	case "(":
		return n.parts[0].holds(e)
	case "and":
		return !slices.ContainsFunc(n.parts, func(p *markerNode) bool { return !p.holds(e) })
	case "or":
		return slices.ContainsFunc(n.parts, func(p *markerNode) bool { return p.holds(e) })
	}
	variable, other := n.left, n.right
	if !variable.variable {
		variable, other = other, variable
	}
	switch variable.text {
	case extraVariable, extrasVariable:
		return among(e.Extras, n.op, other.text)
	case groupsVariable:
		return among(e.Groups, n.op, other.text)
	}
	return compareValues(variable.text, n.left.value(e), n.op, n.right.value(e))
}

func (o operand) value(e Environment) string {
	if o.variable {
		return e.Values[o.text]
	}
	return o.text
}

// among is a comparison with a set of names.
func among(set []string, op, name string) bool {
	has := slices.Contains(set, Normal(name))
	return has == (op == "==" || op == "in" || op == "===")
}

// compareValues compares as versions where the variable is one and both sides can be read, and else as texts.
func compareValues(variable, left, op, right string) bool {
	if variable == "python_version" || variable == "python_full_version" || variable == "implementation_version" ||
		variable == "platform_release" {
		if has, ok := Specifier(op + right).Has(left); ok {
			return has
		}
	}
	switch op {
	case "in":
		return strings.Contains(right, left)
	case "not in":
		return !strings.Contains(right, left)
	case "==", "===", "<=", ">=": // texts have no order
		return left == right
	case "!=":
		return left != right
	}
	return false
}

// holds reads a marker and tells whether it holds; the empty one does.
func holds(marker string, e Environment) (bool, error) {
	if strings.TrimSpace(marker) == "" {
		return true, nil
	}
	m, err := ParseMarker(marker)
	return err == nil && m.Holds(e), err
}
