package engine

import (
	"context"
	"fmt"
)

func becomeNamespaceRoot() error                                   { return fmt.Errorf("x") }
func enterUserNamespace(ctx context.Context, o ServeOptions) error { return fmt.Errorf("x") }

// Check says what this machine has and lacks for the embedded engine.
func Check(ctx context.Context, o Options) []Finding { return nil }
