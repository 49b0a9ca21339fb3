package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raybuild/raybuild/bench/bed"
)

// machine is what the figures were taken on.
type machine struct {
	CPUs     int               `json:"cpus"`
	CPU      string            `json:"cpu"`
	Memory   string            `json:"memory"`
	Kernel   string            `json:"kernel"`
	Load     string            `json:"load"` // averages when it began
	Time     time.Time         `json:"time"`
	Scale    scale             `json:"scale"`
	Image    string            `json:"image,omitempty"` // of images of real wheels
	Versions map[string]string `json:"versions"`
	StandIns string            `json:"stand_ins"`
	// GzipLevel of the Dockerfile's layers. Default: BuildKit's.
	GzipLevel int `json:"gzip_level,omitempty"`
	// Wheels and WheelBytes are how many Python packages the image has, and their size; of images of real wheels.
	Wheels     int   `json:"wheels,omitempty"`
	WheelBytes int64 `json:"wheel_bytes,omitempty"`
}

// report is build/bench.json.
type report struct {
	Machine  machine   `json:"machine"`
	Rows     []*result `json:"rows"`
	Verdicts []verdict `json:"verdicts"`
	Notes    []string  `json:"notes,omitempty"`
}

const standIns = "Ubuntu, Miniconda, conda, ray, tensorflow, torch and the other wheels are stand-ins of raybuild's " +
	"offline package world (Debian's base and packages, pip and Python are real), all on one machine"

func (i *image) standIns() string {
	if i != nil {
		return "Ubuntu, Miniconda and conda are stand-ins of raybuild's offline package world (Debian's base, " +
			"packages and Python are real); Ray and all Python packages are PyPI's"
	}
	return standIns
}

func newReport(ctx context.Context, o options) *report {
	m := machine{CPUs: runtime.NumCPU(), Time: time.Now().UTC().Truncate(time.Second), Scale: o.scale,
		Image: o.image.title(), StandIns: o.image.standIns(), GzipLevel: o.gzip, Versions: map[string]string{}}
	m.CPU = fieldOf("/proc/cpuinfo", "model name")
	m.Memory = fieldOf("/proc/meminfo", "MemTotal")
	m.Kernel = strings.TrimSpace(fileText("/proc/sys/kernel/osrelease"))
	m.Load = strings.TrimSpace(fileText("/proc/loadavg"))
	programs := map[string][]string{"raybuild": {o.raybuild, "version"}, "buildctl": {o.buildctl, "--version"}}
	if o.image == nil {
		programs["dockerd"] = []string{o.dockerd, "--version"}
	}
	for name, args := range programs {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		if err != nil {
			out = []byte("unknown")
		}
		m.Versions[name] = strings.SplitN(strings.TrimSpace(string(out)), "\n", 2)[0]
	}
	return &report{Machine: m}
}

func fileText(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return string(data)
}

// fieldOf is the value of the first line "name : value" of a file.
func fieldOf(file, name string) string {
	for line := range strings.Lines(fileText(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// run measures everything, prints the table and writes the files.
func run(ctx context.Context, o options) error {
	if o.scale == "real" {
		return runReal(ctx, o)
	}
	if o.runs == 0 {
		o.runs = variants
	}
	r := newReport(ctx, o)
	err := r.fill(ctx, o, func() error { return bed.WriteResults(o.out, r, o.docs, r.page()) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(os.Stdout, r.table())
	return err
}

// fill measures the rows. write is called after each: what is there is there, also where a later row fails.
func (r *report) fill(ctx context.Context, o options, write func() error) (err error) {
	b, err := newBench(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	if err := b.prepare(ctx, r); err != nil {
		return err
	}
	for _, b.now = range b.groups() {
		blobs, err := b.bigBlobs()
		if err != nil {
			return err
		}
		for _, row := range o.image.rows() {
			if !b.wants(row) {
				continue
			}
			if err := b.measureRow(ctx, row, r.row(row, b)); err != nil {
				return fmt.Errorf("row %s: %w", row.name, err)
			}
			share(r.Rows)
			r.Verdicts = r.verdicts()
			if err := errors.Join(write(), b.endRow(ctx)); err != nil {
				return err
			}
		}
		if err := b.endGroup(ctx, blobs); err != nil {
			return err
		}
	}
	return nil
}

// row is the result that a row's figures go into: what an earlier run found for those who are
// measured now is forgotten.
func (r *report) row(of row, b *bench) *result {
	order := b.image.rows()
	place := func(name string) int { return slices.IndexFunc(order, func(r row) bool { return r.name == name }) }
	i := slices.IndexFunc(r.Rows, func(have *result) bool { return place(have.Name) >= place(of.name) })
	if i < 0 {
		i = len(r.Rows)
	}
	if i == len(r.Rows) || r.Rows[i].Name != of.name {
		r.Rows = slices.Insert(r.Rows, i, &result{Name: of.name, Kind: of.kind})
	}
	for _, s := range b.now {
		r.Rows[i].forget(s.name)
	}
	return r.Rows[i]
}

// peers are the names of all that can be measured, in the table's order.
func (r *report) peers() []string {
	if r.Machine.Scale == "real" {
		return []string{"raybuild", "dockerfile", "pip"}
	}
	return []string{"raybuild", "dockerfile", "docker", "commit"}
}

// tables are the columns of the matrix, each a table of its own: all of them side by side would fit no terminal.
func tables() []column {
	return []column{
		{"Seconds (fastest–slowest, runs)", secondsText},
		{"Steps run", func(f *figures) string { return fmt.Sprint(f.StepsRun) }},
		{"Bytes downloaded", func(f *figures) string { return megabytes(f.Downloaded) }},
		{"Bytes pushed", func(f *figures) string { return megabytes(f.Pushed) }},
		{"Bytes that a node with the old image pulls", func(f *figures) string { return megabytes(f.Pulled) }},
		{"Image size", func(f *figures) string { return megabytes(f.Image) }},
	}
}

// column is one of them.
type column struct {
	title string
	of    func(f *figures) string
}

// table is the report for a terminal of 100 columns.
func (r *report) table() string {
	var b strings.Builder
	for _, part := range tables() {
		fmt.Fprintf(&b, "\n%s\n", part.title)
		w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "\t"+strings.Join(r.peers(), "\t")) // a Builder takes everything
		for _, row := range r.Rows {
			cells := []string{row.Name}
			for _, p := range r.peers() {
				cells = append(cells, row.cell(p, part.of))
			}
			_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		_ = w.Flush()
	}
	b.WriteString("\n")
	for _, v := range r.Verdicts {
		b.WriteString(v.text() + "\n")
	}
	if slices.ContainsFunc(r.Rows, func(row *result) bool { return row.Commit != nil && row.Commit.Shared }) {
		b.WriteString("note: * the same commands are typed whatever changed: measured in other rows of this run\n")
	}
	for _, n := range append(r.shortfalls(), r.Notes...) {
		b.WriteString("note: " + n + "\n")
	}
	return b.String()
}

// cell is a peer's figure of a row.
func (r *result) cell(peer string, of func(f *figures) string) string {
	switch f := r.peer(peer); {
	case r.Failed[peer] != "":
		return "failed"
	case f == nil || r.Kind == kindLock && f.Seconds > 0 && of(f) == "0":
		return "–"
	default:
		return of(f)
	}
}

// shortfalls name each row in which raybuild does not do less by what the bars ask for, and why.
func (r *report) shortfalls() []string {
	var out []string
	causes, bars := causes(), r.bars()
	if r.Machine.Scale == "real" {
		maps.Copy(causes, realCauses())
	}
	for _, row := range r.Rows {
		if row.Raybuild == nil || row.Dockerfile == nil {
			continue
		}
		bar := bars.seconds
		switch {
		case row.Kind == kindFirst:
			bar = bars.first
		case row.Name == "cold":
			bar = bars.cold
		case row.Name == "same-warm":
			bar = sameBar
		case row.Kind != kindEdit:
			continue
		}
		if t := ratio(row.Raybuild.Seconds, row.Dockerfile.Seconds, secondsFloor); t > bar {
			text := fmt.Sprintf("%s takes %.2f × the Dockerfile's seconds: %s", row.Name, t, causes[row.Name].seconds)
			if least := ratio(0, row.Dockerfile.Seconds, secondsFloor); least > bar {
				text += fmt.Sprintf("; with the floor of 50 ms, a program that took no time at all would have %.2f ×",
					least)
			}
			out = append(out, text)
		}
		if t := ratio(float64(row.Raybuild.Pulled), float64(row.Dockerfile.Pulled), bytesFloor); row.Kind == kindEdit &&
			t > bars.bytes {
			out = append(out, fmt.Sprintf("%s lets a node pull %.2f × the Dockerfile's bytes: %s", row.Name, t,
				causes[row.Name].pulled))
		}
	}
	return out
}

func secondsText(f *figures) string {
	digits := 2
	if f.Seconds < 1 {
		digits = 3
	}
	text := func(seconds float64) string { return strconv.FormatFloat(seconds, 'f', digits, 64) }
	switch {
	case f.Shared:
		return text(f.Seconds) + " *"
	case len(f.Samples) < 2:
		return text(f.Seconds) + " (1)"
	}
	return fmt.Sprintf("%s (%s–%s, %d)", text(f.Seconds), text(f.Min), text(f.Max), len(f.Samples))
}

func (v verdict) text() string {
	word := "reached"
	if !v.Reached {
		word = "NOT REACHED"
	}
	return fmt.Sprintf("%-12s %.3f %s, at most %g: %s", word, v.Value, v.unit, v.Bar, v.What)
}

// megabytes is a number of bytes for people.
func megabytes(n int64) string {
	switch {
	case n == 0:
		return "0"
	case n < 100_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
