package raybuild_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/raybuild/raybuild"
)

// built gives a project of which an image was built and pushed, the image's name, and the options that opened it.
func built(ctx context.Context) (o raybuild.Options, image string, end func()) {
	dir, builder, registry, end := raybuild.FakeSite() //nolint:contextcheck // it ends with end
	o = raybuild.Options{Dir: dir, Builder: builder, Home: filepath.Join(dir, "home")}
	p, err := raybuild.Open(ctx, o)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	image = registry + "/ray:1"
	if _, err := p.Build(ctx, raybuild.BuildOptions{Names: []string{image}, Push: true}); err != nil {
		log.Fatal(err)
	}
	return o, image, end
}

// edit changes the recipe.
func edit(dir, old, with string) {
	file := filepath.Join(dir, "raybuild.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, with, 1)), 0o600); err != nil {
		log.Fatal(err)
	}
}

func ExampleProject_Build() {
	ctx := context.Background()
	dir, builder, registry, end := raybuild.FakeSite()
	defer end()

	p, err := raybuild.Open(ctx, raybuild.Options{Dir: dir, Builder: builder, Home: filepath.Join(dir, "home")})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	o := raybuild.BuildOptions{Names: []string{registry + "/ray:1"}, Push: true, Frozen: true}
	for range 2 {
		result, err := p.Build(ctx, o)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("up to date: %v, steps: %d\n", result.UpToDate, len(result.Steps))
	}
	// Output:
	// up to date: false, steps: 14
	// up to date: true, steps: 0
}

func ExampleProject_Plan() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()
	edit(o.Dir, "echo hello", "echo bye")

	p, err := raybuild.Open(ctx, o)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	plan, err := p.Plan(ctx, raybuild.CompareOptions{Image: image})
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range plan.Layers {
		if l.Status != "reused" {
			fmt.Println(l.Name, l.Status)
		}
	}
	// Output: note built
}

func ExampleProject_Why() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()
	edit(o.Dir, "echo hello", "echo bye")

	p, err := raybuild.Open(ctx, o)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	why, err := p.Why(ctx, raybuild.CompareOptions{Image: image})
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range why.Layers {
		fmt.Println(l.Name, l.Changes[0].Input)
	}
	// Output: note steps.note.run
}

func ExampleProject_Graph() {
	ctx := context.Background()
	dir, _, _, end := raybuild.FakeSite()
	defer end()

	p, err := raybuild.Open(ctx, raybuild.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	graph, err := p.Graph(ctx, raybuild.CompareOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, layer := range graph.Images[0].Layers {
		fmt.Println(layer.Name)
	}
	// Output:
	// miniconda
	// env
	// activate
	// pip-1
	// ray
	// files
	// note
}

func ExampleInspect() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()

	inspected, err := raybuild.Inspect(ctx, image, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(inspected.Platforms), strings.HasPrefix(inspected.Lock, "# Written by raybuild"))
	// Output: 1 true
}

func ExampleAdd() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()

	result, err := raybuild.Add(ctx, image, []string{"requests>=2"}, o, raybuild.BuildOptions{Push: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("added:", result.Added) // the image has it
	// Output: added: false
}

func ExampleRebase() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()

	result, err := raybuild.Rebase(ctx, image, o,
		raybuild.RebaseOptions{BuildOptions: raybuild.BuildOptions{Push: true}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("rebased:", result.Rebased) // its base is the newest
	// Output: rebased: false
}

func ExampleServeEngine() {
	served, err := raybuild.ServeEngine(context.Background())
	if served {
		log.Fatal(err) // this process was the engine of another
	}
	fmt.Println("served:", served)
	// Output: served: false
}

func ExampleProject_Lock() {
	ctx := context.Background()
	dir, builder, _, end := raybuild.FakeSite()
	defer end()

	p, err := raybuild.Open(ctx, raybuild.Options{Dir: dir, Builder: builder, Home: filepath.Join(dir, "home")})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	result, err := p.Lock(ctx, raybuild.LockOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("changes:", len(result.Changes)) // the lock fits the recipe
	// Output: changes: 0
}

func ExampleDiff() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()
	newer := changed(ctx, o, image)

	diff, err := raybuild.Diff(ctx, image, newer, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(diff.Layers) > 0)
	// Output: true
}

func ExampleWhyImages() {
	ctx := context.Background()
	o, image, end := built(ctx)
	defer end()
	newer := changed(ctx, o, image)

	why, err := raybuild.WhyImages(ctx, image, newer, o)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range why.Layers {
		fmt.Println(l.Name, l.Changes[0].Input)
	}
	// Output: note steps.note.run
}

// changed changes a step, and builds the image under another tag.
func changed(ctx context.Context, o raybuild.Options, image string) string {
	edit(o.Dir, "echo hello", "echo bye")
	p, err := raybuild.Open(ctx, o)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	newer := strings.TrimSuffix(image, ":1") + ":2"
	if _, err := p.Build(ctx, raybuild.BuildOptions{Names: []string{newer}, Push: true}); err != nil {
		log.Fatal(err)
	}
	return newer
}
