package layers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// yankedText is pip's warning of a file that the index has withdrawn (PEP 592),
// and that it takes all the same because a requirement pins its version (pip 19.2 to 25).
var yankedText = lazy(
	`yanked version: '([A-Za-z0-9._-]+)' candidate \(version (\S+) at [^\n]*\)\s+Reason for being yanked: ([^\n]*)`)

// noteYanked keeps in the lock which artifacts the index has withdrawn and why,
// and says so: a version that its makers took back may be broken, or worse.
func (r *Resolver) noteYanked(artifacts []Artifact, stderr string) {
	r.noteWithdrawn(artifacts, yankedText().FindAllStringSubmatch(stderr, -1))
}

// uvYankedText is uv's warning (uv 0.13).
var uvYankedText = lazy("`([A-Za-z0-9._-]+)==([^`]+)` is yanked(?: \\(reason: \"?([^\n]*?)\"?\\))?(?:\n|$)")

// noteYankedByUV does so with what uv said.
func (r *Resolver) noteYankedByUV(artifacts []Artifact, warnings []string) {
	r.noteWithdrawn(artifacts, uvYankedText().FindAllStringSubmatch(strings.Join(warnings, "\n")+"\n", -1))
}

// noteWithdrawn takes name, version and reason of each.
func (r *Resolver) noteWithdrawn(artifacts []Artifact, found [][]string) {
	for _, m := range found {
		for i := range artifacts {
			a := &artifacts[i]
			if a.Name != NormalName(m[1]) || a.Version != m[2] {
				continue
			}
			reason := yankedReason(m[3])
			a.For = withFact(a.For, "yanked", reason)
			r.in.Log("warning: %s %s was yanked from the index by its makers (%s): it is taken because its version is "+
				"pinned; choose another one, or raybuild lock --update %[1]s if only the lock pins it", a.Name,
				a.Version, reason)
		}
	}
}

// yankedReason is the reason as one line of the lock.
func yankedReason(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if message, _ := strictyaml.OneLine(s); s == "" || message != "" {
		return "no reason given"
	}
	const most = 200
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

var (
	ignoredYanked = lazy(`Ignored the following yanked versions: ([^\n]+)`) // pip 23.3 and later
	yankedFile    = lazy(`<a\b[^>]*\sdata-yanked\b[^>]*>\s*([^<>\s]+)\s*<`)
)

// yankedHint is what to do where pip passes over versions because they were
// yanked; "" where none was. A pip that does not say so itself lists them among
// those that it looked at.
func (r *Resolver) yankedHint(ctx context.Context, p python, text string) string {
	var versions []string
	if m := ignoredYanked().FindStringSubmatch(text); m != nil {
		versions = strings.Split(m[1], ", ")
	} else if m, from := noMatch().FindStringSubmatch(text),
		fromVersions().FindStringSubmatch(text); m != nil && from != nil {
		req, _, _ := parseRequirement(m[1])
		page, _ := r.indexPage(ctx, p, req.Name)
		looked := strings.Split(from[1], ", ")
		for _, m := range yankedFile().FindAllSubmatch(page, -1) {
			_, version, ok := wheelFile(string(m[1]))
			if !ok {
				_, version = sdistFile(string(m[1]))
			}
			if slices.Contains(looked, version) && !slices.Contains(versions, version) {
				versions = append(versions, version)
			}
		}
	}
	if versions == nil {
		return ""
	}
	return fmt.Sprintf("\nyanked from the index, and taken only if == pins them: %s; name another version, or pin "+
		"one of them to take it anyway",
		shorten(versions, 100))
}
