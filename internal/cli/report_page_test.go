package cli

import (
	"errors"
	"testing"
)

func TestReportIsRefusedWhereItCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := &app{dir: dir, getenv: func(string) string { return "" }}
	for file, ok := range map[string]bool{"": true, "page.html": true, "no/page.html": false, ".": false} {
		err := (&buildOptions{reportFile: file}).checkReport(a)
		var usage *usageError
		if (err == nil) != ok || err != nil && !errors.As(err, &usage) {
			t.Errorf("--report %q: %v, want it to be taken: %v", file, err, ok)
		}
	}
}
