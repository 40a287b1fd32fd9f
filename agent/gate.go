package agent

import (
	"runtime"
	"time"
)

// Walks that are due go through a gate: some at once, and the next after a breath
// or as others end. Were all that are due to begin, thousands would be on their way
// where the CPU can serve dozens: with each step the CPU's caches hold another's
// data, each collection of garbage scans their stacks, and sockets that serve
// again run out. At the edge that doubled the CPU time of a lookup.
const (
	batch = 32 // how many begin at once, for each CPU

	// breath is when the next begin. No CPU serves a batch sooner, so that walks
	// whose peers are silent keep nobody back.
	breath = 500 * time.Microsecond
)

// A gate lets walks begin. The zero gate is open.
type gate struct {
	opens int64 // when the next may begin; 0 if none wait
	room  int   // so many may be on their way until then
}

// admit returns how many walks may begin now, while so many are on their way. That
// the moment is noticed late means that the CPU has no time: then what has begun is
// ended first, and only one begins.
func (g *gate) admit(now int64, running int) int {
	switch {
	case g.opens == 0:
	case now < g.opens:
		return 0
	case now-g.opens > int64(breath):
		g.room = running - running/16
		return 1
	}
	n := batch * runtime.GOMAXPROCS(0)
	g.room = running + n
	return n
}

// wait returns how long those wait that were not let in.
func (g *gate) wait(now int64) time.Duration {
	if g.opens <= now {
		g.opens = now + int64(breath)
	}
	return time.Duration(g.opens - now)
}

// open is for when none wait, or whom only the end of another lets begin.
func (g *gate) open() { g.opens = 0 }

// full reports whether so many on their way are too many for one that ends to make
// room for the next.
func (g *gate) full(running int) bool { return g.opens > 0 && running > g.room }
