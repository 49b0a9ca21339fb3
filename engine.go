package raybuild

import (
	"context"
	"os"

	"github.com/raybuild/raybuild/internal/builder"
)

// ServeEngine makes this process the embedded engine where it was started as that, and tells
// whether it was. The engine is a process of its own, which outlives the program that started it,
// so that the next build finds it warm; it is the same program, started with another first
// argument. So a program that builds on the embedded engine calls ServeEngine before all else in
// its main, and ends where it says true:
//
//	if served, err := raybuild.ServeEngine(ctx); served {
//		return err
//	}
//
// A program that does not call it uses the raybuild command in PATH as engine, or another builder.
func ServeEngine(ctx context.Context) (bool, error) {
	builder.ServesEngine()
	if len(os.Args) < 2 || os.Args[1] != builder.EngineCommand {
		return false, nil
	}
	return true, builder.Serve(ctx, os.Args[2:])
}
