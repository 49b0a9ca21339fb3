package docker

import (
	"context"
	"errors"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// LogOptions select what Logs copies.
type LogOptions struct {
	Follow     bool
	Tail       string // number of lines; default: all
	Since      string // RFC 3339 or a duration as 10m
	Timestamps bool
}

// Logs copies the output of a container.
func (h *Host) Logs(ctx context.Context, id string, o LogOptions, stdout, stderr io.Writer) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	res, err := h.api.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true,
		Follow: o.Follow, Tail: o.Tail, Since: o.Since, Timestamps: o.Timestamps})
	if err != nil {
		return h.fail("read logs of", short(id), why(err))
	}
	defer res.Close() // read to its end
	_, err = stdcopy.StdCopy(stdout, stderr, res)
	return h.fail("read logs of", short(id), why(err))
}

// Exec describes a command in a running container.
type Exec struct {
	Cmd           []string
	Env           []string
	Dir           string
	User          string
	TTY           bool
	Width, Height uint      // of the terminal
	Stdin         io.Reader // nil: no input
	Stdout        io.Writer
	Stderr        io.Writer // not used with TTY
}

// Exec runs a command in a container and returns its exit code.
func (h *Host) Exec(ctx context.Context, id string, e Exec) (int, error) {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	fail := func(err error) (int, error) { return -1, h.fail("run a command in", short(id), why(err)) }
	size := client.ConsoleSize{}
	if e.TTY {
		size = client.ConsoleSize{Height: e.Height, Width: e.Width}
	}
	made, err := h.api.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: e.Cmd, Env: e.Env, WorkingDir: e.Dir,
		User: e.User, TTY: e.TTY, ConsoleSize: size,
		AttachStdin: e.Stdin != nil, AttachStdout: true, AttachStderr: !e.TTY})
	if err != nil {
		return fail(err)
	}
	at, err := h.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: e.TTY, ConsoleSize: size})
	if err != nil {
		return fail(err)
	}
	defer at.Close()
	defer context.AfterFunc(ctx, at.Close)()
	if e.Stdin != nil {
		go func() {
			io.Copy(at.Conn, e.Stdin) //nolint:errcheck // the command may end without reading all of it
			at.CloseWrite()           //nolint:errcheck // see above
		}()
	}
	if e.TTY {
		_, err = io.Copy(e.Stdout, at.Reader)
	} else {
		_, err = stdcopy.StdCopy(e.Stdout, e.Stderr, at.Reader)
	}
	if ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	res, err := h.api.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return fail(err)
	}
	return res.ExitCode, nil
}
