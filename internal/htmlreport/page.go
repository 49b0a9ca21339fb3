// Package htmlreport writes the HTML page of a build: its result, its layers and what they need,
// the contents of the layers, and when each step ran. The page is one file without scripts. It
// loads nothing from other places.
package htmlreport

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"time"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

//go:embed report.html
var reportPage string

// Build is a build to write a page about.
type Build struct {
	// Result is the build's result; nil: the build failed before it had a graph.
	Result *raybuild.Result
	// Start is when the build began.
	Start time.Time
	// Push says that the build was to push the image.
	Push bool
	// Image, Recipe and Cache are texts for the page: the image's names, the recipe's file, what
	// caches cost. "": the page leaves the text out.
	Image, Recipe, Cache string
	// Failed is the error of the build, and Interrupted says that someone stopped it.
	// Default: the build did not fail.
	Failed      error
	Interrupted bool
	// Diff is the difference from the earlier image. DiffNote says why there is no Diff.
	Diff     *raybuild.ImageDiff
	DiffNote string
	// Version is raybuild's version.
	Version string
}

// Write writes the page of a build into a file. The file appears complete or not at all.
func Write(ctx context.Context, file string, b Build) error {
	data, err := b.data(ctx)
	if err != nil {
		return err
	}
	return writePage(file, data)
}

// writePage writes the page, complete or not at all.
func writePage(path string, data *pageData) error {
	t, err := template.New("report").Funcs(template.FuncMap{"bytes": show.Size, "short": show.Short,
		"printable": show.Printable}).Parse(reportPage)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return wholefile.Write(path, allowStyle(out.Bytes()), 0o644)
}

// allowStyle puts the digest of the page's style into the content policy, so that the
// browser accepts no other style.
func allowStyle(html []byte) []byte {
	_, style, _ := bytes.Cut(html, []byte("<style>"))
	style, _, _ = bytes.Cut(style, []byte("</style>"))
	sum := sha256.Sum256(style)
	return bytes.Replace(html, []byte("STYLE-DIGEST"), []byte(base64.StdEncoding.EncodeToString(sum[:])), 1)
}

// pageData has the contents of the page.
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

// number is a headline. Key and Raw are the key and value in the metadata, for programs that read the page.
type number struct{ Key, Label, Value, Raw string }

// failure describes why a build failed.
type failure struct {
	Message string
	Layer   string
	Step    string
	Log     []string
}

func (b *Build) data(ctx context.Context) (*pageData, error) {
	d := &pageData{Version: b.Version, When: time.Now().UTC().Format("2006-01-02 15:04:05 UTC"), Diff: b.Diff,
		DiffNote: show.Printable(b.DiffNote)}
	b.outcome(d)
	if b.Result == nil { // it failed before there was a graph
		return d, nil
	}
	record, err := b.Result.Graph.Record(ctx)
	if err != nil {
		return nil, err
	}
	d.Platforms = b.platforms(record, d.Failure)
	d.Timeline = b.timeline()
	d.numbers(b)
	return d, nil
}

// outcome describes the build's result in words.
func (b *Build) outcome(d *pageData) {
	m, failed := b.Result, b.Failed
	if m == nil {
		m = &raybuild.Result{}
	}
	switch {
	case b.Interrupted:
		d.Title, d.Class, d.Says = "Interrupted", "failed", "The build was stopped before its end. Finished steps are "+
			"kept: run it again to continue."
		var stopped *raybuild.InterruptedError
		if errors.As(failed, &stopped) {
			d.Says = "The build was stopped before its end: " + stopped.State + "."
		}
	case failed != nil:
		d.Title, d.Class, d.Says = "Build failed", "failed", "The image was not built, and no tag was moved."
		if untested := (*layers.SmokeError)(nil); errors.As(failed, &untested) {
			d.Title, d.Says = "Test failed", "The image was built and does not work. No tag was moved."
		}
		if m.Pushing {
			d.Says = "The image was built, but its push did not finish. The build is kept."
		}
		d.Failure = newFailure(failed)
	case m.UpToDate:
		d.Title, d.Class, d.Says = "Up to date", "same", "The registry had this very image already, so no step ran "+
			"and nothing was moved."
	case m.Found != nil:
		d.Title, d.Class, d.Says = "Found", "same", "A registry had this image under another name, so no step ran. "+
			show.Printable(m.Found.How+" from "+m.Found.From+".")
	case b.Push && m.LayersFrom != "" && len(m.Steps) == 0:
		d.Title, d.Class, d.Says = "Pushed", "done", "The registry has an image with all these layers, "+
			"so no step ran."
	case b.Push && m.LayersFrom != "":
		d.Title, d.Class, d.Says = "Built and pushed", "done",
			"The image is in the registry. Unchanged layers come from the earlier image."
	case b.Push:
		d.Title, d.Class, d.Says = "Built and pushed", "done", "The image is in the registry."
	default:
		d.Title, d.Class, d.Says = "Built", "done", "The image was built and not pushed, so this page does "+
			"not say what a registry has."
	}
	add := func(name, value string) {
		if value != "" {
			d.Facts = append(d.Facts, fact{name, show.Printable(value)})
		}
	}
	add("Image", b.Image)
	add("Digest", m.Digest)
	if m.Graph != nil {
		add("Graph", m.Graph.Digest.String())
	}
	add("Lock", m.LockDigest)
	add("Layers from", m.LayersFrom)
	add("Builder", m.Engine)
	add("Cache", b.Cache)
	add("Recipe", b.Recipe)
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

// numbers adds the headlines, with values of the metadata file.
func (d *pageData) numbers(b *Build) {
	m := b.Result
	add := func(key, label, value string, raw any) {
		d.Numbers = append(d.Numbers, number{key, label, value, fmt.Sprint(raw)})
	}
	add("seconds", "seconds", fmt.Sprintf("%.1f", m.Seconds), fmt.Sprintf("%.3f", m.Seconds))
	ran, all := 0, len(m.Ran)
	for _, s := range m.Ran {
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
	if b.Push {
		add("bytes_pushed", "pushed", show.Size(m.BytesPushed), m.BytesPushed)
		add("layers_reused", fmt.Sprintf("of %d layers reused", len(m.Layers)), fmt.Sprint(reused), reused)
	}
	add("image_bytes", "in all layers", show.Size(total), total)
	if d.Diff != nil {
		add("pull_bytes", "pulled by a node that has the image before", show.Size(d.Diff.Pull), d.Diff.Pull)
	}
}
