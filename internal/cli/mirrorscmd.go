package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/sources"
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
		Long: `mirrors lists the mirrors that a recipe can name in mirrors.fetch and
mirrors.image, with what each carries, and measures how fast each of its parts
answers from this machine: the time to the first byte, and the speed of the
megabyte after it.

The first is "host", which only mirrors.fetch can name: what pip, uv, conda and
apt of this machine are configured with, by variables (PIP_INDEX_URL,
UV_DEFAULT_INDEX, …) and files (pip.conf, uv.toml, .condarc, apt's sources).
FROM says which of them. Passwords are not shown. Certificates that the machine
trusts (PIP_CERT, SSL_CERT_FILE, …) hold for every mirror.

"fetch: auto" in a recipe measures in the same way and takes the fastest first,
but host before all if it answers.`,
		Example: "  raybuild mirrors\n  raybuild mirrors --list          # without measuring\n" +
			"  raybuild mirrors --json",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host := a.host()
			for _, n := range host.Notes {
				a.say("note: host: %s", n)
			}
			rows := append(hostRows(host), mirrorRows(layers.Presets())...)
			if !list {
				a.measure(cmd.Context(), rows, timeout)
			}
			if asJSON {
				return a.printJSON(rows)
			}
			return a.print("%s", mirrorTable(rows, !list))
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "only list the mirrors: ask none")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "longest time for one measurement")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// mirrorRow is one part of a mirror.
type mirrorRow struct {
	Mirror  string  `json:"mirror"`
	Part    string  `json:"part"`           // apt, conda, pip or installer; of the host what it is for
	URL     string  `json:"url"`            // or a file of certificates
	From    string  `json:"from,omitempty"` // the file or variable that has the host's
	Seconds float64 `json:"first_byte_seconds,omitempty"`
	Speed   float64 `json:"bytes_per_second,omitempty"`
	Error   string  `json:"error,omitempty"`
	probe   string  // "" is not measured
}

// hostRows are what this machine is configured with.
func hostRows(c hostconf.Config) []*mirrorRow {
	var rows []*mirrorRow
	for _, p := range hostParts(c) {
		r := &mirrorRow{Mirror: layers.HostMirror, Part: p.What, URL: p.Text, From: p.From}
		if end, known := sources.PartProbe(p.What); known {
			r.probe = p.raw + end
		}
		rows = append(rows, r)
	}
	return rows
}

func mirrorRows(mirrors []layers.Mirror) []*mirrorRow {
	var rows []*mirrorRow
	for _, m := range mirrors {
		for _, part := range []struct{ name, root, measured string }{
			{"apt", m.Ubuntu, "ubuntu"},
			{"conda", m.CondaCloud, "conda"},
			{"pip", m.PipIndex, "pip"},
			{"installer", m.Miniconda, ""},
		} {
			if part.root == "" {
				continue
			}
			probe, known := sources.PartProbe(part.measured)
			if !known {
				probe = "/"
			}
			rows = append(rows, &mirrorRow{Mirror: m.Name, Part: part.name, URL: part.root, probe: part.root + probe})
		}
	}
	return rows
}

func (a *app) measure(ctx context.Context, rows []*mirrorRow, timeout time.Duration) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r *mirrorRow) bool { return r.probe == "" })
	probes := make([]fetch.Probe, len(rows))
	for i, r := range rows {
		probes[i] = fetch.Probe{Name: r.Mirror + " " + r.Part, URL: r.probe}
	}
	a.say("measuring %d places", len(rows))
	host := a.host()
	for i, s := range fetch.Measure(ctx, probes, fetch.MeasureOptions{Timeout: timeout, Logins: host.Logins,
		Certs: sources.Certs(host)}) {
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
	head = append(head, "FROM")
	lines := [][]string{head}
	for _, r := range rows {
		line := []string{r.Mirror, r.Part, r.URL}
		switch {
		case !measured:
		case r.probe == "":
			line = append(line, "", "")
		case r.Error != "":
			line = append(line, "-", show.OneLine(strings.TrimSpace(r.Error), 60))
		default:
			line = append(line, fmt.Sprintf("%.0f ms", r.Seconds*1000), show.Size(int64(r.Speed))+"/s")
		}
		lines = append(lines, append(line, r.From))
	}
	return table(lines)
}
