package llb_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	bkllb "github.com/moby/buildkit/client/llb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/llb"
)

// exampleImage installs one package from a file that is named by its digest.
func exampleImage() llb.Image {
	base := llb.From("ubuntu:22.04@sha256:3d1556a8a18cf5307b121e0a98e93f1ddf1f3f8e092f1fddfd941254785b95d7")
	wheel := llb.Artifact(llb.Blob{
		Name:   "app.whl",
		Digest: "sha256:a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e",
	})
	frame := llb.Scratch().Files("[app] make directory", llb.File{Path: "/opt/app", Dir: true})
	install := llb.Exec{
		Title:  "[app] install app",
		Args:   []string{"python3", "-m", "zipfile", "-e", "/in/app.whl", "/opt/app"},
		Mounts: []llb.Mount{{Path: "/in", Stage: wheel}},
	}
	app := base.Make(install, llb.Output{Path: "/opt/app", On: frame, From: "/opt/app"})
	return llb.Image{
		Platform:   llb.Platform{OS: "linux", Architecture: "amd64"},
		Base:       base,
		BaseLayers: []string{"ubuntu:22.04"},
		Layers:     []llb.Layer{{Name: "app", Title: "app 1.0", Stage: llb.Diff("[app] layer", frame, app)}},
		Config:     ocispecs.ImageConfig{Cmd: []string{"python3", "-m", "app"}},
	}
}

// twoLayers is an image of two layers, which two independent steps make.
func twoLayers() llb.Image {
	image := llb.Image{Platform: llb.Platform{OS: "linux", Architecture: "amd64"}}
	program := llb.File{Path: "/usr/bin/make-it", Data: []byte("#!/bin/sh\n"), Mode: 0o755}
	tools := llb.Scratch().Files("[tools] write", program)
	for _, name := range []string{"app", "data"} {
		step := llb.Exec{Title: "[" + name + "] make", Args: []string{"/usr/bin/make-it", name}}
		made := tools.Make(step, llb.Output{Path: "/out", On: llb.Scratch()})
		image.Layers = append(image.Layers, llb.Layer{Name: name, Stage: made})
	}
	return image
}

// connectExample connects to a builder that runs nothing: each step leaves a file answer.txt. A program connects to a
// real one, such as unix:///run/buildkit/buildkitd.sock.
func connectExample(ctx context.Context) (b *llb.Builder, stop func()) {
	server, end, err := fakebuilder.Serve(fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		return map[string]string{"answer.txt": "made by " + title}, nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	b, err = llb.Connect(ctx, server.Addr())
	if err != nil {
		log.Fatal(err)
	}
	return b, func() {
		b.Close()
		if err := end(); err != nil {
			log.Fatal(err)
		}
	}
}

func ExampleImage_Marshal() {
	def, err := exampleImage().Marshal(context.Background(), false)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(def.Def.Def), def.Digest())
	// Output: 7 sha256:104ada6e10b505efabe07d10db5a2fb13368354e9226f5374475275d32e7cbab
}

func ExampleBuilder_Build() {
	ctx := context.Background()
	b, stop := connectExample(ctx) // b, err := llb.Connect(ctx, "unix:///run/buildkit/buildkitd.sock")
	defer stop()
	result, err := b.Build(ctx, []llb.Image{twoLayers()}, llb.Session{}, llb.BuildOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range result.Steps {
		fmt.Printf("[%s] %s, cached: %v\n", step.Layer, step.Name, step.Cached)
	}
	// Output:
	// [tools] write, cached: false
	// [app] make, cached: false
	// [data] make, cached: false
}

// The caller reads each layer as soon as it is ready, and ends the build with its own error.
func ExampleBuilder_Start() {
	ctx := context.Background()
	b, stop := connectExample(ctx)
	defer stop()
	build, ctx, err := b.Start(ctx, []llb.Image{twoLayers()}, llb.Session{}, llb.BuildOptions{PackEarly: true})
	if err != nil {
		log.Fatal(err)
	}
	for layer := range build.Ready() {
		fmt.Println("ready:", layer.Result.Images[0].Layers[0].Name)
	}
	image, err := build.Wait()
	if err == nil {
		fmt.Println("layers:", len(image.Images[0].Layers))
	}
	if _, err = build.End(ctx, err); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// ready: app
	// ready: data
	// layers: 2
}

// A builder also runs steps without an image: their files go into a directory, or are read one by one.
func ExampleBuilder_Export() {
	ctx := context.Background()
	b, stop := connectExample(ctx)
	defer stop()
	image := twoLayers()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	app := image.Layers[0].Stage
	if err := b.Export(ctx, app, image.Platform, dir, llb.Session{}, llb.SolveOptions{}); err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "answer.txt"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", text)

	files, err := b.ReadFiles(ctx, app, image.Platform, []string{"/answer.txt", "/none"}, llb.Session{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d file: %s\n", len(files), files["/answer.txt"])
	// Output:
	// made by [app] make
	// 1 file: made by [app] make
}

func ExampleBuilder_ListDir() {
	ctx := context.Background()
	b, stop := connectExample(ctx)
	defer stop()
	image := twoLayers()
	stage := llb.Merge("[all] merge", image.Layers[0].Stage, image.Layers[1].Stage)
	names, err := b.ListDir(ctx, stage, image.Platform, "/", llb.Session{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names)
	// Output: [answer.txt made/]
}

// A stage becomes a state for an operation that this package does not have, and the result is a stage again.
func ExampleFromState() {
	base := llb.From("ubuntu:22.04@sha256:3d1556a8a18cf5307b121e0a98e93f1ddf1f3f8e092f1fddfd941254785b95d7")
	run := base.State().Run(bkllb.Args([]string{"/usr/bin/update"}), bkllb.WithCustomName("[own] update"),
		bkllb.AddUlimit(bkllb.UlimitNofile, 1024, 1024))
	own := llb.FromState(run.Root())
	image := llb.Image{
		Platform: llb.Platform{OS: "linux", Architecture: "amd64"},
		Layers:   []llb.Layer{{Name: "own", Stage: llb.Diff("[own] layer", base, own)}},
	}
	def, err := image.Marshal(context.Background(), false)
	if err != nil {
		log.Fatal(err)
	}
	operations, err := def.Vertices()
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range operations[1:] { // the first is the base image
		fmt.Printf("%s: [%s] %s\n", v.Kind, v.Layer, v.Name)
	}
	// Output:
	// run: [own] update
	// diff: [own] layer
}

// A chain of operations needs one check for errors, at its end.
func ExampleStage_Err() {
	stage := llb.Scratch().
		Files("[app] write", llb.File{Path: "relative"}).
		Files("[app] write more", llb.File{Path: "/etc/app"})
	fmt.Println(stage.Err())
	// Output: layer app: step "write": path "relative": want an absolute path
}
