package layers_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/raybuild/raybuild/layers"
)

func ExampleLoadRecipe() {
	text := []byte("ray: {version: 2.60.0}\npip: [requests]\n")
	recipe, err := layers.LoadRecipe(text, "raybuild.yaml", []string{"env.python=3.11"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(recipe.Base, recipe.Env.Python, recipe.Ray.Version, recipe.Ray.Extras, recipe.Pip.Packages)

	_, err = layers.LoadRecipe([]byte("rya: {version: 2.60.0}\n"), "raybuild.yaml", nil)
	fmt.Println(err)
	// Output:
	// ubuntu:22.04 3.11 2.60.0 [default rllib tune] [requests]
	// raybuild.yaml:1:1: rya: unknown key; did you mean "ray"?
}

// A graph needs no builder and no network: it is a function of recipe and lock.
func ExampleNewGraph() {
	recipe, lock := load()
	graph, err := layers.NewGraph(context.Background(), recipe, lock, layers.GraphOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(graph.Digest)
	for _, layer := range graph.Images[0].Layers {
		fmt.Println(layer.Name)
	}
	// Output:
	// sha256:0024bc6b66c251407af7c269c4759cfcfc266ec4977f9147c76460af1bd97841
	// miniconda
	// env
	// activate
	// pip-1
	// ray
}

// load reads a recipe and its lock.
func load() (*layers.Recipe, *layers.Lock) {
	const dir = "../examples/arm64"
	text, err := os.ReadFile(dir + "/raybuild.yaml")
	if err != nil {
		log.Fatal(err)
	}
	recipe, err := layers.LoadRecipe(text, dir+"/raybuild.yaml", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := recipe.LoadFiles(); err != nil {
		log.Fatal(err)
	}
	if _, err := layers.Check(recipe); err != nil {
		log.Fatal(err)
	}
	text, err = os.ReadFile(dir + "/raybuild.lock")
	if err != nil {
		log.Fatal(err)
	}
	lock, err := layers.ParseLock(text, dir+"/raybuild.lock")
	if err != nil {
		log.Fatal(err)
	}
	return recipe, lock
}
