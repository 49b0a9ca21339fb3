package llb_test

import (
	"context"
	"fmt"
	"log"
	"os"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

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
	b, err := llb.Connect(ctx, "unix:///run/buildkit/buildkitd.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	res, err := b.Build(ctx, []llb.Image{exampleImage()}, llb.Session{}, llb.BuildOptions{
		SolveOptions: llb.SolveOptions{ProgressTo: os.Stderr},
		Names:        []string{"registry.example/app:1.0"},
		Push:         true,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range res.Steps {
		fmt.Println(s.Layer, s.Name, s.Cached)
	}
}
