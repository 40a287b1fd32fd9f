package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"vpcprobe/probes"
)

// How the schedule works: every walk that is not under way waits in one heap,
// ordered by when its next step falls due. Due times are absolute, on points
// that depend on nothing but the target's name and the pace, so a walk that
// takes long or starts late does not shift the next one, and a restarted agent
// probes at the same moments. They share a coarse grid, because waking up costs
// more than a cheap probe (measured: a sixth of the CPU for lookups). A goroutine
// exists only while its target is walked, but for a few that wait for the next.
// A walk that is still under way when it would be due again has missed a run:
// runs are counted, never queued.

const (
	grid = probes.Grid

	// The first walks are spread over opening, so that all are done within five
	// seconds of the process's start, or over less if there are few: one every
	// startGap. Before them a thousand targets are read, which took 0.2 s on a
	// disturbed machine.
	opening  = 4500 * time.Millisecond
	startGap = 5 * time.Millisecond

	// So many goroutines at most wait for further walks: one that is new has to
	// grow its stack, which costs a tenth of a cheap probe. At 400 a second, no
	// more walk at the same time.
	maxSpare = 48

	farewell = 1500 * time.Millisecond // how long Run waits for probes that ignore their context
	stalled  = time.Minute             // how long no walk begins, though one is due, before the agent calls itself unwell
)

// Stats tell how well the agent keeps its schedule.
type Stats struct {
	Targets  int           // configured
	InFlight int           // being walked
	Waiting  int           // due, waiting for the gate or for one of the places
	Runs     uint64        // walks begun
	Late     uint64        // walks begun more than a grid step (25 ms) after they fell due
	Missed   uint64        // walks left out because the one before was still under way, or this process stopped
	Lag      time.Duration // the longest that a walk began after it fell due, in the last half to whole minute
}

// counts are the parts of Stats that are kept.
type counts struct {
	runs, late, missed uint64
	lag                [2]time.Duration // of this half minute and the one before
	turn               int64            // when this half minute began
	latest             int64            // when a walk last began
}

// Stats returns how well the agent keeps its schedule.
func (a *Agent) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts.rotate(a.now())
	return Stats{
		Targets: len(a.walks), InFlight: a.running, Waiting: a.ready.len(),
		Runs: a.counts.runs, Late: a.counts.late, Missed: a.counts.missed,
		Lag: max(a.counts.lag[0], a.counts.lag[1]),
	}
}

func (c *counts) rotate(now int64) {
	const half = int64(30 * time.Second)
	switch age := now - c.turn; {
	case age >= 2*half:
		c.lag, c.turn = [2]time.Duration{}, now
	case age >= half:
		c.lag, c.turn = [2]time.Duration{0, c.lag[0]}, now
	}
}

// began counts a walk that begins.
func (c *counts) began(now int64, w *walk) {
	c.rotate(now)
	lag := time.Duration(now - w.wake)
	c.lag[0] = max(c.lag[0], lag)
	c.latest = now
	c.runs++
	if lag > grid {
		c.late++
	}
}

// now is the schedule's clock in nanoseconds: wall-clock time when the agent
// was made, monotonic from there. Steps of the wall clock do not move it.
func (a *Agent) now() int64 { return a.epoch.UnixNano() + int64(time.Since(a.epoch)) }

// Run walks every target at its own pace and hands the rounds to the sinks,
// until ctx is done. Then it aborts the probes in flight, whose rounds are
// interrupted and not recorded, and returns. An agent runs once.
func (a *Agent) Run(ctx context.Context, sinks ...Sink) {
	a.start(sinks)
	defer a.pulse.start(ctx)()
	alarm := a.newAlarm()
	defer alarm.Close()
	for ctx.Err() == nil {
		wait := a.dispatch(ctx)
		alarm.Set(a.rests.end(a.now(), wait))
		select {
		case <-ctx.Done():
		case <-alarm.Rings():
		case <-a.nudged:
		case <-a.pings:
		}
	}
	a.rests.stop()
	a.stop()
}

func (a *Agent) newAlarm() Alarm {
	if a.alarm != nil {
		if alarm := a.alarm(); alarm != nil {
			return alarm
		}
	}
	return timer{time.NewTimer(0)}
}

// A timer is an [Alarm] of the runtime's.
type timer struct{ timer *time.Timer }

func (t timer) Set(after time.Duration) { t.timer.Reset(after) }
func (t timer) Rings() <-chan time.Time { return t.timer.C }
func (t timer) Close() error            { t.timer.Stop(); return nil }

func (a *Agent) start(sinks []Sink) {
	a.recording.Lock()
	defer a.recording.Unlock()
	a.sinks = sinks
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = true
	a.schedule(a.walks)
}

// stop waits for the walks under way, but not for ever: a probe that ignores
// its context must not keep the program from ending.
func (a *Agent) stop() {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	close(a.handed)
	idle := make(chan struct{})
	go func() { a.busy.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(farewell):
		a.log.Warn("stopped without waiting for probes that ignore the end", "in_flight", a.Stats().InFlight)
	}
}

// Health returns nil if the scheduler is alive and what is due gets its turn.
// It says nothing about the targets: where most of them are silent, many are
// walked for long and others wait for minutes, and an agent that was restarted
// for that would lose sight of the outage.
func (a *Agent) Health(ctx context.Context) error {
	select {
	case a.pings <- struct{}{}:
	case <-ctx.Done():
		return errors.New("the scheduler does not answer")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.ready.head(); w != nil {
		late, idle := time.Duration(a.now()-w.wake), time.Duration(a.now()-a.counts.latest)
		if min(late, idle) > stalled {
			return fmt.Errorf("target %q has been due for %v, and %d walks do not end", w.target.Name, late.Round(time.Second), a.running)
		}
	}
	return nil
}

// nudge makes the scheduler look again.
func (a *Agent) nudge() {
	select {
	case a.nudged <- struct{}{}:
	default:
	}
}

// dispatch starts what is due, as far as there are places and the gate lets it,
// and returns how long there is nothing to do.
func (a *Agent) dispatch(ctx context.Context) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for len(a.idle) > 0 && a.idle[0].wake <= now {
		a.ready.push(a.idle.pop())
	}
	for n := a.gate.admit(now, a.running); n > 0 && a.running < a.limit && a.ready.len() > 0; n-- {
		w := a.take(now)
		a.running++
		select {
		case a.handed <- w:
		default:
			a.busy.Go(func() { a.work(ctx, w) })
		}
	}
	if a.running < a.limit && a.ready.len() > 0 {
		return a.gate.wait(now)
	}
	a.gate.open()
	if len(a.idle) == 0 {
		return time.Hour
	}
	return time.Duration(a.idle[0].wake - now)
}

// take returns the walk whose turn it is, nil if there is none.
func (a *Agent) take(now int64) *walk {
	w := a.ready.pop()
	if w != nil {
		a.counts.began(now, w)
	}
	return w
}

// work walks one target, and then others.
func (a *Agent) work(ctx context.Context, w *walk) {
	s := a.stride(ctx, nil)
	for w != nil {
		r := s.walkAll(w)
		a.reschedule(s, &r)
		if ctx.Err() == nil {
			a.record(w, Update{&r, fresh(joined(s.obs), r.Started)})
		}
		if w = a.finish(w); w == nil {
			w = a.another()
		}
	}
}

// another waits for a walk. It returns nil if enough goroutines do so, and when
// the agent stops.
func (a *Agent) another() *walk {
	if !a.stay() {
		return nil
	}
	defer a.leave()
	return <-a.handed
}

func (a *Agent) stay() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.spare >= maxSpare {
		return false
	}
	a.spare++
	return true
}

func (a *Agent) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spare--
}

// record keeps a round and hands it to the sinks, unless its target is no
// longer configured.
func (a *Agent) record(w *walk, u Update) {
	a.recording.RLock()
	defer a.recording.RUnlock()
	if w.gone {
		return
	}
	w.latest.Store(u.Round)
	for _, s := range a.sinks {
		a.contain("a sink", func() { s.Record(u) })
	}
}

// finish puts a walk back among the idle ones and returns the next whose turn
// it is, nil if there is none.
func (a *Agent) finish(w *walk) *walk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !w.gone {
		a.idle.push(w)
		if a.idle[0] == w {
			a.nudge()
		}
	}
	if !a.stopping && !a.gate.full(a.running) {
		if next := a.take(a.now()); next != nil {
			return next
		}
	}
	a.running--
	return nil
}

// contain runs f, and returns an error if it panics. Whatever panics has found
// a bug in itself, not a fault in the target, and must not stop the others.
// This is the only place that recovers.
func (a *Agent) contain(what string, f func()) error {
	return a.containIn(func() string { return what }, f)
}

// containIn is contain where it takes work to say what f is.
func (a *Agent) containIn(what func() string, f func()) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = fmt.Errorf("panic: %s", probes.Scrub(fmt.Sprint(p), 300))
		if what := what(); a.panicked(what) {
			a.log.Error("a bug in vpcprobe was contained; please report it", "in", what, "error", err, "stack", string(debug.Stack()))
		}
	}()
	f()
	return nil
}

// panicked reports whether a panic is worth a line in the log: one a minute
// for each place.
func (a *Agent) panicked(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.panics[what]; ok && a.now()-last < int64(time.Minute) {
		return false
	}
	if a.panics == nil {
		a.panics = map[string]int64{}
	}
	a.panics[what] = a.now()
	return true
}

// schedule makes all steps of new walks due for a first walk, spread over a
// short while. The caller holds the lock.
func (a *Agent) schedule(walks []*walk) {
	now := a.now()
	spread := min(opening, time.Duration(len(walks))*startGap)
	for _, w := range walks {
		for i := range w.steps {
			w.steps[i].due = now
			if w.steps[i].probe == nil {
				w.steps[i].due = never
			}
		}
		w.wake = now + phase(w.target.Name, min(spread, base(w.target)))
		a.idle.push(w)
	}
}

// reschedule sets when the steps of a walk that has just been made fall due
// again. What fell due while the walk was under way has missed that moment, and
// its turn is now.
func (a *Agent) reschedule(s *stride, r *Round) {
	w, now := s.walk, a.now()
	missed := a.missed(w, now)
	failing := r.failing()
	turned := failing != w.failing || (r.Failing > 0) != (w.round().Failing > 0)
	wake := int64(never)
	for i := range w.steps {
		if w.steps[i].probe == nil {
			continue
		}
		every := a.every(w, i, r, failing)
		switch st := &w.steps[i]; {
		case s.ran.has(i) || st.due <= w.wake:
			st.due = next(w.target, every, now)
		case s.changed.below(i):
			st.due = now // what it stands on changed beside it
		case turned && (a.kinds[i].Every > 0 || every > base(w.target)):
			st.due = now // callers began or ceased to fail: a slow kind may see why
		default:
			st.due = min(st.due, next(w.target, every, now))
		}
		wake = min(wake, max(w.steps[i].due, now))
	}
	w.wake, w.failing = wake, failing
	if wake < never {
		w.wake = onGrid(wake)
	}
	a.mu.Lock()
	a.counts.missed += missed
	a.mu.Unlock()
}

// onGrid returns the first moment of the schedule's grid that is not before at.
func onGrid(at int64) int64 { return (at + int64(grid) - 1) / int64(grid) * int64(grid) }

// missed is how many runs a walk that has just been made let pass, at the pace
// that was in force.
func (a *Agent) missed(w *walk, now int64) uint64 {
	if now-w.wake < int64(grid) {
		return 0 // no pace is faster
	}
	before := w.round()
	fastest := time.Duration(never)
	for i := range w.steps {
		if w.steps[i].probe != nil {
			fastest = min(fastest, a.every(w, i, before, w.failing))
		}
	}
	return uint64((now - w.wake) / int64(fastest))
}

// every is how often a step runs after a round: at its pace. But a step that
// failed, and that others stand on, is made again as often as the target is
// walked: else they would wait for it after the failure has passed. So is one that
// says why others failed: they may fail by now for another reason in the same way.
// Silence says nothing of the kind.
func (a *Agent) every(w *walk, i int, r *Round, failing bool) time.Duration {
	k := &a.kinds[i]
	every := Pace(w.target, k, failing)
	ended := func(silent bool) bool {
		return slices.ContainsFunc(r.Evidence.Of(k.Name), func(o probes.Observation) bool {
			return o.Outcome.Blames() && (silent || o.Outcome != probes.Timeout)
		})
	}
	if failing && (a.carries(w, i) && ended(true) || k.Refine != nil && ended(false)) {
		return min(every, Pace(w.target, &probes.Kind{}, failing))
	}
	return every
}

// carries reports whether steps on lanes stand on a step.
func (a *Agent) carries(w *walk, i int) bool {
	if i != a.lanes && a.kinds[i].Per != probes.PerLane {
		return false
	}
	for j := i + 1; j < len(w.steps); j++ {
		if a.kinds[j].Per == probes.PerLane && w.steps[j].probe != nil {
			return true
		}
	}
	return false
}

// failing reports whether callers fail. Warnings alone are no reason to probe
// faster.
func (r Round) failing() bool {
	if r.Verdict == Degraded {
		return r.Failing > 0 || slices.ContainsFunc(r.Findings, probes.Finding.Breaks)
	}
	return r.Verdict != Reachable
}

// base is the pace of a target.
func base(t *probes.Target) time.Duration {
	return max(t.Interval(), grid)
}

// Pace is how often a kind runs for a target: as configured for the kind, or
// as the kind asks for but no more often than the target, or as the target.
func Pace(t *probes.Target, k *probes.Kind, failing bool) time.Duration {
	switch {
	case t.Pace[k.Name] > 0:
		return max(t.Pace[k.Name], grid)
	case k.Every > 0:
		return max(k.Every, base(t))
	case failing && t.WhileFailing > 0:
		return max(t.WhileFailing, grid)
	}
	return base(t)
}

// next is the first moment after now at which something of the target that
// runs at a pace is due. All paces of a target share moments, so that its
// steps can share a connection; those slower than the target itself are spread
// over its moments.
func next(t *probes.Target, every time.Duration, now int64) int64 {
	b := base(t)
	at := phase(t.Name, b)
	if every > b {
		at += phase("slow "+t.Name, every/b*grid) / int64(grid) * int64(b)
	}
	at %= int64(every)
	return at + ((now-at)/int64(every)+1)*int64(every)
}

// phase is a stable point on the grid within a window.
func phase(name string, window time.Duration) int64 {
	slots := max(1, uint64(window/grid))
	return int64(hash(name)%slots) * int64(grid)
}

// Shard says which of n shards a target belongs to, from 0, by its name alone.
func Shard(target string, n int) int { return int(hash("shard "+target) % uint64(n)) }

// hash is FNV-1a with a final mix, so that names which differ in one digit are
// spread evenly. It is part of the agent's contract: a target keeps its phase
// and shard over restarts and versions.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
