package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

// Examination says which builder [Connect] would use, and what other builders lack.
type Examination struct {
	Builder  string // the Engine of its [Builder]; "": no builder works
	BuildKit string // the builder's version; "" for the embedded engine
	Merge    bool   // the builder can merge and diff layers
	Findings []engine.Finding
}

// Examine checks the builders in the order of [Connect]. It starts none.
func Examine(ctx context.Context, o Options) Examination {
	var e Examination
	if name := o.Named(); name != "" {
		e.try(ctx, o, "builder "+name, "check the address, and that BuildKit runs there")
		return e
	}
	if home, err := o.Home(); err == nil {
		e.Findings = engine.Check(ctx, engine.Options{Home: home, Insecure: o.Insecure})
	}
	embedded := true
	for _, f := range e.Findings {
		embedded = embedded && f.OK
	}
	if embedded {
		e.Builder, e.Merge = Embedded, true
	}
	o.Name = Docker
	e.try(ctx, o, "docker engine",
		"start Docker, or give this user access to its socket: only needed where the embedded engine cannot run")
	return e
}

// try connects to a builder. A build uses the first builder that answers.
func (e *Examination) try(ctx context.Context, o Options, name, fix string) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	found := engine.Finding{Name: name, Fix: fix}
	b, err := Connect(ctx, o)
	var info llb.Info
	if err == nil {
		info, err = b.Info(ctx)
		err = errors.Join(err, b.Close())
	}
	if err != nil {
		found.Detail = err.Error()
		e.Findings = append(e.Findings, found)
		return
	}
	if e.Builder == "" {
		e.Builder, e.BuildKit, e.Merge = b.Engine, info.Version, info.Merge
	}
	e.Findings = append(e.Findings, engine.Finding{Name: name, OK: true, Detail: describe(info)})
}

func describe(info llb.Info) string {
	var platforms []string
	for _, p := range info.Platforms {
		platforms = append(platforms, llb.FormatPlatform(p))
	}
	merge := "can merge layers"
	if !info.Merge {
		merge = "cannot merge layers: the layers stand in a line, and an edit rebuilds all layers after it"
	}
	return strings.TrimSpace(fmt.Sprintf("BuildKit %s for %s; %s", info.Version, strings.Join(platforms, ", "), merge))
}

// EngineDir is the directory of the embedded engine's state, in raybuild's directory.
const EngineDir = "engine"

// RemoveEngine stops the embedded engine of raybuild's directory home, and removes its state.
func RemoveEngine(ctx context.Context, home string) error {
	if err := engine.Stop(ctx, engine.Options{Home: home}); err != nil && !errors.Is(err, engine.ErrUnsupported) {
		return fmt.Errorf("end the embedded engine: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(home, EngineDir)); err != nil {
		return fmt.Errorf("remove the embedded engine's build cache: %w: end builds that are running, or run it as "+
			"the user that built", err)
	}
	return nil
}
