//go:build !linux

package engine

import (
	"context"
	"runtime"

	"github.com/moby/buildkit/client"
)

func unsupported() error {
	return &Error{
		Kind:   ErrUnsupported,
		Detail: "it needs Linux, this is " + runtime.GOOS,
		Fix:    "use the Docker Engine's BuildKit, or a remote one with --builder ADDR or BUILDKIT_HOST",
	}
}

// Ensure returns ErrUnsupported: the engine needs Linux.
func Ensure(context.Context, Options) (string, error) { return "", unsupported() }

// Connect returns ErrUnsupported: the engine needs Linux.
func Connect(context.Context, Options) (string, *client.Client, error) { return "", nil, unsupported() }

// Stop does nothing: there is no engine to stop.
func Stop(context.Context, Options) error { return nil }

// Full returns an error that says that the disk of home is full, and what to do.
func Full(home string) error { return &Error{Kind: ErrNoSpace, Detail: home, Fix: fixSpace} }

// Serve returns ErrUnsupported: the engine needs Linux.
func Serve(context.Context, ServeOptions) error { return unsupported() }

// Check has one finding: that there is no embedded engine here.
func Check(context.Context, Options) []Finding {
	return []Finding{{
		Name:   "embedded engine",
		Detail: "it needs Linux, this is " + runtime.GOOS,
		Fix:    "use the Docker Engine's BuildKit, or a remote one with --builder ADDR or BUILDKIT_HOST",
	}}
}
