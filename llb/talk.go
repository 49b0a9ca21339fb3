package llb

import (
	"context"
	"errors"
	"fmt"
	"io"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// Talk is a process in a builder with which the caller talks.
type Talk struct {
	In  io.WriteCloser
	Out io.Reader
	// Wait waits for the process' end.
	Wait func() error
}

// Starter starts a process. env has all of its variables, as NAME=VALUE. The end of ctx ends the process. The end of
// the first process ends all others.
type Starter func(ctx context.Context, args, env []string) (Talk, error)

// TalkIn solves st and calls fn, which may start processes in it, and talk with them by their standard input and
// output. They have no network, and what they write is lost. All of them end when fn returns.
func (b *Builder) TalkIn(ctx context.Context, st Stage, p Platform, s Session, o SolveOptions,
	fn func(context.Context, Starter) error) (err error) {
	c, err := b.newCall(ctx, s, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.view.close()) }()
	return c.stageIn(ctx, st, p, func(ctx context.Context, gw gateway.Client, ref gateway.Reference) error {
		ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{
			Mounts:   []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: ref}},
			NetMode:  pb.NetMode_NONE,
			Platform: &pb.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant},
		})
		if err != nil {
			return fmt.Errorf("start container: %w", err)
		}
		within, end := context.WithCancel(ctx)
		talked := fn(within, func(ctx context.Context, args, env []string) (Talk, error) {
			talk, err := startIn(ctx, ctr, args, env)
			if err == nil {
				context.AfterFunc(within, func() { _ = talk.In.Close() }) // its process may wait for more
			}
			return talk, err
		})
		end()
		// Its error only says how processes ended: one that fn left is killed, and Wait told of the others.
		_ = ctr.Release(context.WithoutCancel(ctx))
		return talked
	})
}

func startIn(ctx context.Context, ctr gateway.Container, args, env []string) (Talk, error) {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	process, err := ctr.Start(ctx, gateway.StartRequest{Args: args, Env: env, Cwd: "/", Stdin: in, Stdout: out,
		Stderr: discard{}})
	if err != nil {
		return Talk{}, fmt.Errorf("start process: %w", err)
	}
	var ended error
	done := make(chan struct{})
	go func() { // whoever reads or writes learns of the end
		defer close(done)
		ended = process.Wait()
		_, _ = in.CloseWithError(io.ErrClosedPipe), out.CloseWithError(io.EOF) // never fail
	}()
	return Talk{In: stdin, Out: stdout, Wait: func() error { <-done; return ended }}, nil
}

// discard takes what nobody reads.
type discard struct{}

// Write implements io.Writer.
func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Close implements io.Closer.
func (discard) Close() error { return nil }
