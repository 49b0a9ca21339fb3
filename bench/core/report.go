package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one thing that was measured. Ratio is raybuild's median by that of buildctl with the
// Dockerfile: below 1 is less.
type row struct {
	Name     string    `json:"name"`
	Unit     string    `json:"unit"` // s or B
	Raybuild float64   `json:"raybuild"`
	Peer     float64   `json:"buildctl,omitempty"`
	Ratio    float64   `json:"ratio,omitempty"`
	Runs     []float64 `json:"raybuild_runs"`
	PeerRuns []float64 `json:"buildctl_runs,omitempty"`
}

// report is build/bench-core.json.
type report struct {
	Time     time.Time `json:"time"`
	CPUs     int       `json:"cpus"`
	Load     string    `json:"load"` // the machine's load averages when it began
	StandIns string    `json:"stand_ins"`
	Rows     []row     `json:"rows"`
}

func newReport() *report {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	return &report{
		Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Load: strings.TrimSpace(string(load)),
		StandIns: "offline package world: conda, ray and the other wheels are stand-ins of small size; Debian's " +
			"packages, pip and Python are real",
	}
}

// add adds what was measured; peer is nil where nothing compares.
func (r *report) add(name, unit string, runs, peer []float64) {
	line := row{Name: name, Unit: unit, Runs: runs, PeerRuns: peer, Raybuild: median(runs)}
	if len(peer) > 0 {
		if line.Peer = median(peer); line.Peer > 0 {
			line.Ratio = line.Raybuild / line.Peer
		}
	}
	r.Rows = append(r.Rows, line)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// run measures everything, prints the table and writes the file.
func run(ctx context.Context, o options) (err error) {
	r := newReport()
	if o.runs < 1 || o.cold < 1 {
		return errors.New("read flags: -runs and -cold must be at least 1")
	}
	p, err := prepare(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	p.Say("engine start")
	if err := p.engineStart(ctx, r); err != nil {
		return err
	}
	ours, theirs, err := p.coldBuilds(ctx, r)
	if err != nil {
		return err
	}
	if err := p.cachedBuilds(ctx, r, ours, theirs); err != nil {
		return err
	}
	if err := p.sameImage(ctx, r, ours, theirs); err != nil {
		return err
	}
	binary, err := os.Stat(p.Raybuild)
	if err != nil {
		return err
	}
	r.add("size of the binary", "B", inBytes(binary.Size()), nil)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	p.Say("")
	return r.print(os.Stdout)
}

// print writes the table: medians, and in brackets the fastest and the slowest.
func (r *report) print(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, load averages at the start %s\n%s\n\n", r.CPUs, r.Load, r.StandIns)
	w := tabwriter.NewWriter(&b, 0, 4, 3, ' ', 0)
	rows := [][]string{{"MEDIAN [MIN–MAX]", "RAYBUILD", "BUILDCTL + DOCKERFILE", "RATIO"}}
	for _, l := range r.Rows {
		cells := []string{l.Name, figure(l.Unit, l.Raybuild, l.Runs), "", ""}
		if l.Peer > 0 {
			cells[2], cells[3] = figure(l.Unit, l.Peer, l.PeerRuns), fmt.Sprintf("%.2f", l.Ratio)
		}
		rows = append(rows, cells)
	}
	for _, cells := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// figure is a value for people.
func figure(unit string, value float64, runs []float64) string {
	one := func(v float64) string {
		switch {
		case unit == "B":
			return fmt.Sprintf("%.1f MB", v/1e6)
		case v < 1:
			return fmt.Sprintf("%.0f ms", v*1000)
		}
		return fmt.Sprintf("%.1f s", v)
	}
	if len(runs) < 2 {
		return one(value)
	}
	return fmt.Sprintf("%s [%s–%s]", one(value), one(slices.Min(runs)), one(slices.Max(runs)))
}
