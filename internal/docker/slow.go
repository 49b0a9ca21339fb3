package docker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Within limits a call to an Engine. If the call takes longer, its error names the limit.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, &slowError{limit})
}

// slowError is the cause of a call that took longer than its limit. 0: the limit is not known.
type slowError struct{ limit time.Duration }

func (e *slowError) Error() string {
	in := "in time"
	if e.limit > 0 {
		in = fmt.Sprintf("within %s", e.limit)
	}
	return fmt.Sprintf("the Engine did not answer %s; it may be busy: run again, or see there: systemctl status docker",
		in)
}

// Unwrap says what happened to the call's context.
func (e *slowError) Unwrap() error { return context.DeadlineExceeded }

// unanswered replaces the error of a call that nobody waits for any longer: it shows a URL that nobody has typed.
func unanswered(err error) error {
	var slow *slowError
	var of *url.Error
	switch {
	case errors.As(err, &slow):
		return slow
	case errors.Is(err, context.DeadlineExceeded):
		return &slowError{}
	case errors.Is(err, context.Canceled) && errors.As(err, &of):
		return of.Err
	}
	return err
}
