package layers

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// digestsOf reads the index page of Miniconda's installers: each row names a file, and ends with its SHA-256.
func digestsOf(page string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`href="(Miniconda3-[^"/]+\.sh)"(?s:.{0,300}?)\b([0-9a-f]{64})\b`).
		FindAllStringSubmatch(page, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// A page in the form that repo.anaconda.com had in 2026.
func TestIndexOfInstallers(t *testing.T) {
	t.Parallel()
	const page = `<table><tr><td><a href="Miniconda3-py312_25.7.0-2-Linux-x86_64.sh">the same</a></td>
<td class="s">154.6M</td><td>2025-08-12 11:00:08</td>
<td>188b5d94ab3acefdeaebd7cb470d2fb74a3280563c77075de6e3e1d58d84ab0a</td></tr>
<tr><td><a href="Miniconda3-latest-Windows-x86_64.exe">x</a></td><td>a</td></tr></table>`
	got := digestsOf(page)
	if len(got) != 1 || got["Miniconda3-py312_25.7.0-2-Linux-x86_64.sh"] !=
		"188b5d94ab3acefdeaebd7cb470d2fb74a3280563c77075de6e3e1d58d84ab0a" {
		t.Errorf("the page gives %v", got)
	}
}

// The digests of Miniconda were quoted from others. Where the origin answers, they are compared with what it says.
func TestL14InstallersAtTheirOrigin(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, installerIndex("miniconda"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Skipf("the origin does not answer, so the digests stay those that others quote: %v", err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Skipf("the origin gives no page, so the digests stay those that others quote: %s, %v", resp.Status, err)
	}
	there := digestsOf(string(page))
	if len(there) == 0 {
		t.Fatalf("the origin's page has another form: read it, and correct digestsOf")
	}
	for _, row := range installerRows() {
		for machine, digest := range row.SHA256 {
			name := "Miniconda3-" + row.Version + "-Linux-" + machine + ".sh"
			if at, ok := there[name]; row.Distribution == "miniconda" && ok && at != digest {
				t.Errorf("%s has the digest %s at its origin, and %s in the table", name, at, digest)
			}
		}
	}
}
