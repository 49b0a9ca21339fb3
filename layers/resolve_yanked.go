package layers

import "strings"

// yankedText is pip's warning of a file that the index has withdrawn (PEP 592),
// and that it takes all the same because a requirement pins its version (pip 19.2 to 25).
var yankedText = lazy(`yanked version: '([A-Za-z0-9._-]+)' candidate \(version (\S+) at [^\n]*\)\s+Reason for being yanked: ([^\n]*)`)

// noteYanked keeps in the lock which artifacts the index has withdrawn and why,
// and says so: a version that its makers took back may be broken, or worse.
func (r *Resolver) noteYanked(artifacts []Artifact, stderr string) {
	for _, m := range yankedText().FindAllStringSubmatch(stderr, -1) {
		for i := range artifacts {
			a := &artifacts[i]
			if a.Name != NormalName(m[1]) || a.Version != m[2] {
				continue
			}
			reason := yankedReason(m[3])
			a.For = withFact(a.For, "yanked", reason)
			r.in.Log("warning: %s %s was yanked from the index by its makers (%s): it is taken because its version is pinned; choose another one, "+
				"or raybuild lock --update %[1]s if the lock alone pins it", a.Name, a.Version, reason)
		}
	}
}

// yankedReason is the reason as one line of the lock.
func yankedReason(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if message, _ := freeText(s); s == "" || message != "" {
		return "no reason given"
	}
	const most = 200
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// yankedHint is what to do where pip passes over versions because they were
// yanked; "" where that is not why it found nothing.
func yankedHint(text string) string {
	if !strings.Contains(text, "Ignored the following yanked versions") {
		return ""
	}
	return "\nversions that were yanked from the index are taken only where == names them: name another version, or pin that one"
}
