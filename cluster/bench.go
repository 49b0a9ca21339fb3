package cluster

import (
	"bytes"
	"context"
	_ "embed" // the program
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

//go:embed bench.py
var benchProgram string

// BenchResult says how long the tasks took in one process and over the cluster.
type BenchResult struct {
	Tasks   int            `json:"tasks"`
	Each    float64        `json:"seconds_each"`
	Alone   float64        `json:"alone"`  // seconds in one process
	Spread  float64        `json:"spread"` // seconds over the cluster
	SpeedUp float64        `json:"speed_up"`
	CPUs    float64        `json:"cpus"`  // CPUs that Ray has: the largest possible speed-up
	Nodes   map[string]int `json:"nodes"` // tasks by the name of the host that ran them
}

// Bench runs tasks that sleep, first in one process and then over the cluster. Each task sleeps for this many seconds.
func Bench(ctx context.Context, spec *Spec, tasks int, seconds float64, o Options) (*BenchResult, error) {
	l := newLaunch(spec, o)
	defer l.close()
	r, err := l.askHead(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	nodes, err := r.nodes(ctx)
	if err != nil {
		return nil, err
	}
	l.logf("%d tasks of %g s, first in one process (%.0f s), then over %s", tasks, seconds, float64(tasks)*seconds,
		plural(len(nodes), "node", "nodes"))
	var out, errs bytes.Buffer
	code, err := r.host.Exec(ctx, r.container, docker.Exec{Stdout: &out, Stderr: io.Writer(&errs),
		Cmd: []string{"python", "-c", benchProgram, strconv.Itoa(tasks), strconv.FormatFloat(seconds, 'g', -1, 64)}})
	if err != nil {
		return nil, fmt.Errorf("bench cluster %q: %w", spec.Name, err)
	}
	_, text, ok := strings.Cut(out.String(), "RAYBUILD")
	if code != 0 || !ok {
		return nil, fmt.Errorf("bench cluster %q: python ends with %d: %s", spec.Name, code, lastLine(errs.String()))
	}
	var b BenchResult
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&b); err != nil {
		return nil, fmt.Errorf("bench cluster %q: read its result: %w", spec.Name, err)
	}
	if b.Spread > 0 {
		b.SpeedUp = b.Alone / b.Spread
	}
	for _, n := range nodes {
		if n.Alive {
			b.CPUs += n.Resources["CPU"]
		}
	}
	return &b, nil
}

// String formats the result for people.
func (b *BenchResult) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d tasks of %g s\n  in one process     %6.2f s\n"+
		"  over the cluster   %6.2f s   %.1f times as fast (%g CPUs)\n",
		b.Tasks, b.Each, b.Alone, b.Spread, b.SpeedUp, b.CPUs)
	for _, node := range sortedKeys(b.Nodes) {
		fmt.Fprintf(&s, "  %-18s %d tasks\n", node, b.Nodes[node])
	}
	return s.String()
}
