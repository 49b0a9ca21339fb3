package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/layers"
)

func (a *app) mirrorsCommand() *cobra.Command {
	var (
		list, asJSON bool
		timeout      time.Duration
	)
	cmd := &cobra.Command{
		Use:   "mirrors",
		Short: "Show the mirrors known by name, and how fast each answers here",
		Long: `mirrors lists the mirrors that a recipe can name in mirrors.fetch and mirrors.image, with what each carries, and measures how
fast each of its parts answers from this machine: the time to the first byte, and the speed of the megabyte after it.

"fetch: auto" in a recipe measures in the same way and takes the fastest first.`,
		Example: "  raybuild mirrors\n  raybuild mirrors --list          # without measuring\n  raybuild mirrors --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows := mirrorRows(layers.Presets())
			if !list {
				a.measure(cmd.Context(), rows, timeout)
			}
			if asJSON {
				return a.printJSON(rows)
			}
			return a.print("%s", mirrorTable(rows, !list))
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "only list: no request is made")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "longest time for one measurement")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// mirrorRow is one part of a mirror.
type mirrorRow struct {
	Mirror  string  `json:"mirror"`
	Part    string  `json:"part"` // apt, conda, pip or installer
	URL     string  `json:"url"`
	Seconds float64 `json:"first_byte_seconds,omitempty"`
	Speed   float64 `json:"bytes_per_second,omitempty"`
	Error   string  `json:"error,omitempty"`
	probe   string
}

func mirrorRows(mirrors []layers.Mirror) []*mirrorRow {
	var rows []*mirrorRow
	for _, m := range mirrors {
		for _, part := range []struct{ name, root, probe string }{
			{"apt", m.Ubuntu, "/dists/jammy/main/binary-amd64/Packages.gz"},
			{"conda", m.CondaCloud, "/conda-forge/noarch/repodata.json.zst"},
			{"pip", m.PipIndex, "/pip/"},
			{"installer", m.Miniconda, "/"},
		} {
			if part.root != "" {
				rows = append(rows, &mirrorRow{Mirror: m.Name, Part: part.name, URL: part.root, probe: part.root + part.probe})
			}
		}
	}
	return rows
}

// pipProbe is the page by which mirrors are compared: nearly all of an image's bytes come from the Python index.
func pipProbe(m layers.Mirror) string {
	if m.PipIndex == "" {
		return m.Ubuntu + "/dists/"
	}
	return m.PipIndex + "/pip/"
}

func (a *app) measure(ctx context.Context, rows []*mirrorRow, timeout time.Duration) {
	probes := make([]fetch.Probe, len(rows))
	for i, r := range rows {
		probes[i] = fetch.Probe{Name: r.Mirror + " " + r.Part, URL: r.probe}
	}
	a.say("measuring %d places", len(rows))
	for i, s := range fetch.Measure(ctx, probes, fetch.MeasureOptions{Timeout: timeout}) {
		if s.Err != nil {
			rows[i].Error = s.Err.Error()
			continue
		}
		rows[i].Seconds, rows[i].Speed = s.Latency.Seconds(), s.BytesPerSecond
	}
}

func mirrorTable(rows []*mirrorRow, measured bool) string {
	head := []string{"MIRROR", "PART", "URL"}
	if measured {
		head = append(head, "FIRST BYTE", "SPEED")
	}
	lines := [][]string{head}
	for _, r := range rows {
		line := []string{r.Mirror, r.Part, r.URL}
		switch {
		case !measured:
		case r.Error != "":
			line = append(line, "-", oneLine(strings.TrimSpace(r.Error), 60))
		default:
			line = append(line, fmt.Sprintf("%.0f ms", r.Seconds*1000), size(int64(r.Speed))+"/s")
		}
		lines = append(lines, line)
	}
	return table(lines)
}
