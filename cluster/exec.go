package cluster

import (
	"context"
	"fmt"
	"io"

	"github.com/raybuild/raybuild/internal/docker"
)

// ExecOptions say where and how Exec runs a command.
type ExecOptions struct {
	Node          string // Node.ID; default: the head
	TTY           bool   // Stdin is a terminal
	Width, Height uint   // of the terminal
	Stdin         io.Reader
	Stdout        io.Writer
	Stderr        io.Writer
	Dir           string
}

// Exec runs a command in the container of a node and returns the exit code.
func Exec(ctx context.Context, spec *Spec, argv []string, eo ExecOptions, o Options) (int, error) {
	l := newLaunch(spec, o)
	defer l.close()
	id := eo.Node
	if id == "" {
		id = "head"
	}
	nodes, err := l.pick([]string{id})
	if err != nil {
		return -1, err
	}
	h, err := l.hostOf(ctx, nodes[0])
	if err != nil {
		return -1, err
	}
	notUp := func() error {
		return fmt.Errorf("node %s has no container: the cluster is not up; start it: %s", nodes[0].ID, l.next())
	}
	c, err := h.Inspect(ctx, nodes[0].ID) // a node's ID is its container's name
	if docker.IsNotFound(err) {
		return -1, notUp()
	}
	if err == nil {
		err = l.owned(c.Labels, nodes[0].ID, nodes[0].Host.ID())
	}
	if err != nil {
		return -1, err
	}
	code, err := h.Exec(ctx, c.ID, docker.Exec{Cmd: argv, TTY: eo.TTY, Width: eo.Width,
		Height: eo.Height, Dir: eo.Dir,
		Stdin: eo.Stdin, Stdout: eo.Stdout, Stderr: eo.Stderr})
	if docker.IsNotFound(err) {
		return -1, notUp()
	}
	return code, err
}

// hostOf connects to a node's host alone.
func (l *launch) hostOf(ctx context.Context, n Node) (*docker.Host, error) {
	l.connect(ctx, []Host{n.Host}, nil)
	if err := l.fleet.down[n.Host.ID()]; err != nil {
		return nil, err
	}
	return l.fleet.up[n.Host.ID()], nil
}

// askHead connects to the head's host alone, and returns the way to ask its Ray.
func (l *launch) askHead(ctx context.Context) (*ray, error) {
	if _, err := l.hostOf(ctx, l.spec.Head); err != nil {
		return nil, err
	}
	return l.ray(ctx, &clusterState{})
}
