// Command raybuild builds Ray images without Dockerfiles, pushes them, and runs Ray clusters from them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/raybuild/raybuild/internal/lategc"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	ctx := context.Background()
	if len(os.Args) < 2 || os.Args[1] != engineCommand { // the engine has its own way with signals
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(interrupted, stop) // a second ^C ends the program at once
		ctx = interrupted
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
