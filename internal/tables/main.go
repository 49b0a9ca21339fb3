// Command tables brings the tables of raybuild that can be made from an index up to date:
// layers/data/ray-wheels.tsv, which says for which Pythons and platforms there are wheels of each
// release of Ray. It asks the index once, writes the table where it changed, and prints the
// difference. scripts/refresh-tables runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"
)

const (
	wheelTable = "layers/data/ray-wheels.tsv"
	jsonForm   = "application/vnd.pypi.simple.v1+json"
	limit      = 64 << 20
	patience   = time.Minute
)

// texts are files that name the newest release of Ray and that tests compare with the table.
func texts() []string { return []string{"examples/default/raybuild.yaml", "internal/cli/init.yaml"} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := refresh(ctx, os.Stdout, os.Getenv("PIP_INDEX_URL")); err != nil {
		fmt.Fprintln(os.Stderr, "tables:", err)
		os.Exit(1)
	}
}

// refresh works in the current directory, the repository's root. An empty index is PyPI.
func refresh(ctx context.Context, out io.Writer, index string) error {
	before, err := os.ReadFile(wheelTable)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read table: %w; run it in the repository's root", err)
	}
	if index == "" {
		index = "https://pypi.org/simple"
	}
	data, err := get(ctx, strings.TrimRight(index, "/")+"/ray/")
	if err != nil {
		return err
	}
	rows, err := releases(data)
	if err != nil {
		return err
	}
	// The table is PyPI's, whichever mirror it came through.
	after := table("https://pypi.org/simple/ray/", rows)
	changes := difference(string(before), after)
	if string(before) == after {
		fmt.Fprintf(out, "%s is up to date: %d releases, the newest is %s\n", wheelTable, len(rows), newest(after))
		return nil
	}
	if err := os.WriteFile(wheelTable, []byte(after), 0o644); err != nil { //nolint:gosec // a file of the repository
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintf(out, "%s: %d lines changed; the newest is %s\n%s\n", wheelTable, len(changes), newest(after),
		strings.Join(changes, "\n"))
	return follow(out, newest(string(before)), newest(after))
}

// follow writes a new newest release into the texts that name the old one.
func follow(out io.Writer, from, to string) error {
	if from == "" || from == to {
		return nil
	}
	for _, name := range texts() {
		data, err := os.ReadFile(name) //nolint:gosec // one of the repository's own
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
		if text := strings.ReplaceAll(string(data), from, to); text != string(data) {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // a file of the repository
				return fmt.Errorf("write text: %w", err)
			}
			fmt.Fprintf(out, "%s: %s is %s now\n", name, from, to)
		}
	}
	fmt.Fprintln(out, "an index page does not tell extras: see in the METADATA of a wheel whether they changed, and "+
		"add a row to layers/data/ray.yaml if so")
	return nil
}

// get reads a page of an index. What PIP_INDEX_URL holds of credentials is used, and never printed.
func get(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("read PIP_INDEX_URL: not the URL of an index, such as https://pypi.org/simple")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.Redacted(), err)
	}
	req.Header.Set("Accept", jsonForm)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask index: %w", err) // url.Error leaves the password out
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s: %s", u.Redacted(), resp.Status)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, jsonForm) {
		return nil, fmt.Errorf("ask %s: it answers %q and not the JSON of PEP 691, which alone tells what "+
			"was withdrawn; set PIP_INDEX_URL=https://pypi.org/simple", u.Redacted(), kind)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", u.Redacted(), err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("read %s: more than %d MiB", u.Redacted(), limit>>20)
	}
	return data, nil
}
