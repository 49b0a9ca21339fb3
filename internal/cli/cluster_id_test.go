package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/cluster"
)

// TestH7ClusterIDIsMadeByUp has a host that nobody reaches: the id is there before anything is done.
func TestH7ClusterIDIsMadeByUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("prod.yaml", "name: a\nimage: ray:1\nhead: {host: \"unix:///nowhere/docker.sock\"}\n")
	run := func(args ...string) ran {
		return call(t, dir, append([]string{"cluster", "-f", "prod.yaml"}, args...)...)
	}
	read := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "prod.id"))
		if err != nil {
			return ""
		}
		return string(data)
	}
	for _, look := range []string{"plan", "status", "down"} {
		if run(look); read() != "" {
			t.Errorf("%s makes an id", look)
		}
	}
	if got := run("up"); got.code != exitFailed || !strings.Contains(got.stderr, "wrote prod.id") {
		t.Errorf("up: %+v", got)
	}
	first := read()
	lines := strings.Split(strings.TrimSpace(first), "\n")
	if id := lines[len(lines)-1]; !cluster.ValidID(id) {
		t.Errorf("up wrote %q", first)
	}
	if got := run("up"); strings.Contains(got.stderr, "wrote") || read() != first {
		t.Errorf("the next up: %+v, %q", got, read())
	}
	for _, bad := range []string{"", "# nothing\n", "abc\n", lines[len(lines)-1] + "\n" + lines[len(lines)-1] + "\n"} {
		write("prod.id", bad)
		for _, verb := range []string{"up", "down", "status"} {
			if got := run(verb); got.code != exitFailed || !strings.Contains(got.stderr, "prod.id") {
				t.Errorf("%s with the id %q: %+v", verb, bad, got)
			}
		}
	}
}
