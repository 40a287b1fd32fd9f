package probes

import (
	"context"
	"time"
)

// Within returns ctx with a deadline that is no more than d away. It is for
// code whose every wait keeps to a deadline by itself, as dialing and reading
// with one do: it costs no timer, and so the context is not done when the time
// is up. Two contexts with timers, one in the other, were a third of a lookup's
// garbage.
func Within(ctx context.Context, d time.Duration) context.Context {
	return Until(ctx, time.Now().Add(d))
}

// Until is [Within] for a given time.
func Until(ctx context.Context, by time.Time) context.Context {
	if sooner, ok := ctx.Deadline(); ok && !by.Before(sooner) {
		return ctx
	}
	return within{ctx, by}
}

// Brief is how long a wait may be that does not end with its context: to be
// interruptible costs more than all else that waiting does.
const Brief = 100 * time.Millisecond

// Briefly returns a deadline for the part of a wait, from start on, that need not
// end with its context, see [Brief]: most waits are over by then. The zero time is
// none.
func Briefly(start, deadline time.Time) time.Time {
	if soon := start.Add(Brief); deadline.IsZero() || soon.Before(deadline) {
		return soon
	}
	return deadline
}

type within struct {
	context.Context
	by time.Time
}

func (w within) Deadline() (time.Time, bool) { return w.by, true }
