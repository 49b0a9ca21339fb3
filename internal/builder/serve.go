package builder

import (
	"context"
	"errors"
	"os/exec"
	"sync/atomic"

	"github.com/raybuild/raybuild/internal/engine"
)

// EngineCommand is the first argument of a process that is started as the embedded engine.
const EngineCommand = "engine-serve"

// serves tells whether this program can start itself as the embedded engine, because its main
// has called [ServesEngine].
var serves atomic.Bool //nolint:gochecknoglobals // a fact about the program

// ServesEngine says that this program becomes the embedded engine if it is started with
// [EngineCommand]. Without this call raybuild does not start the program as the engine, because its
// main would do its normal work again and start another engine.
func ServesEngine() { serves.Store(true) }

// Serve runs the embedded engine. args are the arguments after [EngineCommand]. It ends with ctx,
// or when no build has used it for some time.
func Serve(ctx context.Context, args []string) error {
	o, err := engine.ParseServeArgs(args)
	if err != nil {
		return err
	}
	return engine.Serve(ctx, o)
}

// engineProgram returns the program to start as the embedded engine; "": this program.
func engineProgram() (string, error) {
	if serves.Load() {
		return "", nil
	}
	program, err := exec.LookPath("raybuild")
	if err != nil {
		return "", errors.New("start the embedded engine: this program has none: call raybuild.ServeEngine first in " +
			"its main, put the raybuild command into PATH, or name another builder")
	}
	return program, nil
}
