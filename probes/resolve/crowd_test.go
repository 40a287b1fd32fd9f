package resolve

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A server that answers sets the pace; one that is silent delays nobody for
// long, and other servers nobody at all.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crowd
		one, other := netip.MustParseAddrPort(first), netip.MustParseAddrPort(second)
		var leave []func()
		start := time.Now()
		for range crowded {
			leave = append(leave, c.enter(t.Context(), one))
		}
		c.enter(t.Context(), other)()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v where there was room", waited)
		}

		entered := make(chan func())
		go func() { entered <- c.enter(t.Context(), one) }()
		synctest.Wait()
		leave[0]()
		leave[0] = <-entered
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v where somebody had left", waited)
		}

		c.enter(t.Context(), one)() // nobody leaves
		if waited := time.Since(start); waited > patience {
			t.Errorf("waited %v at a silent server, want %v at most", waited, patience)
		}

		start = time.Now()
		hurry, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 20 {
			c.enter(hurry, one)()
		}
		if waited := time.Since(start); waited >= 100*time.Millisecond {
			t.Errorf("waited %v, all there was", waited)
		}

		start = time.Now()
		cancel()
		c.enter(hurry, one)()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v after the end", waited)
		}
		for _, f := range leave {
			f()
		}
		if n := len(c.at(one)); n != 0 {
			t.Errorf("%d places are taken though everybody has left", n)
		}
	})
}
