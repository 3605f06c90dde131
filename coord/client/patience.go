package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"gaggle/wire"
)

// patience is how long a command waits for a coordinator that cannot be reached, or has broken
// off: one that was killed and is started anew reads its tables first, a second for 10^5 rows.
// Somebody sits before the command, so it is not long; a job that was submitted waits longer.
const patience = 15 * time.Second

const (
	// retryFirst and retryMost bound the pauses between attempts to reach the coordinator again.
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// A backoff makes the pauses between attempts, each twice as long as the one before. The zero
// value begins with retryFirst.
type backoff struct{ pause time.Duration }

// wait pauses; it fails if the context ends meanwhile.
func (b *backoff) wait(ctx context.Context) error {
	b.pause = min(max(2*b.pause, retryFirst), retryMost)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(b.pause/2 + rand.N(b.pause/2)): // or all come back in the same moment
		return nil
	}
}

// final reports whether trying again cannot help: the coordinator has answered, and not that it
// is going away.
func final(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Cause != wire.CauseUnreachable && e.Cause != wire.CauseBusy
}

// patiently calls do until it succeeds, fails for good, or has failed for as long as patience,
// and returns what it returned last. Before each pause again is told why; nil is nobody.
func patiently(ctx context.Context, do func() error, again func(error)) error {
	var b backoff
	for began := time.Now(); ; {
		err := do()
		if err == nil || final(err) || ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
		if again != nil {
			again(err)
		}
		if b.wait(ctx) != nil {
			return err
		}
	}
}
