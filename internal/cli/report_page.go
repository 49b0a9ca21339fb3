package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/htmlreport"
)

// page is the HTML page of --report. Without --report it does nothing.
type page struct {
	app   *app
	o     *buildOptions
	start time.Time
	res   *raybuild.Result // nil: there was no graph
}

// write writes the page at the end of a call, with or without an error. If the page cannot be
// written, write returns that error only if the call had no error.
func (p *page) write(ctx context.Context, failed error) error {
	if p.o.reportFile == "" {
		return failed
	}
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // time to ask the registry once more
	defer cancel()
	b := htmlreport.Build{
		Result: p.res, Start: p.start, Push: p.o.push, Image: strings.Join(p.o.names, ","), Recipe: p.o.file,
		Failed: failed, Interrupted: interrupted, Version: p.app.versionText(),
	}
	if p.res != nil {
		b.Cache = newMetadata(p.o, p.res, "").Raybuild.Cache.String()
	}
	if p.res != nil && failed == nil {
		b.Diff, b.DiffNote = p.diff(ctx)
	}
	err := htmlreport.Write(ctx, p.app.path(p.o.reportFile), b)
	if err == nil {
		return failed
	}
	if failed != nil {
		p.app.warn("%v", err)
		return failed
	}
	return fmt.Errorf("the build is done, but its report is not written: %w", err)
}

// diff compares the image with the image that its first name had before, or says why it cannot.
func (p *page) diff(ctx context.Context) (*raybuild.ImageDiff, string) {
	switch {
	case !p.o.push:
		return nil, "Without --push there is no image before to compare with."
	case p.res.BeforeUnknown != "":
		return nil, "What the tag was before is not known: " + p.res.BeforeUnknown
	case p.res.Before == "":
		return nil, "The registry had no image by this name before."
	}
	diff, err := raybuild.Diff(ctx, p.res.Before, p.res.Reference, p.app.imageOptions(p.o.insecure))
	if err != nil {
		return nil, "The image before could not be compared with: " + err.Error()
	}
	return diff, ""
}

// checkReport refuses a report file that could not be written at the end of the build.
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
