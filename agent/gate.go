package agent

import (
	"runtime"
	"time"
)

// Walks that are due go through a gate: some at once, and the next after a breath
// or as others end. Were all that are due to begin, thousands would be on their way
// where the CPU can serve dozens: with each step the CPU's caches hold another's
// data, each collection of garbage scans their stacks, and each has a socket of
// its own. At the edge that doubled the CPU time of a lookup.
const (
	batch = 32 // how many begin at once, for each CPU

	// breath is after how long the next begin, at the soonest. No CPU serves a batch
	// sooner, so those whose peers are silent keep nobody back.
	breath = 500 * time.Microsecond
)

// A gate lets walks begin.
type gate struct {
	cpu func() time.Duration // the CPU time that this process has used

	opens int64 // when the next may begin; 0 if none waited
	room  int   // how many may be on their way until then
	used  int64 // the CPU time a breath before
}

// admit returns how many walks may begin now, while so many are on their way.
// Where this process has used half of the CPU time that it can have since the last
// began, more would only be in each other's way: then none begin but what makes up a
// batch, and there is room for fewer.
func (g *gate) admit(now int64, running int) int {
	cpus := runtime.GOMAXPROCS(0)
	switch {
	case g.opens == 0:
	case now < g.opens:
		return 0
	case 2*(int64(g.cpu())-g.used) >= (now-g.opens+int64(breath))*int64(cpus):
		g.room = max(running-running/16, cpus*batch)
		return max(0, cpus*batch-running)
	}
	g.room = running + cpus*batch
	return cpus * batch
}

// wait returns how long those wait that were not let in.
func (g *gate) wait(now int64) time.Duration {
	if g.opens <= now {
		g.opens, g.used = now+int64(breath), int64(g.cpu())
	}
	return time.Duration(g.opens - now)
}

// full reports whether so many on their way are too many for one that ends to be
// followed by the next.
func (g *gate) full(running int) bool { return g.opens > 0 && running > g.room }

// open is for when none wait, or those that do wait for one of the agent's places.
func (g *gate) open() { g.opens = 0 }
