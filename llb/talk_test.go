package llb_test

import (
	"bufio"
	"context"
	"fmt"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// Processes in a builder answer, several at once, and end with the call.
func TestTalkInABuilder(t *testing.T) {
	w, b := newWorld(t), connect(t)
	st := llb.From(w.base).Files("write", llb.File{Path: "/greeting", Data: []byte("hello")})
	err := b.TalkIn(t.Context(), st, amd64, llb.Session{Artifacts: w}, llb.SolveOptions{},
		func(ctx context.Context, start llb.Starter) error {
			for n := range 2 {
				talk, err := start(ctx, []string{"/bin/sh", "-c",
					`while read -r line; do echo "$(cat /greeting) $WHO $line"; done`},
					[]string{"PATH=/bin", fmt.Sprint("WHO=", n)})
				if err != nil {
					return err
				}
				out := bufio.NewReader(talk.Out)
				for _, word := range []string{"one", "two"} {
					if _, err := fmt.Fprintln(talk.In, word); err != nil {
						return err
					}
					if line, err := out.ReadString('\n'); err != nil || line != fmt.Sprintf("hello %d %s\n", n, word) {
						t.Errorf("process %d answers %q to %q (%v)", n, line, word, err)
					}
				}
				if n == 1 { // the other one ends with the call
					if err := talk.In.Close(); err != nil {
						return err
					}
					if err := talk.Wait(); err != nil {
						t.Errorf("a process that ended: %v", err)
					}
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	err = b.TalkIn(t.Context(), st, amd64, llb.Session{Artifacts: w}, llb.SolveOptions{},
		func(ctx context.Context, start llb.Starter) error { // the call kills what hears nothing
			_, err := start(ctx, []string{"/bin/sh", "-c", "while :; do :; done"}, nil)
			return err
		})
	if err != nil {
		t.Errorf("a process that fn left: %v", err)
	}
	err = b.TalkIn(t.Context(), st, amd64, llb.Session{Artifacts: w}, llb.SolveOptions{},
		func(ctx context.Context, start llb.Starter) error {
			talk, err := start(ctx, []string{"/bin/sh", "-c", "exit 7"}, nil)
			if err != nil {
				return err
			}
			return talk.Wait()
		})
	if err == nil {
		t.Error("a process that fails is no error")
	}
}
