package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
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
			rows := raybuild.Mirrors(cmd.Context(), a.options(),
				raybuild.MirrorOptions{Measure: !list, Timeout: timeout})
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

func mirrorTable(rows []raybuild.MirrorPart, measured bool) string {
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
		case !r.Measured:
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
