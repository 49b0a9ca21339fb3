package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
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
	Time  time.Time `json:"time"`
	CPUs  int       `json:"cpus"`
	Load  string    `json:"load"` // averages when it began
	Limit float64   `json:"limit_seconds"`
	Bytes int64     `json:"image_bytes"`
	Rows  []*line   `json:"rows"`
}

// run measures everything, prints the table and writes the files.
func run(ctx context.Context, o options) (err error) {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	r := &report{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Load: strings.TrimSpace(string(load)), Limit: o.limit.Seconds()}
	b, err := newBench(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	r.Bytes = b.image.bytes
	say := func(l *line) { _, _ = fmt.Fprintf(os.Stderr, "%s %s\n", l.Row, l.Fault) } // the table is what counts
	if r.Rows, err = b.measureAll(ctx, selected(rows(scale{slow: 20 * time.Second, after: 7 * time.Second}), o.rows), say); err != nil {
		return err
	}
	if err := r.write(o); err != nil {
		return err
	}
	return r.print(os.Stdout)
}

func (r *report) write(o options) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if o.docs == "" {
		return nil
	}
	return os.WriteFile(o.docs, []byte(r.page()), 0o644)
}

// print writes the table.
func (r *report) print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "\tfault\twanted\t%s\n", strings.Join(peerNames(), "\t"))
	for _, l := range r.Rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Row, l.Fault, l.Wanted, strings.Join(l.cells(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "\n%s\n", r.score())
	return err
}

// score says how often each of them did what was wanted.
func (r *report) score() string {
	var all []string
	for _, name := range peerNames() {
		n := 0
		for _, l := range r.Rows {
			if l.Results[name].Right {
				n++
			}
		}
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	return fmt.Sprintf("As wanted, of %d rows: %s.", len(r.Rows), strings.Join(all, ", "))
}

func (l *line) cells() []string {
	var cells []string
	for _, name := range peerNames() {
		cells = append(cells, l.Results[name].text())
	}
	return cells
}

// text is a result in a cell. What is not as it should be has a mark.
func (r result) text() string {
	text := fmt.Sprintf("%s, %.1f s", r.Outcome, r.Seconds)
	if r.Outcome == pushed && !r.Whole {
		text += ", but not whole"
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
	p := patience()
	say("# Pushes through a faulty registry")
	say("")
	say("Written by `make bench-faults`; do not edit. One image of %.1f MB (layers of random bytes) is pushed into an empty registry,", float64(r.Bytes)/1e6)
	say("raybuild's own, with a fault put before it (`internal/faultyregistry`): by raybuild's pusher (the package `internal/registry`")
	say("that `raybuild --push` calls), by `buildctl` (BuildKit's engine, of the version that raybuild links, pushes from its cache), and")
	say("by `crane` (go-containerregistry's package, as `crane push` calls it). Each has a registry of its own; several rows run at once.")
	say("R1 to R10 are the rows of the project's fault matrix.")
	say("")
	say("* **Machine**: %d CPUs, load averages at the start %s; %s.", r.CPUs, r.Load, r.Time.Format("2 January 2006, 15:04 MST"))
	say("* **Limits**: a push is ended after %.0f s and told as hung. raybuild gives up on silence after %v, and on an answer to a whole", r.Limit, p.Stall)
	say("  blob after %v, which are shorter than its defaults (1 min, 10 min) so that the table is done in time; the others have none.", p.Answer)
	say("* **Wanted**: *pushed* is that the tag is the image's digest at the end and all of the image is there; *failed* is an error within")
	say("  %v, and no tag. *again* are bytes of blobs above the image's own, *too early* requests before `Retry-After` was over, among", soon)
	say("  them those that were under way; R4 wants that the push is no faster than that. ✗ is not as wanted.")
	say("* containerd, and so BuildKit, sends a blob's bytes with the PUT that ends it: faults of PATCH strike that.")
	say("")
	say("%s", r.score())
	say("")
	say("| | fault | wanted | %s |", strings.Join(peerNames(), " | "))
	say("|---|---|---|%s", strings.Repeat("---|", len(peerNames())))
	for _, l := range r.Rows {
		say("| %s | %s | %s | %s |", l.Row, l.Fault, l.Wanted, strings.Join(l.cells(), " | "))
	}
	say("")
	say("## What they say")
	say("")
	say("Where a push does not end well, the first line of the error, which is what a user has to go by:")
	say("")
	for _, l := range r.Rows {
		for _, name := range peerNames() {
			if e := l.Results[name].Error; e != "" {
				say("* %s, %s, %s: `%s`", l.Row, l.Fault, name, strings.ReplaceAll(e, "`", "'"))
			}
		}
	}
	return b.String()
}
