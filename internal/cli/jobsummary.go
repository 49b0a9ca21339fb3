package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/raybuild/raybuild/internal/show"
)

// jobSummary adds the build to the summary page of the GitHub job, if there is one. An error does
// not fail a finished build.
func (a *app) jobSummary(m metadata, pushed bool) {
	file := a.getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(m.markdown(pushed))
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		a.warn("write the job's summary: %v", err)
	}
}

// markdown formats the build as Markdown for GitHub.
func (m metadata) markdown(pushed bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### raybuild %s\n\n`%s`\n\n", show.Printable(m.Name), m.Digest)
	if m.Raybuild.UpToDate {
		fmt.Fprintf(&b, "Up to date: nothing was built (%.2f s).\n\n", m.Raybuild.Seconds)
		return b.String()
	}
	if h := m.Raybuild.Found; h != nil {
		fmt.Fprintf(&b, "Nothing was built: %s from `%s`, %s pushed (%.2f s).\n\n", h.How, show.Printable(h.From),
			show.Size(m.Raybuild.BytesPushed), m.Raybuild.Seconds)
		return b.String()
	}
	ran := 0
	for _, s := range m.Raybuild.Steps {
		if !s.Cached {
			ran++
		}
	}
	fmt.Fprintf(&b, "%d of %d steps run, %s fetched, %s pushed, %.1f s", ran, len(m.Raybuild.Steps),
		show.Size(m.Raybuild.BytesFetched), show.Size(m.Raybuild.BytesPushed), m.Raybuild.Seconds)
	if c := m.Raybuild.Cache; c != nil {
		fmt.Fprintf(&b, "; cache: %.1f s, %d failed", c.Seconds, c.Failed)
	}
	if from := m.Raybuild.LayersFrom; from != "" {
		fmt.Fprintf(&b, "; layers that did not change are those of `%s`", show.Printable(from))
	}
	b.WriteString("\n\n| layer | digest | size | |\n| --- | --- | ---: | --- |\n")
	for _, l := range m.Raybuild.Layers {
		state := ""
		if pushed {
			state = "pushed"
			if l.Reused {
				state = "reused"
			}
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", strings.ReplaceAll(show.Printable(layerName(l.Name)), "|", `\|`),
			show.Short(l.Digest.String()), show.Size(l.Size), state)
	}
	b.WriteString("\n")
	return b.String()
}
