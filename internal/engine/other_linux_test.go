package engine_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gofrs/flock"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"google.golang.org/grpc"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

// otherArg makes the test binary a stand-in for the engine of another version
// of raybuild: it holds the instance's lock, answers on its socket, and ends
// on SIGTERM as such an engine does.
const otherArg = "raybuild-engine-of-another-version"

type otherEngine struct {
	controlapi.UnimplementedControlServer
}

func (otherEngine) ListWorkers(context.Context,
	*controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{{
		ID: "other", Labels: map[string]string{"raybuild.engine.version": "raybuild-engine-99"},
	}}}, nil
}

func otherMain(dir string) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if ok, err := flock.New(filepath.Join(dir, "engine.lock")).TryLock(); !ok {
		return fmt.Errorf("lock %q: %w", dir, err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "engine.sock"))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	controlapi.RegisterControlServer(s, otherEngine{})
	go func() { <-term; s.Stop() }()
	fmt.Println("listening")
	return s.Serve(l)
}

func TestEngineOfAnotherVersionIsAskedToEnd(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	ensure(t, o) // skips where none can run
	enginetest.Stop(t, o)
	dir := filepath.Join(o.Home, "engine", "default")
	other := exec.Command("/proc/self/exe", otherArg, dir)
	other.Stderr = os.Stderr
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	var notes strings.Builder
	o.Notes = &notes
	ensure(t, o)
	if err := other.Wait(); err != nil {
		t.Errorf("the other engine: %v", err)
	}
	if !strings.Contains(notes.String(), "raybuild-engine-99") {
		t.Errorf("the caller was not told: %q", notes.String())
	}
}
