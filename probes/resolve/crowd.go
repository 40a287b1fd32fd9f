package resolve

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	// crowded is how many lookups may be under way at one server before others
	// wait. Their datagrams, two each, fit in the receive buffer of a server with
	// default settings, where a datagram takes up to 2 kB; more at a time would in
	// part be lost, and again when they are sent again, and the server called
	// silent for it.
	crowded = 48

	// patience is how long a lookup waits at most. Many hundred walks that fall
	// due at the same moment, as when all have just waited for the same silence,
	// are spread over it.
	patience = time.Second
)

// A crowd is who asks one server. No lookup waits for another to end for longer
// than a random while: a silent server must not keep its own questions back.
type crowd struct {
	mu     sync.Mutex
	places map[netip.AddrPort]chan struct{}
	timers sync.Pool // of *time.Timer: at the edge, those of all who wait were a fourteenth of a lookup's garbage
}

// enter waits until there is room for a lookup at the server, or for a random
// while, which is at most a fifth of the time that ctx leaves. Leave must be
// called at the lookup's end.
func (c *crowd) enter(ctx context.Context, server netip.AddrPort) (leave func()) {
	places := c.at(server)
	select {
	case places <- struct{}{}:
		return func() { <-places }
	default:
	}
	most := patience
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, max(time.Until(deadline)/5, 0))
	}
	timer := c.timer(time.Duration(rand.Int64N(int64(most) + 1)))
	defer c.timers.Put(timer)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}
}

// timer returns one that is set, and belongs into timers again.
func (c *crowd) timer(after time.Duration) *time.Timer {
	if t, ok := c.timers.Get().(*time.Timer); ok {
		t.Reset(after)
		return t
	}
	return time.NewTimer(after)
}

func (c *crowd) at(server netip.AddrPort) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	places, ok := c.places[server]
	if !ok {
		if c.places == nil {
			c.places = map[netip.AddrPort]chan struct{}{}
		}
		places = make(chan struct{}, crowded)
		c.places[server] = places
	}
	return places
}
