package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// page is the report as docs/benchmarks.md.
func (r *report) page() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	m := r.Machine
	line("# Benchmarks %s", map[scale]string{"small": "at the small scale", "full": "without network"}[m.Scale])
	line("")
	line("Written by `make bench BENCH_SCALE=%s`; do not edit. One image, built and pushed after one edit "+
		"after the other:", m.Scale)
	line("raybuild beside BuildKit's own client with an equal Dockerfile (`dockerfile`), `docker build` and `docker " +
		"push` on a Docker")
	line("Engine (`docker`), and a container into which commands are typed, committed and pushed (`commit`).")
	line("")
	m.page(line)
	line("* **Scale**: %s. %s", m.Scale, map[scale]string{
		"small": "A wheel of Ray of 7 MB, two frameworks of 60 and 30 MB, some sixty small wheels: a tenth of the " +
			"real ones' sizes. They hold incompressible bytes.",
		"full": "A wheel of Ray of 70 MB, two frameworks of 600 and 300 MB, some sixty small wheels: near the real " +
			"ones' sizes. They are full of machine code, so that they unpack to some 2.4 times their size, as " +
			"real ones do.",
	}[m.Scale])
	line("* **Stand-ins**: %s. What depends on the internet's speed is not measured here.", m.StandIns)
	line("")
	r.method(line)
	if absent := r.absent(); len(absent) > 0 {
		line("Not measured in this run: %s.%s", strings.Join(absent, ", "),
			map[scale]string{"full": " [benchmarks-small.md](benchmarks-small.md) has all, at a tenth " +
				"of the sizes."}[m.Scale])
		line("")
	}
	r.pageTables("##", line)
	line("## Bars")
	line("")
	line(floors)
	line("")
	r.pageBars(line)
	return b.String()
}

const floors = "Each ratio is (a + floor) / (b + floor), with floors of 50 ms and 16 kB."

// page is what the figures were taken on.
func (m machine) page(line func(string, ...any)) {
	line("* **Machine**: %d CPUs (%s), %s, Linux %s; load averages at the start %s; %s.", m.CPUs, m.CPU, m.Memory,
		m.Kernel, m.Load, m.Time.Format("2 January 2006, 15:04 MST"))
	for _, name := range slices.Sorted(maps.Keys(m.Versions)) {
		line("* **%s**: %s", name, m.Versions[name])
	}
}

// pageBars are the bars, and what falls short of them.
func (r *report) pageBars(line func(string, ...any)) {
	for _, v := range r.Verdicts {
		line("* %s", strings.Join(strings.Fields(v.text()), " "))
	}
	for _, n := range r.shortfalls() {
		line("* %s", n)
	}
}

func (r *report) method(line func(string, ...any)) {
	line("All of them have the same mirrors, the same registry and the same pinned versions, on one " +
		"machine, and take turns. Resolving is")
	line("the row `lock` alone, which has no peer: everybody else is given what came of it. Each run of an edit is a " +
		"change that no builder")
	line("has seen, on one that has built the image before; it is pushed under a new tag of the repository that has " +
		"the old image. `cold` is")
	line("an empty builder and an empty repository, with warm mirrors; engines run before the clock does, but " +
		"raybuild's own, whose start")
	line("is in its time. `same-empty-runner` is a builder that has nothing and a cache that is in the registry; " +
		"raybuild needs none there,")
	line("because the pushed image says which graph it is. The Dockerfile (`bench/matrix/dockerfile.go`) is ordered " +
		"by churn, has cache")
	line("mounts, a step for each big wheel and for Ray, and `COPY --link`; Debian's Docker Engine knows neither " +
		"`--link` nor")
	line("`ADD --checksum`, so it gets the Dockerfile without them. `commit` types all commands again whatever " +
		"changed, so it")
	line("was measured in a few rows, spread over the run, and stands with a * in the others. All layers are gzip: " +
		"raybuild asks BuildKit for")
	line("level %d, and the others have their builders' default, 6, as nobody says otherwise in practice; `-gzip "+
		"%[1]d` gives it to the Dockerfile.", llb.GzipLevel)
	if level := r.Machine.GzipLevel; level != 0 {
		line("**Here the Dockerfile's layers are packed at level %d.**", level)
	}
	line("")
	line("Seconds are medians, with the fastest, the slowest and the number of runs; bytes are medians. " +
		"Steps are run and file operations")
	line("of raybuild, instructions of a Dockerfile, and commands typed. Downloaded and pushed are bodies as mirrors " +
		"and registry saw them.")
	line("Pulled is what a node that has the old image fetches: layers that are new to it, and the config. " +
		"This holds for containerd's image store (Docker 29, Kubernetes). A Docker Engine with a graph " +
		"driver fetches all layers above the first new one, too.")
	line("")
}

// absent are peers that no row has.
func (r *report) absent() []string {
	return slices.DeleteFunc(r.peers(), func(p string) bool {
		return slices.ContainsFunc(r.Rows, func(row *result) bool { return row.peer(p) != nil || row.Failed[p] != "" })
	})
}

// pageTables are the tables, each with a heading of that level.
func (r *report) pageTables(level string, line func(string, ...any)) {
	for _, part := range tables() {
		line("%s %s", level, part.title)
		line("")
		line("| | %s |", strings.Join(r.peers(), " | "))
		line("|---|%s", strings.Repeat("---:|", len(r.peers())))
		for _, row := range r.Rows {
			cells := []string{"`" + row.Name + "`"}
			for _, p := range r.peers() {
				cells = append(cells, row.cell(p, part.of))
			}
			line("| %s |", strings.Join(cells, " | "))
		}
		line("")
	}
	for _, row := range r.Rows {
		for _, p := range slices.Sorted(maps.Keys(row.Failed)) {
			line("`%s`, %s: failed: %s", row.Name, p, row.Failed[p])
			line("")
		}
	}
	for _, n := range r.Notes {
		line("Note: %s", n)
		line("")
	}
}
