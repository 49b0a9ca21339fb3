package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/browsertest"
)

// pageNumbers are what a page of --report says, read in the browser.
type pageNumbers struct {
	Outcome string
	Values  map[string]string
	Layers  map[string]string // name to "class size"
	Bars    int
	Tiles   int
	Arcs    int
	Changes int
	Text    string
}

const readNumbers = `() => ({
  Outcome: document.getElementById('outcome').dataset.outcome,
  Values: Object.fromEntries([...document.querySelectorAll('[data-key]')].map(e => [e.dataset.key, e.dataset.value])),
  Layers: Object.fromEntries([...document.querySelectorAll('tr[data-layer]')].map(e =>
    [e.dataset.layer, e.dataset.class + ' ' + e.dataset.size])),
  Bars: document.querySelectorAll('.time .bar').length, Tiles: document.querySelectorAll('.map.wide .item').length,
  Arcs: document.querySelectorAll('.stack .arc').length, Changes: document.querySelectorAll('.changes tbody tr').length,
  Text: document.body.innerText })`

// The page of --report, as Chromium shows it, after a build, an up-to-date call and a failed one:
// its numbers are those of --metadata-file.
func TestReportPage(t *testing.T) {
	h := warmHome(t)
	chromium := browsertest.Start(t)
	r := ref(t, "1")
	file := filepath.Join(h.cwd, "page.html")
	h.push(r)
	h.write("raybuild.yaml", shortRecipe(`pip: [uvicorn]`, `steps: [{name: mark, run: "echo marked > /opt/mark"}]`))

	built := h.push(r, "--report", file)
	s := browsertest.Open(chromium, t, file)
	s.Fits("built")
	n := browsertest.Ask[pageNumbers](s, readNumbers)
	n.agree(t, "built", built.meta)
	if n.Outcome != "done" || n.Bars < 1 || n.Tiles < 5 || n.Arcs < 3 {
		t.Errorf("the built image's page has outcome %q, %d bars, %d tiles, %d arcs; want done and all of these",
			n.Outcome, n.Bars, n.Tiles, n.Arcs)
	}
	if !strings.HasPrefix(n.Layers["mark"], "built ") {
		t.Errorf("layer mark is %q on the page, and its step ran", n.Layers["mark"])
	}
	if n.Changes < 1 || n.Values["pull_bytes"] == "" || n.Values["pull_bytes"] == "0" {
		t.Errorf("the page says nothing of the image before: %d packages, pull %q", n.Changes, n.Values["pull_bytes"])
	}

	same := h.push(r, "--report", file)
	s = browsertest.Open(chromium, t, file)
	s.Fits("same")
	n = browsertest.Ask[pageNumbers](s, readNumbers)
	n.agree(t, "up-to-date", same.meta)
	if n.Outcome != "same" || n.Bars != 0 || n.Values["pull_bytes"] != "0" || !same.meta.Raybuild.UpToDate {
		t.Errorf("the up-to-date call's page has outcome %q, %d bars, pull %q", n.Outcome, n.Bars,
			n.Values["pull_bytes"])
	}

	h.write("raybuild.yaml", shortRecipe(`pip: [uvicorn]`,
		`steps: [{name: break, run: "echo '<b>last words</b>'; exit 7"}]`))
	h.refused(1, []string{"exit code 7"}, "--push", "--progress", "plain", "--report", file, r)
	s = browsertest.Open(chromium, t, file)
	s.Fits("failed")
	n = browsertest.Ask[pageNumbers](s, readNumbers)
	if n.Outcome != "failed" || !strings.HasPrefix(n.Layers["break"], "failed ") ||
		!strings.Contains(n.Text, "<b>last words</b>") || !strings.Contains(n.Text, "exit code 7") {
		t.Errorf("the failed build's page has outcome %q, layer break %q; and has to show the step's last words "+
			"as text:\n%s", n.Outcome, n.Layers["break"], n.Text)
	}

	h.write("raybuild.yaml", "ray: {version: none}\n")
	h.refused(1, nil, "--push", "--report", file, r)
	s = browsertest.Open(chromium, t, file)
	s.Fits("unread")
	if n = browsertest.Ask[pageNumbers](s, readNumbers); n.Outcome != "failed" ||
		strings.Contains(n.Text, "last words") {
		t.Errorf("a recipe that cannot be read left this page:\n%s", n.Text)
	}
	h.refused(64, []string{"there is no directory"}, "--report", "nowhere/page.html", r)
	if _, err := os.Stat(filepath.Join(h.cwd, "nowhere")); err == nil {
		t.Error("a refused --report left something behind")
	}
}

// agree compares a page's numbers with the metadata file's.
func (n pageNumbers) agree(t *testing.T, name string, m metadata) {
	t.Helper()
	rb := m.Raybuild
	reused, total, ran := 0, int64(0), 0
	for _, l := range rb.Layers {
		total += l.Size
		if l.Reused {
			reused++
		}
	}
	for _, s := range rb.Steps {
		if !s.Cached {
			ran++
		}
	}
	want := map[string]string{
		"steps_run": fmt.Sprint(ran), "bytes_fetched": fmt.Sprint(rb.BytesFetched),
		"bytes_pushed":  fmt.Sprint(rb.BytesPushed),
		"layers_reused": fmt.Sprint(reused), "image_bytes": fmt.Sprint(total),
		"seconds": fmt.Sprintf("%.3f", rb.Seconds),
	}
	for key, value := range want {
		if n.Values[key] != value {
			t.Errorf("%s page: %s is %q, in the metadata file %q", name, key, n.Values[key], value)
		}
	}
	for _, l := range rb.Layers {
		if l.Name == "" { // the base's, which may be several
			continue
		}
		if _, size, _ := strings.Cut(n.Layers[l.Name], " "); size != fmt.Sprint(l.Size) {
			t.Errorf("%s page: layer %s has size %q, in the metadata file %d", name, l.Name, size, l.Size)
		}
	}
	if !strings.Contains(n.Text, m.Digest) {
		t.Errorf("%s page: it does not name the image's digest %s", name, m.Digest)
	}
}
