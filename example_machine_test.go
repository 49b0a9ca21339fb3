package raybuild_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

// home makes an empty directory for raybuild.
func home() (o raybuild.Options, end func()) {
	dir, err := os.MkdirTemp("", "raybuild-example-")
	if err != nil {
		log.Fatal(err)
	}
	return raybuild.Options{Dir: dir, Home: dir}, func() {
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
	}
}

func ExampleOpen() {
	o, end := home()
	defer end()
	if err := os.WriteFile(filepath.Join(o.Dir, "raybuild.yaml"), []byte("apt: vim\nray: {verion: 2.60.0}\n"),
		0o600); err != nil {
		log.Fatal(err)
	}
	_, err := raybuild.Open(context.Background(), o)
	var wrong *layers.RecipeError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Problems {
			fmt.Printf("line %d: %s: %s; %s\n", p.Line, p.Key, p.Message, p.Fix)
		}
	}
	// Output:
	// line 1: apt: is text, not a list; write [vim]
	// line 2: ray.verion: unknown key; did you mean "version"?
}

func ExampleDoctor() {
	o, end := home()
	defer end()
	o.Builder = "tcp://127.0.0.1:1" // nobody listens there
	d := raybuild.Doctor(context.Background(), o)
	for _, f := range d.Findings {
		fmt.Printf("%s: %v\n", f.Name, f.OK)
	}
	fmt.Printf("a build would use %q\n", d.Builder)
	// Output:
	// directory: true
	// builder tcp://127.0.0.1:1: false
	// a build would use ""
}

func ExampleMirrors() {
	o, end := home()
	defer end()
	o.Getenv = func(string) string { return "" } // this machine is configured with nothing
	for _, m := range raybuild.Mirrors(context.Background(), o, raybuild.MirrorOptions{}) {
		if m.Mirror == "tuna" {
			fmt.Println(m.Part, m.URL)
		}
	}
	// Output:
	// apt https://mirrors.tuna.tsinghua.edu.cn/ubuntu
	// conda https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud
	// pip https://pypi.tuna.tsinghua.edu.cn/simple
	// installer https://mirrors.tuna.tsinghua.edu.cn/anaconda/miniconda
}

func ExamplePruneCache() {
	o, end := home()
	defer end()
	parts, err := raybuild.CacheParts(o)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range parts {
		fmt.Println(p.Part, p.Bytes)
	}
	freed, err := raybuild.PruneCache(context.Background(), o, raybuild.PruneOptions{})
	fmt.Println("freed", freed, err)
	// Output:
	// engine 0
	// artifacts 0
	// layers 0
	// uv 0
	// locks 0
	// bases 0
	// tested 0
	// facts 0
	// registry 0
	// freed 0 <nil>
}
