package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"
)

// plainArg is an argument that every login shell takes as it is: sshd hands the command line to one.
var plainArg = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*$|^--?[A-Za-z0-9][A-Za-z0-9=_-]*$|^-$`)

func commandLine(argv []string) (string, error) {
	for _, a := range argv {
		if !plainArg.MatchString(a) {
			return "", fmt.Errorf("run %q: argument %q has characters that a shell would read", argv[0], a)
		}
	}
	return strings.Join(argv, " "), nil
}

// maxCommands bounds the commands that run at once on a host; with maxStdio they are as many
// sessions as sshd grants by default.
const maxCommands = 4

// CommandError is the error of a command that ran and failed.
type CommandError struct {
	Argv   []string
	Code   int    // exit code; -1: ended by a signal
	Stderr string // its end
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: exit code %d", strings.Join(e.Argv, " "), e.Code)
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// Run runs a command on the host and returns its output. Every argument must be plain: letters, digits and _@%+=:,./-.
// Any other text belongs into stdin. If the command fails, the error is a *CommandError.
func (h *Host) Run(ctx context.Context, stdin io.Reader, argv ...string) ([]byte, error) {
	line, err := commandLine(argv)
	if err != nil {
		return nil, err
	}
	if h.link == nil {
		return runHere(ctx, stdin, argv)
	}
	select {
	case h.link.commands <- struct{}{}:
		defer func() { <-h.link.commands }()
	case <-ctx.Done():
		return nil, fmt.Errorf("run %q on %s: %w", line, h.target, context.Cause(ctx))
	}
	session, _, err := h.link.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("run %q on %s: %w", line, h.target, h.explain(err))
	}
	defer session.Close()                                      // ended already, or of no use any more
	stop := context.AfterFunc(ctx, func() { session.Close() }) // ends the command
	defer stop()
	var out bytes.Buffer
	var said tail
	session.Stdin, session.Stdout, session.Stderr = stdin, &out, &said
	err = session.Run(line)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return out.Bytes(), nil
	case errors.As(err, &exit):
		code := exit.ExitStatus()
		if exit.Signal() != "" {
			code = -1
		}
		return out.Bytes(), &CommandError{Argv: argv, Code: code, Stderr: said.String()}
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return out.Bytes(), fmt.Errorf("run %q on %s: %w", line, h.target, h.explain(err))
}

func runHere(ctx context.Context, stdin io.Reader, argv []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var said tail
	cmd.Stdin, cmd.Stderr = stdin, &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &exit):
		return out, &CommandError{Argv: argv, Code: exit.ExitCode(), Stderr: said.String()}
	}
	return out, fmt.Errorf("run %q: %w", strings.Join(argv, " "), err)
}
