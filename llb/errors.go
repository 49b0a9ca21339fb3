package llb

import (
	"errors"
	"fmt"

	digest "github.com/opencontainers/go-digest"
)

// ErrNoSecret is what [Session.Secrets] returns for an id that it does not have.
var ErrNoSecret = errors.New("no such secret")

// StepError is the failure of a step. It matches by errors.As.
type StepError struct {
	Layer    string   // from the step's title; "" when it has none
	Step     string   // the rest of the title
	ExitCode int      // of its command; -1 when it did not exit by itself
	Log      []string // its last lines, 20 at most
	Hint     string   // what to do next; "" if that is not known
	Limit    string   // the limit that it met: [LimitMemory], [LimitPIDs] or [LimitTime]; "": none
	Err      error    // the builder's own error

	met    string   // the limit in words
	output []string // all lines that were kept
}

// Output is what is kept of the step's output: its last 64 KiB. Lines of standard output and standard error can stand
// in another order than the step wrote them, because a builder sends them apart.
func (e *StepError) Output() []string {
	if e.output == nil {
		return e.Log
	}
	return e.output
}

func (e *StepError) Error() string {
	what := plainText(e.Err)
	if e.ExitCode > 0 {
		what = fmt.Sprintf("exit code %d", e.ExitCode)
	}
	if e.met != "" {
		what = e.met
	}
	msg := fmt.Sprintf("step %q: %s", e.Step, what)
	if e.Layer != "" {
		msg = fmt.Sprintf("layer %s: %s", e.Layer, msg)
	}
	if e.Hint != "" {
		msg += "; " + e.Hint
	}
	return msg
}

// Unwrap gives the builder's own error.
func (e *StepError) Unwrap() error { return e.Err }

// LostError says that the builder ended, or that the connection to it ended, during a build. It matches by errors.As.
type LostError struct {
	Addr string // of the builder
	Err  error  // how the connection ended
}

func (e *LostError) Error() string {
	return fmt.Sprintf("builder %q is gone in the middle of its work (%v): run again: finished steps are kept, and a "+
		"local engine is started again",
		e.Addr, plainText(e.Err))
}

// Unwrap gives the connection's error.
func (e *LostError) Unwrap() error { return e.Err }

// FetchError says that an artifact could not be brought. It matches by errors.As, and so does the error that
// [ArtifactSource] returned.
type FetchError struct {
	Digest digest.Digest
	Name   string // file name of the artifact; "" when the graph does not say
	Err    error  // what the source returned
}

func (e *FetchError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("fetch artifact %s: %v", e.Digest, e.Err)
	}
	return fmt.Sprintf("fetch artifact %q (%s): %v", e.Name, e.Digest, e.Err)
}

// Unwrap gives what the source returned.
func (e *FetchError) Unwrap() error { return e.Err }
