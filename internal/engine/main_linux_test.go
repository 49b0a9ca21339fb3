package engine_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

// clientArg makes the test binary a program that uses an engine: it ensures
// one in the home that follows, prints its address, solves a step and prints
// its output, and waits for a signal if a third argument follows.
const clientArg = "raybuild-engine-client"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == otherArg {
		if err := otherMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == clientArg {
		if err := clientMain(os.Args[2], len(os.Args) > 3); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	enginetest.Main(m)
}

func clientMain(home string, wait bool) error {
	ctx := context.Background()
	o := enginetest.Options(home)
	o.Notes = os.Stderr
	addr, err := engine.Ensure(ctx, o)
	if err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT)
	fmt.Println("address", addr)
	if wait {
		<-interrupted
		return nil
	}
	dir, err := os.MkdirTemp("", "out")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := solve(ctx, addr, step{sh: "busybox id -u >/out/uid; busybox chown 1:1 /out/uid; busybox cat " +
		"/proc/self/uid_map > /out/map", out: dir}); err != nil {
		return err
	}
	for _, f := range []string{"uid", "map"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return err
		}
		fmt.Printf("%s %s", f, b)
	}
	return engine.Stop(ctx, o)
}
