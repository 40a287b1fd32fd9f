package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Rests are ended by the schedule's alarm, on its grid: walks that wait for nothing
// but a moment wake up together, and with those that begin. A timer of the runtime's
// for each would wake the process once more, up to a millisecond later, and its
// monitor as well: a twentieth of the CPU time of a connect.
type rests struct {
	nudge func() // makes the scheduler look again

	mu    sync.Mutex
	open  bool   // the scheduler runs
	ends  []rest // the soonest first
	alarm int64  // when the scheduler looks again
}

// A rest is what some walks wait for.
type rest struct {
	at   int64 // on the schedule's clock
	over chan struct{}
}

// rest is [probes.System.Rest].
func (a *Agent) rest(until time.Time) bool {
	over := a.rests.until(onGrid(a.now() + int64(time.Until(until))))
	if over == nil {
		return false
	}
	<-over
	return true
}

// until returns what is closed at a time, nil if the scheduler does not run.
func (r *rests) until(at int64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return nil
	}
	i, known := slices.BinarySearchFunc(r.ends, at, func(e rest, at int64) int { return cmp.Compare(e.at, at) })
	if !known {
		r.ends = slices.Insert(r.ends, i, rest{at, make(chan struct{})})
		if at < r.alarm {
			r.nudge()
		}
	}
	return r.ends[i].over
}

// end ends the rests that are over, and returns when to look again: after wait,
// which may be for ever, or sooner if another ends then.
func (r *rests) end(now int64, wait time.Duration) time.Duration {
	wait = min(wait, time.Hour)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for ; n < len(r.ends) && r.ends[n].at <= now; n++ {
		close(r.ends[n].over)
	}
	r.ends = slices.Delete(r.ends, 0, n)
	if len(r.ends) > 0 {
		wait = min(wait, time.Duration(r.ends[0].at-now))
	}
	r.open, r.alarm = true, now+int64(wait)
	return wait
}

// stop ends all rests, and lets none begin.
func (r *rests) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.ends {
		close(e.over)
	}
	r.ends, r.open = nil, false
}
