package htmlreport

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// samplePage is a page of an image of eight layers with a name that no page must take for markup.
func samplePage(failed error) *pageData {
	start := time.Now().Add(-30 * time.Second)
	res := &raybuild.Result{Seconds: 30, BytesFetched: 12e6, BytesPushed: 34e6,
		Digest: digest.FromString("image").String()}
	b := &Build{Push: true, Image: "registry.example/team/ray:2.52.0", Start: start, Result: res, Failed: failed}
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	in := layers.PlatformRecord{Platform: "linux/amd64"}
	add := func(name string, count int, on ...string) {
		in.Layers = append(in.Layers, layers.LayerRecord{Name: name, Count: count, On: on})
	}
	add("base", 2)
	add("apt", 1, "base")
	add("originals", 1, "base", "apt")
	add("miniconda", 1)
	add("env", 1, "miniconda")
	add("ray", 1, "env")
	add("python-small-1", 1, "env")
	add("<b>own</b>", 1, "env", "ray", "python-small-1")
	for i, name := range []string{"apt", "miniconda", "env", "ray", "<b>own</b>"} {
		s := llb.Step{Layer: name, Name: "make " + name, Cached: i < 2}
		if !s.Cached {
			s.Started, s.Completed = at(float64(3*i)), at(float64(3*i+4))
			s.Seconds, s.Failed = 4, failed != nil && i == 4
		}
		res.Ran = append(res.Ran, s)
	}
	d := &pageData{Version: "test", When: "now"}
	b.outcome(d)
	out := platformPage{Name: in.Platform, InImage: true}
	for i, l := range in.Layers {
		r := layerRow{Name: l.Name, Count: l.Count, Needs: strings.Join(l.On, ", "), Size: int64(90e6 / (i + 1)),
			Digests: []string{"0123456789ab"}}
		for k := range 5 * i {
			n := int64(8e6 / (k + 1))
			r.packages = append(r.packages, packageRow{l.Name, "wheel", fmt.Sprintf("package-%d-%d", i, k), "1.0", n,
				show.Size(n)})
		}
		r.steps(b, l, d.Failure)
		r.Registry = map[bool]string{true: "pushed", false: "reused"}[r.Class == "built"]
		r.sum()
		res.Layers = append(res.Layers, raybuild.LayerResult{Name: l.Name, Size: r.Size,
			Reused: r.Registry == "reused"})
		out.Packages = append(out.Packages, r.packages...)
		out.Layers = append(out.Layers, r)
	}
	out.draw(in)
	d.Platforms = []platformPage{out}
	d.Timeline = b.timeline()
	if failed == nil {
		d.Diff = &raybuild.ImageDiff{Locks: true, Pull: 34e6,
			Packages: []raybuild.PackageChange{{Kind: "pip", Change: "changed", Name: "ray", From: "2.51.1",
				To: "2.52.0"}, {Kind: "pip", Change: "added", Name: "<script>x</script>", To: "1"}},
			Layers: []raybuild.LayerChange{{State: "new", Digest: digest.FromString("a"), Size: 34e6,
				History: "[ray] install"}, {State: "gone", Digest: digest.FromString("b"), Size: 30e6,
				History: "[ray] install"}}}
	}
	d.numbers(b)
	return d
}

func TestReportPageIsWholeAndEscaped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if to := os.Getenv("RAYBUILD_PICTURES"); to != "" {
		dir = to
	}
	step := &llb.StepError{Layer: "<b>own</b>", Step: "make <b>own</b>", ExitCode: 7,
		Log: []string{"first", "</pre><script>alert(1)</script>\x1b[31m"}, Err: errors.New("exit code: 7")}
	for name, failed := range map[string]error{"built": nil, "failed": step} {
		file := filepath.Join(dir, name+".html")
		if err := writePage(file, samplePage(failed)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		html := string(data)
		for _, bad := range []string{"<script", "<b>own", "\x1b", "STYLE-DIGEST", "ZgotmplZ", "http://",
			"https://", " style="} {
			if strings.Contains(html, bad) {
				t.Errorf("the %s page has %q in it", name, bad)
			}
		}
		want := []string{"default-src 'none'", "</html>", "&lt;b&gt;own", `data-key="steps_run" data-value="3"`,
			`data-class="built"`}
		if failed != nil {
			want = append(want, "exit code 7", "&lt;script&gt;alert(1)", `data-class="failed"`, `data-outcome="failed"`)
		} else {
			want = append(want, `data-key="pull_bytes" data-value="34000000"`, "2.51.1", `data-outcome="done"`)
		}
		for _, text := range want {
			if !strings.Contains(html, text) {
				t.Errorf("the %s page lacks %q", name, text)
			}
		}
	}
}

func TestTreemapKeepsProportionsAndBounds(t *testing.T) {
	t.Parallel()
	weights := []float64{600, 300, 70, 40, 40, 12, 3, 1}
	in := area{10, 20, 400, 300}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	for i, a := range squarify(weights, in) {
		if got, want := a.w*a.h/(in.w*in.h), weights[i]/total; math.Abs(got-want) > 1e-9 {
			t.Errorf("part %d has %.4f of the area, want %.4f", i, got, want)
		}
		if a.x < in.x-1e-6 || a.y < in.y-1e-6 || a.x+a.w > in.x+in.w+1e-6 || a.y+a.h > in.y+in.h+1e-6 {
			t.Errorf("part %d (%v) reaches out of %v", i, a, in)
		}
	}
}

func TestTimelineBeginsWithWhatWasResolved(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	res := &raybuild.Result{Seconds: 10, Ran: []llb.Step{{Name: "install", Layer: "apt", Started: at(5),
		Completed: at(10)}}, Resolved: []llb.Step{{Name: "resolve", Layer: "apt", Started: at(1), Completed: at(5)}}}
	tl := (&Build{Start: start, Result: res}).timeline()
	if len(tl.Bars) != 2 || tl.Bars[0].Name != "resolve" || tl.Bars[0].X != "10.000%" || tl.Bars[0].W != "40.000%" ||
		tl.Bars[1].X != "50.000%" {
		t.Errorf("the timeline is %+v, want 4 s of resolving from 1 s, and 5 s of the step", tl.Bars)
	}
}

func TestTimelineOfABuilderWithAnotherClock(t *testing.T) {
	t.Parallel()
	start := time.Now()
	res := &raybuild.Result{Seconds: 10}
	there := start.Add(-time.Hour)
	res.Ran = []llb.Step{{Name: "a", Started: there, Completed: there.Add(5 * time.Second)}, {Name: "b", Cached: true}}
	tl := (&Build{Start: start, Result: res}).timeline()
	if len(tl.Bars) != 1 || tl.Kept != 1 || tl.Bars[0].X != "0.000%" || tl.Bars[0].W != "50.000%" {
		t.Errorf("the timeline is %+v, want one bar over its first half and one step kept", tl)
	}
}
