package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"time"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

//go:embed report.html
var reportPage string

// page is the HTML of --report. Where that is not asked for, it costs nothing.
type page struct {
	app   *app
	o     *buildOptions
	start time.Time
	res   *raybuild.Result // nil: there was no graph
}

// write ends a call with its page, whatever the call came to. A page that cannot be written is a failure of a call that had
// none.
func (p *page) write(ctx context.Context, failed error) error {
	if p.o.reportFile == "" {
		return failed
	}
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // the registry is asked once more
	defer cancel()
	data, err := p.data(ctx, failed, interrupted)
	if err == nil {
		err = writePage(p.app.path(p.o.reportFile), data)
	}
	if err == nil {
		return failed
	}
	if failed != nil {
		p.app.warn("%v", err)
		return failed
	}
	return fmt.Errorf("the build is done, its report is not: %w", err)
}

// checkReport refuses a report that could not be written at the end.
func (o *buildOptions) checkReport(a *app) error {
	if o.reportFile == "" {
		return nil
	}
	path := a.path(o.reportFile)
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usagef("--report %q: there is no directory %q", o.reportFile, filepath.Dir(o.reportFile))
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return usagef("--report %q: it is a directory; name a file in it", o.reportFile)
	}
	return nil
}

// writePage writes the page whole or not at all.
func writePage(path string, data *pageData) error {
	t, err := template.New("report").Funcs(template.FuncMap{"bytes": show.Size, "short": show.Short, "printable": show.Printable}).Parse(reportPage)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return wholefile.Write(path, allowStyle(out.Bytes()), 0o644)
}

// allowStyle names the page's own style by its digest in the policy, so that the browser takes no other one.
func allowStyle(html []byte) []byte {
	_, style, _ := bytes.Cut(html, []byte("<style>"))
	style, _, _ = bytes.Cut(style, []byte("</style>"))
	sum := sha256.Sum256(style)
	return bytes.Replace(html, []byte("STYLE-DIGEST"), []byte(base64.StdEncoding.EncodeToString(sum[:])), 1)
}

// pageData is what the page shows.
type pageData struct {
	Title, Class, Says string // Class is done, same or failed
	Facts              []fact
	Numbers            []number
	Failure            *failure
	Platforms          []platformPage
	Timeline           *timeline
	Diff               *raybuild.ImageDiff
	DiffNote           string // why there is no diff
	Version, When      string
}

type fact struct{ Name, Value string }

// number is a headline. Key and Raw are those of the metadata, for whoever reads the page by program.
type number struct{ Key, Label, Value, Raw string }

// failure is what a build ended with.
type failure struct {
	Message string
	Layer   string
	Step    string
	Log     []string
}

func (p *page) data(ctx context.Context, failed error, interrupted bool) (*pageData, error) {
	d := &pageData{Version: p.app.versionText(), When: time.Now().UTC().Format("2006-01-02 15:04:05 UTC")}
	if p.res == nil { // it failed before there was a graph
		p.outcome(d, failed, interrupted)
		return d, nil
	}
	inputs, err := p.res.Graph.Record(ctx)
	if err != nil {
		return nil, err
	}
	p.outcome(d, failed, interrupted)
	d.Platforms = p.platforms(inputs, d.Failure)
	d.Timeline = p.timeline()
	if failed == nil {
		p.diff(ctx, d)
	}
	d.numbers(p)
	return d, nil
}

// outcome says in words what the call came to.
func (p *page) outcome(d *pageData, failed error, interrupted bool) {
	var meta metadata
	if p.res == nil {
		meta.Raybuild.Result = &raybuild.Result{}
	} else {
		meta = newMetadata(p.o, p.res, "")
	}
	switch m := meta.Raybuild; {
	case interrupted:
		d.Title, d.Class, d.Says = "Interrupted", "failed", "The build was stopped before its end. Finished steps are kept: run it again to continue."
		var stopped *raybuild.InterruptedError
		if errors.As(failed, &stopped) {
			d.Says = "The build was stopped before its end: " + stopped.State + "."
		}
	case failed != nil:
		d.Title, d.Class, d.Says = "Build failed", "failed", "The image was not built, and no tag was moved."
		if untested := (*layers.SmokeError)(nil); errors.As(failed, &untested) {
			d.Title, d.Says = "Test failed", "The image was built and does not work. No tag was moved."
		}
		if p.res != nil && p.res.Pushing {
			d.Says = "The image was built, and its push did not come to its end. What was built is kept."
		}
		d.Failure = newFailure(failed)
	case m.UpToDate:
		d.Title, d.Class, d.Says = "Up to date", "same", "The registry had this very image already, so no step ran and nothing was moved."
	case m.Found != nil:
		d.Title, d.Class, d.Says = "Found", "same", "A registry had this image under another name, so no step ran. "+show.Printable(m.Found.How+" from "+m.Found.From+".")
	case p.o.push && m.LayersFrom != "" && len(m.Steps) == 0:
		d.Title, d.Class, d.Says = "Pushed", "done", "All layers are those of an image that the registry has, so no step ran."
	case p.o.push && m.LayersFrom != "":
		d.Title, d.Class, d.Says = "Built and pushed", "done", "The image is in the registry. Layers that did not change are those of the image before."
	case p.o.push:
		d.Title, d.Class, d.Says = "Built and pushed", "done", "The image is in the registry."
	default:
		d.Title, d.Class, d.Says = "Built", "done", "The image was built and not pushed, so nothing is said of what a registry has."
	}
	add := func(name, value string) {
		if value != "" {
			d.Facts = append(d.Facts, fact{name, show.Printable(value)})
		}
	}
	add("Image", meta.Name)
	add("Digest", meta.Digest)
	if p.res != nil && p.res.Graph != nil {
		add("Graph", p.res.Graph.Digest.String())
	}
	add("Lock", meta.Raybuild.LockDigest)
	add("Layers from", meta.Raybuild.LayersFrom)
	add("Builder", meta.Raybuild.Engine)
	add("Cache", meta.Raybuild.Cache.String())
	add("Recipe", p.o.file)
}

func newFailure(err error) *failure {
	f := &failure{Message: show.Printable(err.Error())}
	var step *llb.StepError
	if untested := (*layers.SmokeError)(nil); errors.As(err, &untested) {
		step = untested.Step
	}
	if step != nil || errors.As(err, &step) {
		f.Layer, f.Step = stepLayer(llb.Step{Layer: step.Layer, Name: step.Step}), show.Printable(step.Step)
		for _, line := range step.Log {
			f.Log = append(f.Log, show.Printable(line))
		}
	}
	return f
}

// diff compares the image with what its first name was before.
func (p *page) diff(ctx context.Context, d *pageData) {
	switch {
	case !p.o.push:
		d.DiffNote = "Without --push there is no image before to compare with."
	case p.res.BeforeUnknown != "":
		d.DiffNote = "What the tag was before is not known: " + p.res.BeforeUnknown
	case p.res.Before == "":
		d.DiffNote = "The registry had no image by this name before."
	default:
		var err error
		d.Diff, err = raybuild.Diff(ctx, p.res.Before, p.res.Reference, p.app.imageOptions(p.o.insecure))
		if err != nil {
			d.DiffNote = "The image before could not be compared with: " + show.Printable(err.Error())
		}
	}
}

// numbers are the headlines, from what the metadata file has.
func (d *pageData) numbers(p *page) {
	m := p.res
	add := func(key, label, value string, raw any) {
		d.Numbers = append(d.Numbers, number{key, label, value, fmt.Sprint(raw)})
	}
	add("seconds", "seconds", fmt.Sprintf("%.1f", m.Seconds), fmt.Sprintf("%.3f", m.Seconds))
	ran, all := 0, len(p.res.Ran)
	for _, s := range p.res.Ran {
		if !s.Cached {
			ran++
		}
	}
	if d.Class == "same" {
		add("steps_run", "steps run", "0", 0)
	} else {
		add("steps_run", fmt.Sprintf("of %d steps run", all), fmt.Sprint(ran), ran)
	}
	fetched := m.BytesFetched
	add("bytes_fetched", "fetched from mirrors", show.Size(fetched), fetched)
	if d.Failure != nil || len(m.Layers) == 0 {
		return
	}
	reused, total := 0, int64(0)
	for _, l := range m.Layers {
		total += l.Size
		if l.Reused {
			reused++
		}
	}
	if p.o.push {
		add("bytes_pushed", "pushed", show.Size(m.BytesPushed), m.BytesPushed)
		add("layers_reused", fmt.Sprintf("of %d layers reused", len(m.Layers)), fmt.Sprint(reused), reused)
	}
	add("image_bytes", "in all layers", show.Size(total), total)
	if d.Diff != nil {
		add("pull_bytes", "pulled by a node that has the image before", show.Size(d.Diff.Pull), d.Diff.Pull)
	}
}
