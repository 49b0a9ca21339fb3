// Command own-layer builds the Ray image of a directory's recipe with a layer of its own on top, and pushes it:
//
//	go run ./examples/own-layer DIR registry.example/ray:TAG
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// motd is the layer: a text that login shells show. It needs no other layer, so only a change of
// its text makes it anew.
type motd struct{ text string }

func (motd) Name() string    { return "motd" }
func (motd) Needs() []string { return nil }

// Resolve asks package sources for artifacts. This layer has none.
func (motd) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) { return nil, nil }

// Apply adds the layer; it is pure.
func (m motd) Apply(on layers.Stack, _ []layers.Artifact) (layers.Stack, error) {
	title := "[motd] greet"
	tree := llb.Scratch().Files(title, llb.File{Path: "/etc/motd", Data: []byte(m.text + "\n")})
	return on.Add("motd", "motd", title, tree), nil
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	if served, err := raybuild.ServeEngine(ctx); served {
		return err
	}
	if len(os.Args) != 3 {
		return errors.New("usage: own-layer DIR IMAGE")
	}
	p, err := raybuild.Open(ctx, raybuild.Options{
		Dir: os.Args[1], ProgressTo: os.Stderr, Layers: []layers.Layer{motd{"Ray, and a layer of our own."}},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	result, err := p.Build(ctx, raybuild.BuildOptions{Names: os.Args[2:], Push: true})
	if err != nil {
		return err
	}
	_, err = fmt.Println(result.Reference)
	return err
}
