package htmlreport

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/raybuild/raybuild/internal/browsertest"
	"github.com/raybuild/raybuild/llb"
)

// The page as Chromium shows it, at desktop and phone width, in light and dark: nothing reaches
// over the edge, every text can be read, nothing is asked for from elsewhere, and the numbers are
// those of the build.
func TestReportPageInChromium(t *testing.T) {
	t.Parallel()
	chromium := browsertest.Start(t)
	step := &llb.StepError{Layer: "<b>own</b>", Step: "make <b>own</b>", ExitCode: 7,
		Log: []string{"first", "last words"}, Err: errors.New("exit code: 7")}
	for name, failed := range map[string]error{"built": nil, "failed": step} {
		data := samplePage(failed)
		file := filepath.Join(t.TempDir(), "page.html")
		if err := writePage(file, data); err != nil {
			t.Fatal(err)
		}
		s := browsertest.Open(chromium, t, file)
		s.Fits(name)
		numbers := browsertest.Ask[map[string]string](s,
			`() => Object.fromEntries([...document.querySelectorAll('[data-key]')].map(e => [e.dataset.key, e.dataset.value]))`)
		for _, n := range data.Numbers {
			if numbers[n.Key] != n.Raw {
				t.Errorf("%s page: %s is %q, in the build's report %q", name, n.Key, numbers[n.Key], n.Raw)
			}
		}
	}
}
