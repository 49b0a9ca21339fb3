// Command raybuild builds Ray images without Dockerfiles, pushes them, and runs Ray clusters from them.
package main

import (
	"context"
	"os"

	"github.com/raybuild/raybuild/internal/cli"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	os.Exit(cli.Main(context.Background(), version, os.Args[1:],
		cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
