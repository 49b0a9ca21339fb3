package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/spf13/pflag"
)

// projectRoot is the root of the project, seen from this package.
const projectRoot = "../.."

const maxPicture = 150_000 // bytes of a picture on a page

// typed is a command line that a page shows.
type typed struct {
	page, line string
	whole      bool // from a block of code: nothing may be left out of it
}

// projectPages are the project's pages for people: all Markdown but data, of which pages are made, and test data.
func projectPages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(projectRoot, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"build", "bin", "data", "testdata", ".git",
			"node_modules"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		data, err := os.ReadFile(path)
		out[filepath.ToSlash(strings.TrimPrefix(path, projectRoot+string(filepath.Separator)))] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if words := len(strings.Fields(out["README.md"])); words > 900 {
		t.Errorf("README.md has %d words; it has 900 at most: move what is more into docs", words)
	}
	if out["README.md"] == "" || len(out) < 10 {
		t.Fatalf("only %d pages are here", len(out))
	}
	return out
}

var (
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	pageLink  = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	imageName = regexp.MustCompile(`[/:.$]|^IMAGE|^"?\$`)
)

// typedLines are the lines with raybuild that a page shows: those of its blocks of code, and the
// spans of code in its text.
func typedLines(page, text string) []typed {
	var out []typed
	block := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			block = !block
		case block:
			line = strings.TrimPrefix(line, "$ ")
			start := strings.Index(line, "raybuild ")
			synopsis := strings.Contains(line, "[flags]") // of docs/cli
			if !synopsis && (start == 0 || strings.HasPrefix(line, "sudo ") && start > 0) {
				out = append(out, typed{page, line[start:], true})
			}
		default:
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				// an arrow: who imports whom
				if strings.HasPrefix(span[1], "raybuild ") && !strings.Contains(span[1], "→") {
					out = append(out, typed{page, span[1], false})
				}
			}
		}
	}
	return out
}

// arguments are the words after "raybuild", up to what the shell does with the result.
func (l typed) arguments() ([]string, error) {
	words, err := shlex.Split(l.line)
	if err != nil {
		return nil, err
	}
	end := slices.IndexFunc(words, func(w string) bool {
		return slices.Contains([]string{"|", "||", "&&", "&", ";"}, w) || strings.HasPrefix(w, ">")
	})
	if end >= 0 {
		words = words[:end]
	}
	return words[1:], nil
}

// check fails where the line is none of raybuild's commands, or has flags or arguments that the command does not take.
func (l typed) check() error {
	args, err := l.arguments()
	if err != nil {
		return err
	}
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard,
		getenv: func(string) string { return "" }}
	root := a.rootCommand()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	given := cmd.Flags().Args()
	switch {
	case cmd == root && len(given) > 0 && !imageName.MatchString(given[0]):
		return fmt.Errorf("%q is neither a command nor the name of an image", given[0])
	case cmd.HasSubCommands() && cmd != root && len(given) > 0:
		return fmt.Errorf("%q has no command %q", cmd.CommandPath(), given[0])
	case !l.whole:
		return nil
	}
	return errors.Join(cmd.ValidateArgs(given), cmd.ValidateRequiredFlags())
}

// Every line with raybuild on a page is a command that raybuild has, with flags that it has.
func TestPagesShowRealCommands(t *testing.T) {
	t.Parallel()
	lines := 0
	for page, text := range projectPages(t) {
		for _, line := range typedLines(page, text) {
			lines++
			if err := line.check(); err != nil {
				t.Errorf("%s shows %q: %v", page, line.line, err)
			}
		}
	}
	if lines < 50 {
		t.Errorf("only %d lines with raybuild were found on the pages", lines)
	}
}

// The check of the pages' lines finds what is wrong with a line.
func TestPagesWithWrongCommandsAreFound(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"raybuild --pusch registry.example/ray:1", "raybuild unheardof", "raybuild cluster start",
		"raybuild cluster up --hosts a",
		"raybuild inspect", "raybuild diff registry.example/ray:1", `raybuild add "einops`,
	} {
		if (typed{"a page", line, true}).check() == nil {
			t.Errorf("nothing is found wrong with: %s", line)
		}
	}
}

// anchors are the places of a page that a link can name, by GitHub's rule.
func anchors(text string) []string {
	var out []string
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		title := notAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(h[1])), "")
		out = append(out, strings.ReplaceAll(title, " ", "-"))
	}
	return out
}

// Every relative link of a page leads to a file of the project, and to a heading of it where it names one.
func TestPagesLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	all := projectPages(t)
	links := 0
	for page, text := range all {
		for _, found := range pageLink.FindAllStringSubmatch(text, -1) {
			link, err := url.Parse(found[1] + found[2])
			if err != nil || link.IsAbs() || link.Host != "" {
				continue
			}
			links++
			target := page
			if link.Path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), link.Path))
			}
			info, err := os.Stat(filepath.Join(projectRoot, target))
			if err != nil {
				t.Errorf("%s links to %s, which is not there", page, link)
				continue
			}
			if kind := filepath.Ext(target); (kind == ".png" || kind == ".svg") && info.Size() > maxPicture {
				t.Errorf("%s shows %s, which has %d bytes: %d at most load well on slow lines", page, link,
					info.Size(), maxPicture)
			}
			if link.Fragment != "" && all[target] != "" && !slices.Contains(anchors(all[target]), link.Fragment) {
				t.Errorf("%s links to %s, and %s has no such heading", page, link, target)
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d relative links were found", links)
	}
}

// blockAfter is the first block of code of a kind after a heading.
func blockAfter(text, title, kind string) string {
	_, rest, _ := strings.Cut(text, "\n"+title+"\n")
	_, rest, _ = strings.Cut(rest, "\n```"+kind+"\n")
	out, _, _ := strings.Cut(rest, "```")
	return out
}

// README.md shows a part of the session of docs/start.md, which a test on two hosts types: no line
// of its own, in the same order.
func TestReadmeShowsLinesOfTheSession(t *testing.T) {
	t.Parallel()
	all := projectPages(t)
	session := strings.Split(blockAfter(all["docs/start.md"], "## The cluster", "console"), "\n")
	shown := strings.Split(strings.TrimSpace(blockAfter(all["README.md"], "## From nothing to a running job",
		"console")), "\n")
	at := slices.Index(shown, session[0])
	if at < 0 || len(session) < 20 || len(shown) < 15 {
		t.Fatalf("README.md does not show the session of docs/start.md (%d lines, of which README.md has %d)",
			len(session), len(shown))
	}
	rest := session
	for _, line := range shown[at:] {
		if line == "…" {
			continue
		}
		next := slices.Index(rest, line)
		if next < 0 {
			t.Fatalf("README.md has the line %q, which docs/start.md has not, or not there", line)
		}
		rest = rest[next+1:]
	}
	if program := blockAfter(all["README.md"], "## From nothing to a running job", "python"); program != "" &&
		program != blockAfter(all["docs/start.md"], "## The cluster", "python") {
		t.Error("README.md and docs/start.md have different programs")
	}
}

var (
	numbersRow = regexp.MustCompile("(?m)^\\| [^|`]*\\(`([a-z-]+)`\\) \\|(.*)\\|$")
	spread     = regexp.MustCompile(`\([^)]*\)`) // fastest, slowest, runs
	amount     = regexp.MustCompile(`([0-9.]+)(?: (s|kB|MB))?`)
)

// amounts are the first n numbers of a table's row: seconds, or bytes in MB.
func amounts(t *testing.T, columns string, n int) []float64 {
	t.Helper()
	var out []float64
	for _, found := range amount.FindAllStringSubmatch(columns, n) {
		value, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if found[2] == "kB" {
			value /= 1000
		}
		out = append(out, value)
	}
	if len(out) != n {
		t.Fatalf("not %d numbers in %q", n, columns)
	}
	return out
}

// The numbers of README.md are those of docs/benchmarks.md, rounded.
func TestReadmeNumbersAreMeasured(t *testing.T) {
	t.Parallel()
	all := projectPages(t)
	_, image, _ := strings.Cut(all["docs/benchmarks.md"], "\n## Image A\n")
	measured := func(title, row string) []float64 {
		_, table, _ := strings.Cut(image, "\n### "+title)
		table, _, _ = strings.Cut(table, "\n### ")
		_, columns, ok := strings.Cut(table, "\n| `"+row+"` |")
		if columns, _, _ = strings.Cut(columns, "\n"); !ok {
			t.Fatalf("docs/benchmarks.md has no row %s under %s", row, title)
		}
		return amounts(t, spread.ReplaceAllString(columns, ""), 2)
	}
	rows := numbersRow.FindAllStringSubmatch(all["README.md"], -1)
	if len(rows) != 5 {
		t.Fatalf("README.md has %d rows of measured numbers, and not 5", len(rows))
	}
	for _, row := range rows {
		seconds, pulled := measured("Seconds", row[1]), measured("Bytes that a node", row[1])
		want := []float64{seconds[0], pulled[0], seconds[1], pulled[1]}
		for i, said := range amounts(t, row[2], 4) {
			if math.Abs(said-want[i]) > max(0.05*want[i], 0.005) {
				t.Errorf("README.md says %g as number %d of %s, and docs/benchmarks.md %g: copy the new numbers", said,
					i+1, row[1], want[i])
			}
		}
	}
}
