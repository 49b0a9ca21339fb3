// Command faults pushes one image through registries with faults in them, by raybuild's pusher, by
// BuildKit's own client (whose engine pushes) and by go-containerregistry's crane, and says what
// became of each push. All of them get the same blobs and the same faults, each a registry of its
// own. make bench-faults calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say what is compared with what.
type options struct {
	raybuild, buildctl, dir, out, docs string
	rows                               string
	limit                              time.Duration
	jobs                               int
}

func main() {
	var o options
	flag.StringVar(&o.raybuild, "raybuild", "bin/raybuild", "the raybuild whose engine buildctl uses")
	flag.StringVar(&o.buildctl, "buildctl", "build/tools/buildctl", "the buildctl to compare with")
	flag.StringVar(&o.dir, "dir", "build/bench-faults", "scratch directory, emptied first and removed at the end")
	flag.StringVar(&o.out, "out", "build/bench-faults.json", "file for the results")
	flag.StringVar(&o.docs, "docs", "", "file for the results as a page; none where empty")
	flag.StringVar(&o.rows, "rows", "", "rows to run, with commas, such as R1,R6 (default: all)")
	flag.DurationVar(&o.limit, "limit", 90*time.Second, "a push that takes longer is ended, and told as hung")
	flag.IntVar(&o.jobs, "jobs", 8, "how many rows run at once; most of their time is waiting")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-faults:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and the signal handler with it
	}
}
