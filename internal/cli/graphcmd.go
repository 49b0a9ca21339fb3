package cli

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

func (a *app) graphCommand() *cobra.Command {
	var (
		o      = &buildOptions{}
		format string
		asJSON bool
	)
	formats := []string{"text", "json", "dot", "mermaid", "llb", "html"}
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Show the graph of steps that recipe and lock come to",
		Long: `graph prints the steps of a build and what each step is built on. It builds
nothing and asks nobody: the graph is a pure function of recipe, lock, the local
files that the recipe names, and the flags below. It needs a lock that fits the
recipe.

Formats: text (steps by layer), json, dot (for Graphviz), mermaid (for
Markdown), html (a page of its own), and llb: BuildKit's own, which "buildctl
build" reads from standard input (for one platform).`,
		Example: `  raybuild graph
  raybuild graph --format html > graph.html
  raybuild graph --format dot | dot -Tsvg > graph.svg`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.recipeOptions.set(cmd)
			if asJSON {
				format = "json"
			}
			if !slices.Contains(formats, format) {
				return usagef("--format %q%s: must be one of %s", format, meant(format, formats),
					strings.Join(formats, ", "))
			}
			o.progress = "quiet"
			if err := o.check(a); err != nil {
				return err
			}
			return a.graph(cmd.Context(), o, format)
		},
	}
	f := cmd.Flags()
	o.recipeOptions.flags(f)
	f.StringVar(&format, "format", "text", "text, json, dot, mermaid, llb or html")
	f.StringVar(&o.compression, "compression", "", "as for the build: it is part of the graph's digest")
	f.StringArrayVar(&o.labels, "label", nil, "as for the build: `KEY=VALUE` (repeatable)")
	f.StringArrayVar(&o.annotations, "annotation", nil, "as for the build: `KEY=VALUE` (repeatable)")
	jsonFlag(cmd, &asJSON)
	completeValues(cmd, "format", formats, cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

// graphReport is a graph to print.
type graphReport struct {
	Digest    digest.Digest   `json:"digest"`
	Lock      string          `json:"lock"`
	Platforms []platformGraph `json:"platforms"`
}

type platformGraph struct {
	Platform string        `json:"platform"`
	Layers   []string      `json:"layers"` // the image's layers above its base, bottom first
	Steps    []graphStep   `json:"steps"`  // each step comes after its inputs
	bytes    []byte        // in BuildKit's format
	digest   digest.Digest // of the marshalled graph
}

type graphStep struct {
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`
	Layer  string   `json:"layer,omitempty"`
	Name   string   `json:"name"`
	Inputs []string `json:"inputs,omitempty"`
}

func (a *app) graph(ctx context.Context, o *buildOptions, format string) error {
	project, build, err := a.libraryOptions(o)
	if err != nil {
		return err
	}
	p, err := raybuild.Open(ctx, project)
	if err != nil {
		return err
	}
	graph, err := p.Graph(ctx, raybuild.CompareOptions{Compression: build.Compression, Labels: build.Labels,
		Annotations: build.Annotations})
	if err != nil {
		return err
	}
	r, err := newGraphReport(ctx, graph, p.LockFile())
	if err != nil {
		return err
	}
	switch format {
	case "llb":
		if len(r.Platforms) != 1 {
			return usagef("--format llb is for one platform: choose it with --platform")
		}
		_, err = a.stdout.Write(r.Platforms[0].bytes)
		return err
	case "json":
		return a.printJSON(r)
	case "html":
		return r.html(a)
	}
	return a.print("%s", map[string]func() string{"text": r.text, "dot": r.dot, "mermaid": r.mermaid}[format]())
}

func newGraphReport(ctx context.Context, g *layers.Graph, lock string) (*graphReport, error) {
	r := &graphReport{Digest: g.Digest, Lock: lock}
	for _, image := range g.Images {
		def, err := image.Marshal(ctx, false)
		if err != nil {
			return nil, err
		}
		vertices, err := def.Vertices()
		if err != nil {
			return nil, err
		}
		p := platformGraph{Platform: llb.FormatPlatform(image.Platform), Steps: steps(vertices), digest: def.Digest()}
		for _, l := range image.Layers {
			p.Layers = append(p.Layers, l.Name)
		}
		if p.bytes, err = def.Bytes(); err != nil {
			return nil, err
		}
		r.Platforms = append(r.Platforms, p)
	}
	return r, nil
}

// steps gives the vertices numbers as IDs, which makes reports short and equal on all machines.
func steps(vertices []llb.Vertex) []graphStep {
	ids := map[digest.Digest]string{}
	all := make([]graphStep, 0, len(vertices))
	for i, v := range vertices {
		ids[v.Digest] = fmt.Sprintf("n%d", i+1)
		s := graphStep{ID: ids[v.Digest], Kind: v.Kind, Layer: v.Layer, Name: v.Name}
		for _, in := range v.Inputs {
			s.Inputs = append(s.Inputs, ids[in])
		}
		all = append(all, s)
	}
	return all
}

// artifact tells whether the step is a source of a file and not of an image.
func (s graphStep) artifact() bool {
	return s.Kind == "source" && !strings.HasPrefix(s.Name, "docker-image://")
}

// shown returns the steps to draw. It leaves out the artifacts (there are hundreds) and the steps that
// only collect them. A step that was built on such a step is drawn as built on that step's inputs.
func (p platformGraph) shown() []graphStep {
	through := map[string][]string{} // inputs of steps that are not shown
	var all []graphStep
	for _, s := range p.Steps {
		var inputs []string
		for _, in := range s.Inputs {
			if over, hidden := through[in]; hidden {
				inputs = append(inputs, over...)
			} else {
				inputs = append(inputs, in)
			}
		}
		slices.Sort(inputs)
		s.Inputs = slices.Compact(inputs)
		if s.artifact() || (s.Kind == "merge" || s.Kind == "file") && len(s.Inputs) == 0 {
			through[s.ID] = s.Inputs
			continue
		}
		all = append(all, s)
	}
	return all
}

func (s graphStep) label() string {
	name := strings.TrimPrefix(s.Name, "docker-image://")
	if before, dgst, ok := strings.Cut(name, "@sha256:"); ok {
		name = before + "@" + dgst[:min(8, len(dgst))]
	}
	if s.Layer != "" {
		name = "[" + s.Layer + "] " + name
	}
	return show.OneLine(name, 70)
}

func (r *graphReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s\nlock  %s\n", r.Digest, r.Lock)
	for _, p := range r.Platforms {
		artifacts := 0
		names := map[string]string{}
		for _, s := range p.Steps {
			names[s.ID] = s.label()
			if s.artifact() {
				artifacts++
			}
		}
		fmt.Fprintf(&b, "\n%s: %d steps on %d artifacts\n", p.Platform, len(p.Steps)-artifacts, artifacts)
		for _, s := range p.shown() {
			fmt.Fprintf(&b, "  %-4s %-6s %s", s.ID, s.Kind, s.label())
			if len(s.Inputs) > 0 {
				fmt.Fprintf(&b, "  ← %s", strings.Join(s.Inputs, " "))
			}
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  layers: %s\n", strings.Join(p.Layers, ", "))
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r *graphReport) dot() string {
	var b strings.Builder
	b.WriteString("digraph raybuild {\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n")
	for i, p := range r.Platforms {
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, quoted(p.Platform))
		for _, s := range p.shown() {
			fmt.Fprintf(&b, "    p%d%s [label=%s];\n", i, s.ID, quoted(s.label()))
			for _, in := range s.Inputs {
				fmt.Fprintf(&b, "    p%d%s -> p%d%s;\n", i, in, i, s.ID)
			}
		}
		b.WriteString("  }\n")
	}
	return b.String() + "}"
}

// quoted returns a string for Graphviz. JSON strings differ only in escapes of characters that titles do not have.
func quoted(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(data)
}

func (r *graphReport) mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	clean := strings.NewReplacer(`"`, "'", "<", "‹", ">", "›", "#", "＃", "`", "'")
	for i, p := range r.Platforms {
		fmt.Fprintf(&b, "  subgraph p%d[\"%s\"]\n", i, p.Platform)
		for _, s := range p.shown() {
			fmt.Fprintf(&b, "    p%d%s[\"%s\"]\n", i, s.ID, clean.Replace(s.label()))
			for _, in := range s.Inputs {
				fmt.Fprintf(&b, "    p%d%s --> p%d%s\n", i, in, i, s.ID)
			}
		}
		b.WriteString("  end\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

//go:embed graph.html
var graphPage string

// html writes the graph as an HTML page without scripts. The page loads nothing from other places.
func (r *graphReport) html(a *app) error {
	page, err := template.New("graph").Parse(graphPage)
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	type card struct {
		Platform string
		Layers   []string
		Picture  picture
	}
	var cards []card
	for _, p := range r.Platforms {
		cards = append(cards, card{p.Platform, p.Layers, draw(p.shown())})
	}
	if err := page.Execute(a.stdout, struct {
		Digest, Lock string
		Cards        []card
	}{r.Digest.String(), r.Lock, cards}); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
