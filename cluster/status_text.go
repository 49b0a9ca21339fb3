package cluster

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// textWidth is how wide a terminal is at least.
const textWidth = 80

// String formats the status for people. It shortens the image's digest; the JSON form does not.
func (s *Status) String() string {
	var b strings.Builder
	state := "healthy"
	switch {
	case s.Enough && !s.Healthy:
		state = fmt.Sprintf("up without %s, as is allowed", plural(s.Wanted-s.Alive, "node", "nodes"))
	case !s.Healthy:
		state = "NOT as wanted"
	}
	fmt.Fprintf(&b, "cluster %s: %s, %d of %s alive, ray %s\n%s\n", s.Cluster, state, s.Alive,
		plural(s.Wanted, "node", "nodes"), s.Ray, brief(s.Image))
	rows := nodeRows(s.Nodes)
	for i, n := range s.Nodes {
		fmt.Fprintln(&b, rows[i])
		if n.Why != "" {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(n.Why, "\n", "\n      "))
		}
		if n.Next != "" {
			fmt.Fprintf(&b, "      next: %s\n", n.Next)
		}
	}
	for _, d := range s.Drift {
		fmt.Fprintf(&b, "  drift: %s %s on %s: %s\n", d.Kind, d.Node, d.Host, d.Why)
	}
	for _, f := range s.Foreign {
		fmt.Fprintf(&b, "  drift: node %s is alive and not in cluster.yaml\n", f)
	}
	for _, c := range s.Others {
		fmt.Fprintf(&b, "  another's: %s\n", c)
	}
	if s.Lock != nil {
		fmt.Fprintf(&b, "  locked by %s for %.0f s unless renewed\n", s.Lock.Owner, s.Lock.Left)
	}
	if s.Problem != "" {
		fmt.Fprintf(&b, "  problem: %s\n", s.Problem)
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", fold(w, len("  warning: "), 4))
	}
	return b.String()
}

// nodeRows are the nodes as a table without a head, as wide as what is in it.
func nodeRows(nodes []NodeStatus) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, n := range nodes {
		host := n.Host
		if n.Address != "" && !strings.Contains(host, n.Address) {
			host += " (" + n.Address + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\tray: %s\t%s\n", n.ID, n.Role, host, n.Container, n.Ray, resourceText(n))
	}
	w.Flush() // into memory
	rows := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i, r := range rows {
		rows[i] = strings.TrimRight(r, " ")
	}
	return rows
}

// brief is a reference with as much of its digest as people compare.
func brief(ref string) string {
	const digits = 12
	at := strings.LastIndex(ref, "@sha256:")
	if end := at + len("@sha256:") + digits; at >= 0 && end < len(ref) {
		return ref[:end] + "…"
	}
	return ref
}

// fold breaks a text between words where a line that begins at column first would be too long;
// further lines are indented.
func fold(text string, first, indent int) string {
	var b strings.Builder
	column := first
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case column+1+n > textWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

func resourceText(n NodeStatus) string {
	var parts []string
	for k, v := range n.Resources {
		if k == "CPU" || k == "GPU" {
			parts = append(parts, fmt.Sprintf("%g %s", v, k))
		}
	}
	slices.Sort(parts)
	if n.Load != nil {
		parts = append(parts, fmt.Sprintf("load %.0f %% CPU, %.0f %% memory", n.Load.CPU, n.Load.Memory))
	}
	return strings.Join(parts, ", ")
}
