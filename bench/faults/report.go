package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raybuild/raybuild/bench/bed"
)

// line is a row of the table.
type line struct {
	Row     string            `json:"row"`
	Fault   string            `json:"fault"`
	Wanted  string            `json:"wanted"`
	Results map[string]result `json:"results"`
}

// report is build/bench-faults.json.
type report struct {
	Time   time.Time `json:"time"`
	CPUs   int       `json:"cpus"`
	Load   string    `json:"load"` // averages when it began
	Limit  float64   `json:"limit_seconds"`
	Bytes  int64     `json:"image_bytes"`
	Rows   []*line   `json:"rows"`
	Caches []*line   `json:"caches"`
}

// run measures everything, prints the table and writes the files.
func run(ctx context.Context, o options) (err error) {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	r := &report{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(),
		Load: strings.TrimSpace(string(load)), Limit: o.limit.Seconds()}
	b, err := newBench(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	r.Bytes = b.image.bytes
	say := func(l *line) { _, _ = fmt.Fprintf(os.Stderr, "%s %s\n", l.Row, l.Fault) } // the table is what counts
	if r.Rows, err = b.measureAll(ctx, selected(rows(scale{slow: 20 * time.Second, after: 7 * time.Second}), o.rows),
		say); err != nil {
		return err
	}
	if r.Caches, err = b.measureCaches(ctx, selected(cacheRows(), o.rows), say); err != nil {
		return err
	}
	if err := bed.WriteResults(o.out, r, o.docs, r.page()); err != nil {
		return err
	}
	return r.print(os.Stdout)
}

// table is one of the two: of pushes, and of builds with caches, which crane has none of.
type table struct {
	title string
	rows  []*line
	peers []string
}

func (r *report) tables() []table {
	return []table{{"Pushes", r.Rows, peerNames()}, {"Builds with a cache", r.Caches, []string{"raybuild", "buildctl"}}}
}

// print writes the tables.
func (r *report) print(to io.Writer) error {
	for _, t := range r.tables() {
		w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintf(w, "\tfault\twanted\t%s\n", strings.Join(t.peers, "\t"))
		for _, l := range t.rows {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Row, l.Fault, l.Wanted, strings.Join(l.cells(t.peers), "\t"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "\n%s\n\n", t.score()); err != nil {
			return err
		}
	}
	return nil
}

// score says how often each of them did what was wanted.
func (t table) score() string {
	var all []string
	for _, name := range t.peers {
		n := 0
		for _, l := range t.rows {
			if l.Results[name].Right {
				n++
			}
		}
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	return fmt.Sprintf("As wanted, of %d rows: %s.", len(t.rows), strings.Join(all, ", "))
}

func (l *line) cells(peers []string) []string {
	var cells []string
	for _, name := range peers {
		cells = append(cells, l.Results[name].text())
	}
	return cells
}

// text is a result in a cell. What is not as it should be has a mark.
func (r result) text() string {
	text := fmt.Sprintf("%s, %.1f s", r.Outcome, r.Seconds)
	switch {
	case r.Outcome == pushed && !r.Whole:
		text += ", but not whole"
	case r.Outcome == built && !r.Whole:
		text += ", but another image"
	}
	if r.Again > 0 {
		text += fmt.Sprintf(", %.1f MB again", float64(r.Again)/1e6)
	}
	if r.Early > 0 {
		text += fmt.Sprintf(", %d too early", r.Early)
	}
	if !r.Right {
		text = "✗ " + text
	}
	return text
}

// page is the report as docs/faults.md.
func (r *report) page() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	r.method(say)
	for _, t := range r.tables() {
		say("## %s", t.title)
		say("")
		say("%s", t.score())
		say("")
		say("| | fault | wanted | %s |", strings.Join(t.peers, " | "))
		say("|---|---|---|%s", strings.Repeat("---|", len(t.peers)))
		for _, l := range t.rows {
			say("| %s | %s | %s | %s |", l.Row, l.Fault, l.Wanted, strings.Join(l.cells(t.peers), " | "))
		}
		say("")
	}
	say("## What they say")
	say("")
	say("Where something does not end well, the first line of the error, which is what a user has to go by:")
	say("")
	for _, t := range r.tables() {
		for _, l := range t.rows {
			for _, name := range t.peers {
				if e := l.Results[name].Error; e != "" {
					say("* %s, %s, %s: `%s`", l.Row, l.Fault, name, strings.ReplaceAll(e, "`", "'"))
				}
			}
		}
	}
	return b.String()
}

// method says what was done.
func (r *report) method(say func(string, ...any)) {
	p := patience()
	say("# Faulty registries")
	say("")
	say("Written by `make bench-faults`; do not edit. R1 to R10 and C1 to C4 are rows of the project's fault matrix. " +
		"In R rows one image of")
	say("%.1f MB (layers of random bytes) is pushed into an empty registry, raybuild's own, with a fault put before it",
		float64(r.Bytes)/1e6)
	say("(`internal/faultyregistry`): by raybuild's pusher (the package `internal/registry` that `raybuild --push` " +
		"calls), by `buildctl`")
	say("(BuildKit's engine, of the version that raybuild links, pushes from its cache), and by `crane` " +
		"(go-containerregistry's package, as")
	say("`crane push` calls it). Each has a registry of its own; several rows run at once. In C rows an empty engine " +
		"makes an edit that")
	say("needs a layer which a registry's cache has, or writes a cache: by raybuild's package `llb`, and by " +
		"`buildctl` with an equal")
	say("Dockerfile on the same engine.")
	say("")
	say("* **Machine**: %d CPUs, load averages at the start %s; %s.", r.CPUs, r.Load,
		r.Time.Format("2 January 2006, 15:04 MST"))
	say("* **Limits**: what takes %.0f s is ended and told as hung. raybuild gives up on silence after %v, on an "+
		"answer to a whole blob", r.Limit, p.Stall)
	say("  after %v, and on a cache after %v, which are shorter than its defaults (1 min, 10 min, 5 min) so that the "+
		"table is done in", p.Answer, cacheBudget)
	say("  time; the others have no such limits. At its defaults raybuild, too, would be told as hung in " +
		"R3's rows of PATCH, PUT and")
	say("  manifest (it pushes after 10 minutes) and in C3's silence (5 minutes), and in C4 it would read " +
		"at 1 Mbit/s as the others do.")
	say("  R1's failures are spread over the requests of several blobs, but for those of the manifest, which has one.")
	say("* **Wanted**: *pushed* is that the tag is the image's digest at the end and all of the image is there; " +
		"*failed* is an error within")
	say("  %v, and no tag; *built* is the image that is built without a cache, within %v. *again* are bytes of blobs "+
		"above the image's", soon, 2*cacheBudget)
	say("  own, *too early* requests before `Retry-After` was over, among them those that were under way; R4 wants " +
		"that the push is no")
	say("  faster than that. ✗ is not as wanted.")
	say("* containerd, and so BuildKit, sends a blob's bytes with the PUT that ends it: faults of PATCH strike that. " +
		"`buildctl` exports caches")
	say("  with `ignore-error=true`, as raybuild does by default.")
	say("")
}
