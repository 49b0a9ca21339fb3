// Command matrix measures what an edit costs: one image of the offline package world, built and
// pushed with one thing changed after the other, by raybuild, by BuildKit's own client with an
// equal Dockerfile on an engine of the same version, by docker build on a Docker Engine, and by
// hand (run, exec, commit, push). All of them have the same mirrors, the same registry and the same
// pinned versions, and take turns. At the scale real there are two images of real Ray and wheels of
// PyPI, beside Dockerfiles with uv and with pip. make bench calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/raybuild/raybuild/internal/world/pypi"
	"github.com/raybuild/raybuild/llb"
)

// options say what is measured with what, and how often.
type options struct {
	raybuild, buildctl, dockerd, docker, dir, out, docs string
	rows, peers, images                                 string
	scale                                               scale
	image                                               *image // of real wheels; the offline one where nil
	runs, gzip                                          int
	budget                                              time.Duration
}

// scale is the size of the image's wheels.
type scale string

func (s scale) world() (pypi.Scale, error) {
	switch s {
	case "small":
		return pypi.Tenth, nil
	case "full":
		return pypi.Full, nil
	case "real":
		return pypi.Small, nil // the stand-ins' wheels are not used
	}
	return "", fmt.Errorf("read -scale %q: it is small, full or real", s)
}

// selected tells whether a name is in a list with commas; an empty list has every name.
func selected(list, name string) bool {
	if list == "" {
		return true
	}
	for s := range strings.SplitSeq(list, ",") {
		if s == name {
			return true
		}
	}
	return false
}

func main() {
	var o options
	flag.StringVar(&o.raybuild, "raybuild", "bin/raybuild", "the raybuild to measure")
	flag.StringVar(&o.buildctl, "buildctl", "build/tools/buildctl", "the buildctl to compare it with")
	flag.StringVar(&o.dockerd, "dockerd", "/usr/sbin/dockerd", "the Docker Engine to compare it with")
	flag.StringVar(&o.docker, "docker", "/usr/bin/docker", "its command")
	flag.StringVar(&o.dir, "dir", "build/bench", "scratch directory, emptied first and removed at the end")
	flag.StringVar(&o.out, "out", "build/bench.json", "file for the results; at the scale real, rows of the same "+
		"raybuild that are not measured now stay in it")
	flag.StringVar(&o.docs, "docs", "", "file for the results as a page; none where empty")
	flag.StringVar(&o.rows, "rows", "", "rows to measure, with commas (default: all; of image B those that its disk "+
		"space allows)")
	flag.StringVar(&o.peers, "peers", "", "peers to measure beside raybuild, with commas: dockerfile, docker, commit; "+
		"at the scale real dockerfile (uv), pip (default: all that are there)")
	flag.StringVar(&o.images, "images", "", "images of real wheels to measure, with commas: A, B (default: both)")
	flag.StringVar((*string)(&o.scale), "scale", "small", "small: wheels of a tenth of the real ones' sizes; full: of "+
		"their sizes; real: wheels of PyPI")
	flag.IntVar(&o.gzip, "gzip", 0, fmt.Sprintf("how hard BuildKit packs the Dockerfile's layers, 1 to 9 (default: as "+
		"it does where nobody says, 6; raybuild asks for %d)", llb.GzipLevel))
	flag.IntVar(&o.runs, "runs", 0, "how often each thing is measured (default: 5; image A 3, image B 2)")
	flag.DurationVar(&o.budget, "budget", 0, "a peer that has taken this long in a row is not measured there again "+
		"(default: no limit; image A 1m, image B 2m)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and the signal handler with it
	}
}
