// Command embed builds a directory's recipe and pushes the image, from a Go program:
//
//	go run ./examples/embed DIR registry.example/ray:TAG
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/raybuild/raybuild"
)

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
		return fmt.Errorf("usage: embed DIR IMAGE")
	}
	p, err := raybuild.Open(ctx, raybuild.Options{Dir: os.Args[1], ProgressTo: os.Stderr})
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
