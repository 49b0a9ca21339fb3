package layers

import (
	"slices"
	"strconv"
	"strings"
)

// pythonSpec is what environment.yml asks of Python: one alternative of these, all clauses of it. None is any Python.
type pythonSpec [][]pythonClause

type pythonClause struct {
	op      string // of "=", "==", "!=", ">=", ">", "<=", "<", "~="; "=" is also a version with .*
	version []int
}

// readPythonSpec reads the version of a conda specification of Python. ok is false for what it cannot read. A build, as
// conda env export writes it, is left out: it is one of another machine's channels.
func readPythonSpec(text string) (spec pythonSpec, ok bool) {
	text = strings.TrimSpace(text)
	if fields := strings.Fields(text); len(fields) == 2 && !strings.ContainsAny(text, "<>!~|,") {
		text = fields[0] // a version and a build
	}
	text = strings.ReplaceAll(text, " ", "")
	for alternative := range strings.SplitSeq(text, "|") {
		var all []pythonClause
		for clause := range strings.SplitSeq(alternative, ",") {
			if clause == "" || clause == "*" {
				continue
			}
			rest := strings.TrimLeft(clause, "<>=!~")
			op := clause[:len(clause)-len(rest)]
			rest, _, _ = strings.Cut(rest, "=") // the build
			rest, wild := strings.CutSuffix(rest, ".*")
			if op == "" || wild && op == "==" {
				op = "="
			}
			c := pythonClause{op: op}
			for part := range strings.SplitSeq(rest, ".") {
				n, err := strconv.Atoi(part)
				if err != nil || n < 0 {
					return nil, false
				}
				c.version = append(c.version, n)
			}
			if len(c.version) > 3 || !slices.Contains([]string{"=", "==", "!=", ">=", ">", "<=", "<", "~="}, op) {
				return nil, false
			}
			if wild && op == "!=" {
				c.op = "!=*"
			}
			all = append(all, c)
		}
		spec = append(spec, all)
	}
	return spec, true
}

// exact is the version that the specification names, such as 3.11 or 3.11.9; "" if it is a range.
func (s pythonSpec) exact() string {
	if len(s) != 1 || len(s[0]) != 1 || !strings.HasPrefix(s[0][0].op, "=") || len(s[0][0].version) < 2 {
		return ""
	}
	var parts []string
	for _, n := range s[0][0].version {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ".")
}

// patches tells whether the specification bounds patch releases.
func (s pythonSpec) patches() bool {
	return slices.ContainsFunc(s, func(all []pythonClause) bool {
		return slices.ContainsFunc(all, func(c pythonClause) bool { return len(c.version) > 2 })
	})
}

// allows tells whether a version, or a release of it if it is 3.12, meets the specification.
func (s pythonSpec) allows(version string) bool {
	var v []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return false
		}
		v = append(v, n)
	}
	return len(s) == 0 || slices.ContainsFunc(s, func(all []pythonClause) bool {
		return !slices.ContainsFunc(all, func(c pythonClause) bool { return !c.allows(v) })
	})
}

func (c pythonClause) allows(v []int) bool {
	most := min(len(v), len(c.version))
	order := slices.Compare(v[:most], c.version[:most])
	finer := len(c.version) > len(v) // the clause says more than is known
	switch c.op {
	case "=", "==":
		return order == 0
	case "!=*":
		return order != 0 || finer
	case "!=":
		return order != 0 || len(v) < 3
	case ">=":
		return order >= 0
	case ">":
		return order > 0 || order == 0 && len(v) < 3
	case "<=":
		return order <= 0
	case "<":
		return order < 0 || order == 0 && finer
	}
	// ~=3.10 is >=3.10 and 3.*; ~=3.10.2 is >=3.10.2 and 3.10.*.
	prefix := c.version[:max(1, len(c.version)-1)]
	at := min(len(v), len(prefix))
	return order >= 0 && slices.Equal(v[:at], prefix[:at])
}

// pickPython is the default Python if the specification allows it, else the nearest older one, else the nearest newer.
func (s pythonSpec) pickPython() string {
	for _, v := range []string{defaultPython, "3.11", "3.10", "3.9", "3.8", "3.7", "3.6", "3.13", "3.14"} {
		if s.allows(v) {
			return v
		}
	}
	return ""
}
