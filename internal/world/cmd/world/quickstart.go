package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
)

// quickstart looks which sources of an image answer, starts what the others need, writes the
// recipe, and prints as lines of shell what was found: kind (real, mixed or offline), and of the
// first two registry and recipe.
func quickstart(ctx context.Context, o options, raybuild string, out io.Writer) error {
	s := world.FindSources(ctx)
	for _, err := range s.All() {
		_, _ = fmt.Fprintln(os.Stderr, "  no answer:", err) // one reason a line
	}
	if s.Index != nil {
		_, err := fmt.Fprintln(out, "kind=offline")
		return err
	}
	o.stdout = os.Stderr
	kind, w := "mixed", &world.World{}
	if len(s.All()) == 0 {
		kind = "real"
		var registry strings.Builder
		r := o
		r.stdout = &registry
		if err := registryUp(ctx, r, raybuild); err != nil {
			return err
		}
		w.Registry = strings.TrimSpace(registry.String())
	} else {
		if err := up(ctx, o); err != nil {
			return err
		}
		var err error
		if w, err = world.Read(o.dir); err != nil {
			return err
		}
	}
	recipe := filepath.Join(filepath.Dir(o.dir), "quickstart", "raybuild.yaml")
	if err := os.MkdirAll(filepath.Dir(recipe), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(recipe, w.QuickRecipe(s), 0o644); err != nil {
		return err
	}
	said, err := json.Marshal(map[string]bool{"conda": s.Conda != nil, "installer": s.Installer != nil})
	if err == nil {
		err = os.WriteFile(standInsFile(recipe), said, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "kind=%s\nregistry=%s\nrecipe=%s\n", kind, w.Registry, recipe)
	return err
}

func standInsFile(recipe string) string { return filepath.Join(filepath.Dir(recipe), "stand-ins.json") }

// line prints what in a recipe's image is real and what is a stand-in.
func line(recipe string, out io.Writer) error {
	data, err := os.ReadFile(standInsFile(recipe))
	if err != nil {
		return err
	}
	var standIn struct{ Conda, Installer bool }
	if err := json.Unmarshal(data, &standIn); err != nil {
		return fmt.Errorf("read %q: %w", standInsFile(recipe), err)
	}
	file := strings.TrimSuffix(recipe, ".yaml") + ".lock"
	if data, err = os.ReadFile(file); err != nil {
		return err
	}
	lock, err := layers.ParseLock(data, file)
	if err != nil {
		return err
	}
	for _, p := range lock.Platforms {
		_, err := fmt.Fprintln(out, world.Line(p, standIn.Conda, standIn.Installer))
		return err
	}
	return fmt.Errorf("read %q: no platform in it", file)
}
