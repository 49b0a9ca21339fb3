// Command own-layer builds the Ray image of a recipe with a layer of its own on
// top, written in Go:
//
//	go run ./examples/own-layer examples/arm64                    # what it would build
//	BUILDKIT_HOST=… go run ./examples/own-layer DIR REF           # build DIR's recipe and push it to REF
//
// DIR holds a raybuild.yaml and the raybuild.lock that `raybuild lock` wrote.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// motd is a layer of our own: a text that login shells show. It needs no other
// layer, so nothing but a change of its text makes it anew.
type motd struct{ text string }

func (motd) Name() string    { return "motd" }
func (motd) Needs() []string { return nil }

// Resolve asks the outside what there is; this layer is made of nothing from there.
func (motd) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) { return nil, nil }

// Apply adds the layer; it is pure.
func (m motd) Apply(on layers.Ground, _ []layers.Artifact) (layers.Ground, error) {
	title := "[motd] greet"
	tree := llb.Scratch().Files(title, llb.File{Path: "/etc/motd", Data: []byte(m.text + "\n")})
	return on.Add("motd", "motd", title, tree), nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "own-layer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: own-layer DIR [REF]")
	}
	recipe, lock, err := load(args[0])
	if err != nil {
		return err
	}
	graph, err := layers.NewGraph(ctx, recipe, lock, layers.GraphOptions{Extra: []layers.Layer{motd{"Ray, and a layer of our own."}}})
	if err != nil {
		return err
	}
	for _, image := range graph.Images {
		for _, l := range image.Layers {
			fmt.Fprintf(os.Stderr, "%-12s %s\n", l.Name, l.Title)
		}
	}
	if len(args) == 1 {
		fmt.Println(graph.Digest)
		return nil
	}
	return push(ctx, recipe, graph, args[1])
}

func load(dir string) (*layers.Recipe, *layers.Lock, error) {
	file := filepath.Join(dir, "raybuild.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	recipe, err := layers.LoadRecipe(data, file, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := recipe.LoadFiles(); err != nil {
		return nil, nil, err
	}
	if _, err := layers.Check(recipe); err != nil {
		return nil, nil, err
	}
	file = filepath.Join(dir, "raybuild.lock")
	if data, err = os.ReadFile(file); err != nil {
		return nil, nil, fmt.Errorf("%w; write it with raybuild lock -f %s/raybuild.yaml", err, dir)
	}
	lock, err := layers.ParseLock(data, file)
	return recipe, lock, err
}

// push builds on $BUILDKIT_HOST, which fetches the artifacts by itself, each
// from the first mirror of the recipe that carries it.
func push(ctx context.Context, recipe *layers.Recipe, graph *layers.Graph, ref string) error {
	builder, err := llb.Connect(ctx, os.Getenv("BUILDKIT_HOST"))
	if err != nil {
		return err
	}
	defer builder.Close()
	urls := map[digest.Digest]string{}
	for _, a := range graph.Artifacts {
		canonical, err := url.Parse(a.URL())
		if err != nil {
			return err
		}
		for _, c := range layers.Candidates(recipe.Mirrors.Fetch, canonical, graph.Images[0].Created) {
			if c.URL != "" {
				urls[a.Digest()] = c.URL
				break
			}
		}
	}
	result, err := builder.Build(ctx, graph.Images, llb.Session{}, llb.BuildOptions{
		SolveOptions: llb.SolveOptions{FetchURLs: urls, ProgressTo: os.Stderr},
		Names:        []string{ref}, Push: true, Annotations: graph.Annotations, Compression: graph.Compression,
	})
	if err != nil {
		return err
	}
	repository, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndex(repository, ":"); i > strings.LastIndex(repository, "/") {
		repository = repository[:i]
	}
	fmt.Printf("%s@%s\n", repository, result.Digest)
	return nil
}
