package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/wholefile"
)

// build runs the main command: it builds, and prints the result.
func (a *app) build(ctx context.Context, o *buildOptions) (err error) {
	start := time.Now()
	if err := o.check(a); err != nil {
		return err
	}
	project, build, err := a.libraryOptions(o)
	if err == nil {
		err = build.Check()
	}
	if err != nil {
		return err
	}
	page := &page{app: a, o: o, start: start}
	defer func() { err = page.write(ctx, err) }()
	p, err := raybuild.Open(ctx, project)
	if err != nil {
		return err
	}
	defer p.Close()
	build.Frozen = o.frozen
	if !o.frozenGiven {
		build.Frozen = a.getenv("CI") == "true" && p.HasLock()
	}
	page.res, err = p.Build(ctx, build)
	if err != nil {
		return err
	}
	if err := a.showBuild(o, page.res, ""); err != nil {
		return err
	}
	if toStdout(o.parsed.outputs) {
		a.say("%s", page.res.Reference)
		return nil
	}
	return a.print("%s", page.res.Reference)
}

// showBuild prints the result of a build, and writes the files that the flags ask for. name is the
// image's name if the flags have none. If res is nil, nothing was built, and it prints nothing.
func (a *app) showBuild(o *buildOptions, res *raybuild.Result, name string) error {
	if res == nil {
		return nil
	}
	m := newMetadata(o, res, name)
	switch {
	case res.UpToDate:
		a.say("up to date: %s is this graph already (%.2f s)", res.Reference, res.Seconds)
	case res.Found != nil:
		a.say("%s (%.2f s)", res.Found.Text(res.BytesPushed), res.Seconds)
	default:
		a.tellBuild(o, res, m)
	}
	a.jobSummary(m, o.push)
	if o.metadataFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return wholefile.WriteLasting(a.path(o.metadataFile), append(data, '\n'), 0o644)
}
