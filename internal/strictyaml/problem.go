package strictyaml

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong in a file.
type Problem struct {
	// File is its name as it was given, or "--set KEY".
	File string
	// Line and Column count from 1; 0 where there is none.
	Line, Column int
	// Key is the dotted key that it is about; "" for the file as a whole.
	Key string
	// Message says what is wrong, Fix what would be right.
	Message, Fix string
}

// String is the problem in one line: "file:line:col: key: message; fix".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Error is everything that is wrong with a file and the files that it names, in the order of the file.
type Error struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Problems collects problems. Err shows no more than maxProblems of them: a file of another kind would fill the screen.
type Problems struct{ list []Problem }

const maxProblems = 50

// Tell adds problems as they are.
func (l *Problems) Tell(ps ...Problem) { l.list = append(l.list, ps...) }

// Count is how many problems there are.
func (l *Problems) Count() int { return len(l.list) }

// AddAt adds a problem of a key at the place of a node. A nil node has no place.
func (l *Problems) AddAt(n *Node, key, message, fix string) {
	p := Problem{Key: key, Message: message, Fix: fix}
	if n != nil {
		p.File, p.Line, p.Column = n.File, n.Line, n.Column
	}
	l.list = append(l.list, p)
}

// Err is nil without problems, else an *Error with all of them sorted by place.
func (l *Problems) Err() error {
	if len(l.list) == 0 {
		return nil
	}
	ps := l.list
	order := map[string]int{}
	for _, p := range ps {
		if _, ok := order[p.File]; !ok {
			order[p.File] = len(order)
		}
	}
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].File != ps[j].File {
			return order[ps[i].File] < order[ps[j].File]
		}
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Column < ps[j].Column
	})
	if rest := len(ps) - maxProblems; rest > 0 {
		ps = append(ps[:maxProblems:maxProblems],
			Problem{File: ps[0].File, Message: fmt.Sprintf("%d more problems", rest),
				Fix: "mend the first ones and try again"})
	}
	return &Error{Problems: ps}
}
