package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/raybuild/raybuild/llb"
)

// Formats of the reference.
const (
	docsMarkdown = "markdown"
	docsMan      = "man"
)

// docsCommand writes the command-line reference from the commands' help texts, for docs/cli and for
// the man pages of a release.
func (a *app) docsCommand() *cobra.Command {
	format := docsMarkdown
	formats := []string{docsMarkdown, docsMan}
	cmd := &cobra.Command{
		Use:   "docs DIR",
		Short: "Write the command line's reference as Markdown or as man pages",
		Long: `docs writes one page for each command into DIR: Markdown, or man pages of
section 1.

The project's docs/cli is made with it. A man page names a month: that of
SOURCE_DATE_EPOCH, else that of the commit raybuild was built from. So the same
build writes the same pages on every day.`,
		Example: "  raybuild docs docs/cli\n  raybuild docs --format man /usr/local/share/man/man1",
		Hidden:  true,
		Args:    oneArg("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return usagef("unknown format %q%s: --format is markdown or man", format, meant(format, formats))
			}
			dir := a.path(args[0])
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directory for docs: %w", err)
			}
			if err := a.writeDocs(cmd.Root(), dir, format); err != nil {
				return fmt.Errorf("write docs: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "form of the pages: markdown or man")
	return cmd
}

func (a *app) writeDocs(root *cobra.Command, dir, format string) error {
	version := a.versionText()
	root.Version = "" // a page must not change with the version
	root.DisableAutoGenTag = true
	if format == docsMarkdown {
		front := func(string) string { return "" }
		link := func(name string) string { return name }
		return doc.GenMarkdownTreeCustom(root, dir, front, link)
	}
	info, _ := debug.ReadBuildInfo()
	date, err := pageDate(a.getenv("SOURCE_DATE_EPOCH"), info)
	if err != nil {
		return err
	}
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "raybuild " + version, Manual: "raybuild"}
	return doc.GenManTree(root, header, dir)
}

// pageDate returns the date of man pages: SOURCE_DATE_EPOCH (seconds since 1970) if it is set, else the
// time of the commit that the program was built from, else [llb.Epoch]. It is never the current time.
func pageDate(epoch string, info *debug.BuildInfo) (time.Time, error) {
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH %q: want seconds since 1970: mend it or unset it",
				epoch)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339, setting(info, "vcs.time")); err == nil {
		return t.UTC(), nil
	}
	return llb.Epoch(), nil
}
