package layers_test

import (
	"context"
	"fmt"
	"log"

	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// check is a layer with the report of a program that runs in the image's environment.
type check struct{ program string }

func (check) Name() string    { return "check" }
func (check) Needs() []string { return []string{"env"} }

// Resolve returns nothing: the layer has no artifacts.
func (check) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) { return nil, nil }

// Apply runs the step on the tool stage, with the tree of the environment mounted. So another base does not run it
// again.
func (c check) Apply(on layers.Stack, _ []layers.Artifact) (layers.Stack, error) {
	step := llb.Exec{
		Title: "[check] report",
		Args:  []string{"/opt/conda/envs/ray/bin/python", "-c", c.program},
		Mounts: []llb.Mount{{Path: "/opt/conda/envs/ray", Stage: on.Tree("[check] environment", "env"),
			From: "/opt/conda/envs/ray"}},
	}
	home := llb.Scratch().Files("[check] make home",
		llb.File{Path: "/home/ray", Dir: true, UID: layers.UserID, GID: layers.GroupID})
	made := on.ToolStage.Make(step, llb.Output{Path: "/home/ray", On: home, From: "/home/ray"})
	return on.Add("check", "check", step.Title, llb.Diff("[check] layer", home, made)), nil
}

// locale is a layer that changes files of the base, so its step runs on the base.
type locale struct{ name string }

func (locale) Name() string    { return "locale" }
func (locale) Needs() []string { return nil }

func (locale) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) { return nil, nil }

func (l locale) Apply(on layers.Stack, _ []layers.Artifact) (layers.Stack, error) {
	step := llb.Exec{Title: "[locale] set", Args: []string{"/usr/sbin/update-locale", "LANG=" + l.name}}
	return on.ChainOnBase(step.Title, on.BaseStage.Run(step)), nil
}

// A Go program puts its own layers on top of those of the recipe.
func Example_ownLayer() {
	recipe, lock := load()
	graph, err := layers.NewGraph(context.Background(), recipe, lock, layers.GraphOptions{
		Extra: []layers.Layer{check{"print(1)"}, locale{"C.UTF-8"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	image := graph.Images[0]
	fmt.Println("on the base:", image.BaseLayers[len(image.BaseLayers)-1])
	fmt.Println("on top:", image.Layers[len(image.Layers)-1].Title)
	// Output:
	// on the base: [locale] set
	// on top: [check] report
}
