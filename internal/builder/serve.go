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

// serves tells whether this program can be started as the embedded engine: its main has called [ServesEngine].
var serves atomic.Bool //nolint:gochecknoglobals // a fact about the program

// ServesEngine says that this program, started with [EngineCommand], becomes the embedded engine.
// Without it the program is not started as one: its main would do its own work again, and start
// another.
func ServesEngine() { serves.Store(true) }

// Serve is the embedded engine; args follow [EngineCommand]. It ends with ctx, or when nobody has
// needed it for some time.
func Serve(ctx context.Context, args []string) error {
	o, err := engine.ParseServeArgs(args)
	if err != nil {
		return err
	}
	return engine.Serve(ctx, o)
}

// engineProgram is the program that is started as the embedded engine; "" is this one.
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
