package raybuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Media types of the documents that are attached to an image as referrers.
const (
	lockType   = "application/vnd.raybuild.lock.v1+yaml"
	inputsType = "application/vnd.raybuild.inputs.v1+json" // layers.BuildRecord
	recipeType = "application/vnd.raybuild.recipe.v1+json" // layers.RecipeRecord
)

// documents returns the lock, the record of each layer's inputs, and the recipe's record.
func (p *Project) documents(ctx context.Context, graph *layers.Graph, line bool) ([]registry.Document, error) {
	if d := p.docs; d != nil && d.graph == graph && d.line == line {
		return d.all, nil
	}
	inputs, err := p.inputs(ctx, graph)
	if err != nil {
		return nil, err
	}
	record := p.smoke.passedIn(inputs)
	record.Linear = line
	data, err := record.Marshal()
	if err != nil {
		return nil, err
	}
	source, err := graph.RecipeRecord()
	if err != nil {
		return nil, err
	}
	lock, err := p.lock.Marshal()
	if err != nil {
		return nil, err
	}
	p.docs = &madeDocuments{graph, line, []registry.Document{
		{ArtifactType: lockType, Data: lock}, {ArtifactType: inputsType, Data: data},
		{ArtifactType: recipeType, Data: source},
	}}
	return p.docs.all, nil
}

// madeDocuments caches the documents of a graph. The push sends their bytes with the image, and
// attaches them after the image has its names.
type madeDocuments struct {
	graph *layers.Graph
	line  bool
	all   []registry.Document
}

// inputs returns the record of a graph's inputs. Making it takes as long as making the
// graph, so it is made only once.
func (p *Project) inputs(ctx context.Context, graph *layers.Graph) (*layers.BuildRecord, error) {
	if p.record == nil || p.record.Graph != graph.Digest {
		record, err := graph.Record(ctx)
		if err != nil {
			return nil, err
		}
		p.record = record
	}
	return p.record, nil
}

// attach attaches documents to the pushed image in each repository, so that inspect, plan, why and
// diff need only the registry.
func (p *Project) attach(ctx context.Context, names []string, digest string, docs []registry.Document) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		if slices.ContainsFunc(names[:i], func(n string) bool { return sameRepository(n, name) }) {
			continue
		}
		g.Go(func() error {
			ref, err := registry.Pin(name, digest)
			if err != nil {
				return err
			}
			_, err = p.registry.Attach(ctx, ref, docs...)
			return err
		})
	}
	return g.Wait()
}

// attachElsewhere attaches the documents to the image in repositories other than the one where it was found. The copies
// are there, so what cannot be read is a warning.
func (p *Project) attachElsewhere(ctx context.Context, graph *layers.Graph, found registry.Descriptor,
	names []string) error {
	var elsewhere []string
	for _, name := range names {
		if ref, err := registry.Pin(name, found.Digest.String()); err != nil || ref != found.Ref {
			elsewhere = append(elsewhere, name)
		}
	}
	if len(elsewhere) == 0 {
		return nil
	}
	docs, claims, err := p.documentsOf(ctx, graph, found)
	if err != nil {
		if ctx.Err() == nil {
			p.env.warn("%s: %v", notAttached, err)
		}
		return ctx.Err()
	}
	if err := p.attachAll(ctx, elsewhere, found.Digest, docs, claims); err != nil {
		return err
	}
	p.copyClaims(ctx, found.Ref, elsewhere, found.Digest)
	return nil
}

// documentsOf returns the documents and the claims of an image that was found.
func (p *Project) documentsOf(ctx context.Context, graph *layers.Graph,
	found registry.Descriptor) (docs, claims []registry.Document, err error) {
	attached, err := p.registry.Attached(ctx, found.Ref, inputsType)
	if err != nil {
		return nil, nil, err
	}
	was := recordAmong(attached, found.Annotations)
	if how, on := SmokeByRecipe.tests(p.recipe); on && was != nil {
		if p.smoke, err = p.smokeOf(ctx, graph, how, was); err != nil {
			return nil, nil, err
		}
	}
	if docs, err = p.documents(ctx, graph, was != nil && was.Linear); err != nil {
		return nil, nil, err
	}
	claims, err = p.attachedClaims(ctx, found.Ref)
	return docs, claims, err
}

// buildHistory is what this machine keeps of a recipe's last builds.
type buildHistory struct {
	Image   string             `json:"image,omitempty"` // the image that was pushed last
	Seconds map[string]float64 `json:"seconds"`         // how long each layer's steps took when they last ran
}

// historyFile returns the file of the recipe's build history.
func (p *Project) historyFile() (string, error) {
	home, err := p.env.homeDir()
	if err != nil {
		return "", err
	}
	recipe, err := filepath.Abs(p.env.path(p.env.recipe()))
	if err != nil {
		return "", fmt.Errorf("find recipe: %w", err)
	}
	return filepath.Join(home, "recipes", digest.FromString(recipe).Encoded()+".json"), nil
}

// recall reads the build history. It is empty if there is no file.
func (p *Project) recall() (buildHistory, error) {
	m := buildHistory{Seconds: map[string]float64{}}
	file, err := p.historyFile()
	if err != nil {
		return m, err
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return m, fmt.Errorf("read what was kept of the last build: %w: remove %q", err, file)
	}
	return m, nil
}

// remember keeps what plan and why need later. An error does not fail a finished build.
func (p *Project) remember(o *BuildOptions, res *llb.Result) {
	if p.ofImage != nil {
		return // it has no local recipe
	}
	m, err := p.recall()
	if err != nil {
		m = buildHistory{Seconds: map[string]float64{}}
	}
	if m.Seconds == nil {
		m.Seconds = map[string]float64{}
	}
	ran := map[string]float64{}
	for _, s := range res.Steps {
		if !s.Cached {
			ran[s.Layer] += s.Seconds
		}
	}
	for layer, seconds := range ran {
		m.Seconds[layer] = seconds
	}
	if o.Push {
		m.Image = o.Names[0]
	}
	if err := p.keep(m); err != nil {
		p.env.warn("%v", err)
	}
}

func (p *Project) keep(m buildHistory) error {
	file, err := p.historyFile()
	if err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("keep what was measured: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keep what was measured: %w", err)
	}
	return wholefile.Write(file, data, 0o600)
}
