package raybuild

import (
	"context"
	"os"

	"github.com/raybuild/raybuild/internal/builder"
)

// ServeEngine runs the embedded engine in this process if the process was started as the engine. It
// returns true if so. The engine is a separate process, which outlives the program that started it,
// so the next build finds it warm. It is the same program, started with another first argument. So
// a program that builds on the embedded engine must call ServeEngine first in its main, and must
// end if ServeEngine returns true:
//
//	if served, err := raybuild.ServeEngine(ctx); served {
//		return err
//	}
//
// A program that does not call it uses the raybuild command in PATH as its engine, or another builder.
func ServeEngine(ctx context.Context) (bool, error) {
	builder.ServesEngine()
	if len(os.Args) < 2 || os.Args[1] != builder.EngineCommand {
		return false, nil
	}
	return true, builder.Serve(ctx, os.Args[2:])
}
