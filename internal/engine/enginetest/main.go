package enginetest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/raybuild/raybuild/internal/engine"
)

// serveArg is the first argument of a test binary that is to be an engine.
const serveArg = "raybuild-engine-serve"

// Main is a test binary's main: it runs the tests, or the engine when
// Start has re-executed the binary as one. Call it from TestMain:
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveArg {
		o, err := engine.ParseServeArgs(os.Args[2:])
		if err == nil {
			err = engine.Serve(context.Background(), o)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
