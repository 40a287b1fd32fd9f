package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

// run runs the agent for a while.
func run(t *testing.T, a *Agent, d time.Duration, sinks ...Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	a.Run(ctx, sinks...)
}

// A clock notes when something happened, since it was made.
type clock struct {
	mu    sync.Mutex
	start time.Time
	at    map[string][]time.Duration
}

func newClock() *clock { return &clock{start: time.Now(), at: map[string][]time.Duration{}} }

func (c *clock) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[what] = append(c.at[what], time.Since(c.start))
}

// ticks is a probe that notes when it runs.
func (c *clock) ticks(name string, o func() probes.Outcome) fake {
	return func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
		c.note(name)
		return []probes.Observation{{Outcome: o()}}
	}
}

func well() probes.Outcome { return probes.OK }

// gaps are the intervals, without the first: it leads from the opening spread
// to the target's phase.
func gaps(at []time.Duration) map[time.Duration]int {
	n := map[time.Duration]int{}
	for i := 2; i < len(at); i++ {
		n[at[i]-at[i-1]]++
	}
	return n
}

// Each kind keeps its own pace exactly, whatever a walk takes.
func TestPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slow := kind("slow", probes.PerTarget, c.ticks("slow", well))
		slow.Every = time.Minute
		hasty := kind("hasty", probes.PerTarget, c.ticks("hasty", well))
		hasty.Every = time.Second // no faster than the target
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"paced": 25 * time.Second}
		lasting := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
			time.Sleep(3333 * time.Millisecond)
			return c.ticks("lasting", well)(ctx, seen, line)
		}
		a := newAgent(t, []probes.Kind{
			opens(lasting, lanes()), kind("paced", probes.PerTarget, c.ticks("paced", well)), slow, hasty,
		}, orders)
		run(t, a, 10*time.Minute+time.Second)
		want := map[string]map[time.Duration]int{
			"lasting": {10 * time.Second: 59},
			"hasty":   {10 * time.Second: 59},
			"slow":    {time.Minute: 9},
		}
		for name, w := range want {
			if diff := cmp.Diff(w, gaps(c.at[name])); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		// 25 s does not divide by the target's 10 s, so it has a rhythm of its own.
		for gap := range gaps(c.at["paced"]) {
			if gap < 21*time.Second || gap > 29*time.Second {
				t.Errorf("paced after %v", gap)
			}
		}
		if n := len(c.at["paced"]); n != 25 {
			t.Errorf("paced ran %d times", n)
		}
		if s := a.Stats(); s.Missed != 0 || s.Late != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Targets start within five seconds, fewer sooner, and then spread evenly over
// the interval; a restarted agent probes at the same moments.
func TestPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, every = 2000, 20 * time.Second
		var targets []*probes.Target
		for i := range n {
			target := target(fmt.Sprintf("target-%d", i))
			target.Every = every
			targets = append(targets, target)
		}
		cycle := func() map[string]int64 {
			c := newClock()
			tick := func(_ context.Context, seen probes.Evidence, _ *probes.Line) []probes.Observation {
				c.note(seen.Target.Name)
				return []probes.Observation{{Outcome: probes.OK}}
			}
			a := newAgent(t, []probes.Kind{opens(tick, lanes())}, targets...)
			run(t, a, time.Minute)
			phases := map[string]int64{}
			tenths := map[int64]int{}
			for name, at := range c.at {
				if at[0] > 5*time.Second {
					t.Errorf("%s began after %v", name, at[0])
				}
				if len(gaps(at)) > 1 {
					t.Errorf("%s: %v", name, at)
				}
				phases[name] = c.start.Add(at[1]).UnixNano() % int64(every)
				tenths[phases[name]/int64(100*time.Millisecond)]++
			}
			for tenth, got := range tenths { // 200 tenths of a second, 10 each
				if got > 25 {
					t.Errorf("%d of %d targets in the same tenth of a second (%d)", got, n, tenth)
				}
			}
			return phases
		}
		first := cycle()
		time.Sleep(1234567 * time.Microsecond)
		second := cycle()
		if len(first) != n {
			t.Fatalf("%d targets ran", len(first))
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

// A single target is walked at once.
func TestOneTargetStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		run(t, newAgent(t, []probes.Kind{opens(c.ticks("x", well), lanes())}, target("orders")), time.Second)
		if c.at["x"][0] != 0 {
			t.Error(c.at)
		}
	})
}

// A walk still under way when it would be due again has missed its runs: they
// are counted and not made up for. Other targets do not notice.
func TestMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		step := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
			if seen.Target.Name == "slow" {
				time.Sleep(350 * time.Millisecond)
			}
			return c.ticks(seen.Target.Name, well)(ctx, seen, line)
		}
		slow, quick := target("slow"), target("quick")
		slow.Every, quick.Every = 100*time.Millisecond, 100*time.Millisecond
		a := newAgent(t, []probes.Kind{opens(step, lanes())}, slow, quick)
		run(t, a, 40*time.Second+10*time.Millisecond)
		if diff := cmp.Diff(map[time.Duration]int{100 * time.Millisecond: 399}, gaps(c.at["quick"])); diff != "" {
			t.Error(diff)
		}
		for gap := range gaps(c.at["slow"]) {
			if gap != 400*time.Millisecond {
				t.Errorf("slow after %v", gap)
			}
		}
		s := a.Stats()
		if n := uint64(len(c.at["slow"])); s.Missed != 3*n {
			t.Errorf("%d missed in %d runs, want 3 in each", s.Missed, n)
		}
	})
}

// A moment that a walk has let pass is missed once, whichever kinds were due at
// it and in whichever walk they have their turn; and that turn is not late, since
// nothing but their own target was in the way.
func TestMissedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		traced, lasted := false, false
		step := func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			if traced && !lasted {
				lasted = true
				time.Sleep(20*time.Second + 500*time.Millisecond)
			}
			return []probes.Observation{{Outcome: probes.OK}}
		}
		trace := kind("trace", probes.PerTarget, c.ticks("trace", func() probes.Outcome {
			traced = traced || time.Since(c.start) > 30*time.Second
			return probes.OK
		}))
		trace.Every = 5 * time.Second
		orders := target("orders")
		orders.Every = time.Second
		a := newAgent(t, []probes.Kind{opens(step, lanes()), trace}, orders)
		run(t, a, 80*time.Second)
		if s := a.Stats(); !lasted || s.Missed != 20 || s.Late != 0 || s.Lag != 0 {
			t.Errorf("%+v, want 20 missed and none late", s)
		}
		if n := gaps(c.at["trace"])[5*time.Second]; n < 6 {
			t.Errorf("trace kept its pace %d times: %v", n, c.at["trace"])
		}
	})
}

// What is missed is missed at the pace that was in force, not at the faster one
// that a failure brings about.
func TestMissedAtThePaceInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		walks := 0
		silentOnce := func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			if walks++; walks != 3 {
				return []probes.Observation{{Outcome: probes.OK}}
			}
			time.Sleep(5 * time.Second)
			return []probes.Observation{{Outcome: probes.Timeout}}
		}
		orders := target("orders")
		orders.Every, orders.WhileFailing = 20*time.Second, time.Second
		a := newAgent(t, []probes.Kind{opens(ends(probes.OK), lanes(1)), kind("connect", probes.PerLane, silentOnce)}, orders)
		run(t, a, 2*time.Minute)
		if s := a.Stats(); walks < 6 || s.Missed != 0 {
			t.Errorf("%+v after %d walks: the next was due long after the one that failed", s, walks)
		}
	})
}

// Where so many targets are silent that all places are taken, others wait for
// minutes. What is due gets its turn all the same: an agent that was restarted
// for that would lose sight of the outage.
func TestHealthWhileMostTargetsAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
			}
			return []probes.Observation{{Outcome: probes.Timeout}}
		}
		var targets []*probes.Target
		for i := range 200 {
			targets = append(targets, target(fmt.Sprintf("target-%d", i)))
		}
		a, err := New(targets, []probes.Kind{opens(silent, lanes())}, probes.System{}, Options{Concurrency: 8})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(4 * time.Minute)
			if err := a.Health(t.Context()); err != nil {
				t.Error(err)
			}
			if lag := a.Stats().Lag; lag < stalled {
				t.Errorf("nobody has waited for long, but %v", lag)
			}
		}()
		run(t, a, 5*time.Minute)
	})
}

// No more targets are walked at once than the limit says, and those waiting
// get their turn in order.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &crowd{}
		var order []string
		var targets []*probes.Target
		for i := range 40 {
			x := target(fmt.Sprintf("target-%d", i))
			x.Every = time.Minute
			targets = append(targets, x)
		}
		step := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
			on.Lock()
			order = append(order, seen.Target.Name)
			on.Unlock()
			return on.walks(500*time.Millisecond)(ctx, seen, line)
		}
		a, err := New(targets, []probes.Kind{opens(step, lanes())}, probes.System{}, Options{Concurrency: 4})
		if err != nil {
			t.Fatal(err)
		}
		run(t, a, 5*time.Second) // 200 ms of dues, 10 batches of half a second
		if on.most != 4 {
			t.Errorf("%d at once", on.most)
		}
		seen := map[string]bool{}
		for _, name := range order[:40] {
			seen[name] = true
		}
		if len(seen) != 40 {
			t.Errorf("only %d of 40 targets had their turn in the first 40 walks", len(seen))
		}
		s := a.Stats()
		if s.Late < 30 || s.Lag < 4*time.Second {
			t.Errorf("%+v: walks that waited are late", s)
		}
	})
}

// While it fails, a target is walked faster; healed, it returns to its own
// moments.
func TestWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		broken := func() probes.Outcome {
			if at := time.Since(c.start); at > 65*time.Second && at < 95*time.Second {
				return probes.Timeout
			}
			return probes.OK
		}
		orders := target("orders")
		orders.Every, orders.WhileFailing = 20*time.Second, 2*time.Second
		trace := kind("trace", probes.PerTarget, c.ticks("trace", well))
		trace.Every = time.Hour
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1)),
			kind("connect", probes.PerLane, c.ticks("connect", broken)),
			trace,
		}, orders)
		run(t, a, 200*time.Second)
		got := gaps(c.at["connect"])
		if got[2*time.Second] < 6 || got[2*time.Second] > 15 {
			t.Errorf("%v", got)
		}
		var phases []time.Duration
		for _, at := range slices.Concat(c.at["connect"][1:3], c.at["connect"][len(c.at["connect"])-2:]) {
			phases = append(phases, at%(20*time.Second))
		}
		if len(slices.Compact(phases)) != 1 {
			t.Errorf("the phase moved: %v", phases)
		}
		if n := len(c.at["trace"]); n != 3 { // the first walk, the failure, the recovery
			t.Errorf("trace ran %d times", n)
		}
	})
}

// stalled is how what hangs for half a minute in the second one ends.
func (c *clock) stalled() probes.Outcome {
	if at := time.Since(c.start); at > 65*time.Second && at < 95*time.Second {
		return probes.Timeout
	}
	return probes.OK
}

// whileTLSStalls runs an agent whose handshakes hang for a while, and a trace
// that is rarely due by itself.
func whileTLSStalls(t *testing.T, c *clock, trace probes.Kind) *Agent {
	trace.Every = time.Hour
	a := newAgent(t, []probes.Kind{
		opens(ends(probes.OK), lanes(1)),
		kind("connect", probes.PerLane, ends(probes.OK)),
		trace,
		kind("handshake", probes.PerLane, c.ticks("handshake", c.stalled)),
	}, target("orders"))
	run(t, a, 200*time.Second)
	return a
}

// A kind with a slow pace of its own looks at once when callers begin or cease
// to fail, even on a layer above it: a trace may see why handshakes time out.
func TestSlowKindsLookWhenCallersBeginToFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		whileTLSStalls(t, c, kind("trace", probes.PerTarget, c.ticks("trace", well)))
		if n := len(c.at["trace"]); n != 3 { // the first walk, the failure, the recovery
			t.Errorf("trace ran %d times, at %v", n, c.at["trace"])
		}
	})
}

// So does a layer below that is configured to be slow, lest what only it can see
// stays unexplained until its time comes. As long as it fails, it looks again at
// the target's pace: others wait for it.
func TestSlowLayersLookWhenThoseAboveBeginToFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"connect": time.Hour}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1)),
			kind("connect", probes.PerLane, c.ticks("connect", c.stalled)),
			kind("handshake", probes.PerLane, c.ticks("handshake", c.stalled)), // which dials for itself
		}, orders)
		run(t, a, 200*time.Second)
		r, _ := a.StatusOf("orders")
		if n := len(c.at["connect"]); n != 5 || r.Verdict != Reachable { // the first walk, the failure, and every ten seconds until it has passed
			t.Errorf("connect ran %d times, at %v; %s", n, c.at["connect"], r.Verdict)
		}
	})
}

// What such a kind has found itself is no reason not to look again when callers
// have ceased to fail.
func TestSlowKindsLookAgainAtWhatTheyFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		trace := kind("trace", probes.PerTarget, c.ticks("trace", c.stalled))
		trace.Rules = []*probes.Rule{rule("black-hole", "trace", probes.Error)}
		a := whileTLSStalls(t, c, trace)
		if r, _ := a.StatusOf("orders"); verdictAndFindings(r) != "reachable:" {
			t.Errorf("%s; trace ran at %v", verdictAndFindings(r), c.at["trace"])
		}
	})
}

// A kind that says why a lower one fails says so of what is, not of what was: the
// lower one may go on failing alike, for another reason. Silence says nothing.
func TestKindsThatRefineKeepUp(t *testing.T) {
	for _, tt := range []struct {
		first, then probes.Outcome
		runs        int // those within the 100 s, or the first
	}{
		{probes.Prohibited, probes.Unreachable, 11},
		{probes.Timeout, probes.Timeout, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClock()
			trace := kind("trace", probes.PerTarget, c.ticks("trace", func() probes.Outcome {
				if time.Since(c.start) < 55*time.Second {
					return tt.first
				}
				return tt.then
			}))
			trace.Every = time.Hour
			trace.Refine = func(_ probes.Evidence, found []probes.Finding) []probes.Finding { return found }
			a := newAgent(t, []probes.Kind{
				opens(ends(probes.OK), lanes(1)),
				kind("connect", probes.PerLane, ends(probes.Unreachable)),
				trace,
			}, target("orders"))
			run(t, a, 100*time.Second)
			r, _ := a.StatusOf("orders")
			if got := r.Evidence.Of("trace")[0].Outcome; got != tt.then || len(c.at["trace"]) != tt.runs {
				t.Errorf("%s first: %s at last; trace ran %d times, at %v", tt.first, got, len(c.at["trace"]), c.at["trace"])
			}
		})
	}
}

// When a lower layer changes its mind, the layers above look again in the same
// round, on all lanes.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		connect := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
			line.Conn = conn{close: func() {}}
			if line.Lane == lane(2) && time.Since(c.start) > 35*time.Second {
				return []probes.Observation{{Outcome: probes.Timeout}}
			}
			return []probes.Observation{{Outcome: probes.OK}}
		}
		var carried atomic.Bool // lanes are walked side by side
		handshake := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
			if time.Since(c.start) > time.Second && line.Conn != nil {
				carried.Store(true)
			}
			return c.ticks("handshake "+line.Addr.Addr().String(), well)(ctx, seen, line)
		}
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"handshake": time.Hour, "followup": time.Hour}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1, 2)),
			kind("connect", probes.PerLane, connect),
			kind("handshake", probes.PerLane, handshake),
			kind("followup", probes.PerTarget, c.ticks("followup", well)),
		}, orders)
		var broken []string
		run(t, a, time.Minute, sink(func(r Update) {
			if o := r.Evidence.Ended("connect", probes.Timeout); len(o) > 0 && len(broken) == 0 {
				for _, o := range r.Fresh {
					broken = append(broken, o.Kind)
				}
			}
		}))
		for _, what := range []string{"handshake 10.0.0.1", "handshake 10.0.0.2", "followup"} {
			if at := c.at[what]; len(at) != 2 || at[1] < 35*time.Second || at[1] > 45*time.Second {
				t.Errorf("%s ran at %v", what, at)
			}
		}
		if diff := cmp.Diff([]string{"resolve", "connect", "connect", "handshake", "handshake", "followup"}, broken); diff != "" {
			t.Error(diff)
		}
		if carried.Load() {
			t.Error("a connection was carried over a gap")
		}
	})
}

// Other lanes are other ground, though every lookup ended as before.
func TestLanesThatChangeHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"connect": time.Hour}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), func() []probes.Lane {
				if at := time.Since(c.start); at > 35*time.Second {
					return lanes(3, 2)()
				} else if at > 15*time.Second {
					return lanes(2, 1)() // the order means nothing
				}
				return lanes(1, 2)()
			}),
			kind("connect", probes.PerLane, c.ticks("connect", well)),
		}, orders)
		var last Round
		run(t, a, time.Minute, sink(func(u Update) { last = *u.Round }))
		if n := len(c.at["connect"]); n != 4 {
			t.Errorf("connected %d times, want twice on each of two lanes", n)
		}
		var addrs []string
		for _, o := range last.Evidence.Of("connect") {
			addrs = append(addrs, o.Addr.Addr().String())
		}
		if got := strings.Join(addrs, " "); got != "10.0.0.3 10.0.0.2" {
			t.Errorf("evidence of %s", got)
		}
	})
}

// A change that is seen beside the lanes makes the steps above due in a round
// of their own, at once.
func TestHurryBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		rotated := func() probes.Outcome {
			if time.Since(c.start) > 35*time.Second {
				return probes.Invalid
			}
			return probes.OK
		}
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"handshake": time.Hour}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1)),
			kind("identify", probes.PerTarget, c.ticks("identify", rotated)),
			kind("handshake", probes.PerLane, c.ticks("handshake", well)),
		}, orders)
		run(t, a, time.Minute)
		if at := c.at["handshake"]; len(at) != 2 || at[1] < 35*time.Second || at[1] > 46*time.Second {
			t.Errorf("handshake at %v, identify at %v", at, c.at["identify"])
		}
	})
}

// Evidence of kinds that are not due is carried from round to round.
func TestEvidenceIsCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := target("orders")
		orders.Pace = map[string]time.Duration{"invoke": time.Hour}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1)),
			kind("connect", probes.PerLane, ends(probes.OK)),
			kind("invoke", probes.PerLane, ends(probes.Denied)),
		}, orders)
		var rounds []Update
		run(t, a, 25*time.Second, sink(func(u Update) { rounds = append(rounds, u) }))
		last := rounds[len(rounds)-1]
		if got := outcomes(*last.Round); got != "resolve=ok connect=ok invoke=denied" {
			t.Error(got)
		}
		if len(last.Fresh) != 2 || last.Verdict != Unreachable {
			t.Errorf("%d fresh, %s", len(last.Fresh), last.Verdict)
		}
		if !last.Since.Equal(rounds[0].Started) {
			t.Errorf("since %v, want since the first round, %v", last.Since, rounds[0].Started)
		}
		if now, _ := a.StatusOf("orders"); !now.Started.Equal(last.Started) {
			t.Error("the status is not the latest round")
		}
	})
}

// What a kind remembers of an earlier walk is evidence, but not fresh, even
// where nothing else is.
func TestRememberedIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first time.Time
		remembers := func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			if first.IsZero() {
				first = time.Now()
			}
			return []probes.Observation{{Outcome: probes.Denied, Start: first}, {Outcome: probes.OK}}
		}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1)),
			kind("followup", probes.PerTarget, remembers),
		}, target("orders"))
		var got []string
		run(t, a, 25*time.Second, sink(func(u Update) {
			fresh := ""
			for _, o := range u.Fresh {
				fresh += fmt.Sprintf("%s=%s ", o.Kind, o.Outcome)
			}
			got = append(got, fresh+"of "+outcomes(*u.Round))
		}))
		known := "of resolve=ok followup=denied followup=ok"
		want := []string{
			"resolve=ok followup=denied followup=ok " + known,
			"resolve=ok followup=ok " + known,
			"resolve=ok followup=ok " + known,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// At the end, rounds that were interrupted are not recorded.
func TestEndOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			<-ctx.Done()
			return []probes.Observation{{Outcome: probes.Timeout}}
		}
		a := newAgent(t, []probes.Kind{opens(hangs, lanes())}, target("orders"))
		start := time.Now()
		run(t, a, 300*time.Millisecond, sink(func(Update) { t.Error("recorded") }))
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("stopped after %v", took)
		}
		if r := a.Status()[0]; r.Verdict != Unknown || !r.Started.IsZero() {
			t.Errorf("%+v", r)
		}
	})
}

// A probe that ignores the end does not keep the agent from ending.
func TestStubbornProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, []probes.Kind{opens(func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			time.Sleep(time.Minute)
			return nil
		}, lanes())}, target("orders"))
		start := time.Now()
		run(t, a, time.Second, sink(func(Update) { t.Error("recorded") }))
		if took := time.Since(start); took != time.Second+farewell {
			t.Errorf("stopped after %v", took)
		}
		time.Sleep(time.Minute)
	})
}

// A sink that panics does not stop the agent.
func TestSinkThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		a := newAgent(t, []probes.Kind{opens(ends(probes.OK), lanes())}, target("orders"))
		run(t, a, 35*time.Second, sink(func(Update) { panic("sink") }), sink(func(Update) { n++ }))
		if n < 4 {
			t.Errorf("recorded %d times", n)
		}
	})
}

// A bystander records rounds and what was forgotten.
type bystander struct {
	mu     sync.Mutex
	rounds map[string]int
	forgot []string
}

func (b *bystander) Record(r Update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rounds[r.Evidence.Target.Name]++
}

func (b *bystander) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rounds, name)
	b.forgot = append(b.forgot, name)
}

// A reload keeps what did not change, even while it is walked, and a bad one
// changes nothing.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		built := map[string]int{}
		k := probes.Kind{Name: "resolve", Lanes: func(probes.Evidence) []probes.Lane { return nil }}
		k.New = func(probes.System) probes.Constructor {
			return func(x *probes.Target) (probes.Probe, error) {
				built[x.Name]++
				if x.Domain == "bad" {
					return nil, errors.New("bad domain")
				}
				return fake(func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
					select {
					case <-time.After(9 * time.Second):
					case <-ctx.Done():
					}
					return c.ticks(x.Name, well)(ctx, seen, line)
				}), nil
			}
		}
		a := newAgent(t, []probes.Kind{k}, target("same"), target("changed"), target("removed"))
		b := &bystander{rounds: map[string]int{}}
		go func() {
			time.Sleep(55 * time.Second)
			bad := target("added")
			bad.Domain = "bad"
			if err := a.Reload([]*probes.Target{bad}); err == nil || err.Error() != `target "added": resolve: bad domain` {
				t.Errorf("error %v", err)
			}
			if a.Stats().Targets != 3 {
				t.Error("a bad reload changed something")
			}
			changed := target("changed")
			changed.Path = "/other"
			if err := a.Reload([]*probes.Target{target("added"), changed, target("same")}); err != nil {
				t.Error(err)
			}
		}()
		run(t, a, 100*time.Second, b)
		if diff := cmp.Diff(map[time.Duration]int{10 * time.Second: len(c.at["same"]) - 3}, gaps(c.at["same"][:len(c.at["same"])-1])); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]int{"same": 1, "changed": 2, "removed": 1, "added": 2}, built); diff != "" {
			t.Error(diff)
		}
		slices.Sort(b.forgot)
		if diff := cmp.Diff([]string{"changed", "removed"}, b.forgot); diff != "" {
			t.Error(diff)
		}
		if b.rounds["removed"] != 0 || b.rounds["added"] == 0 || b.rounds["changed"] == 0 || b.rounds["same"] < 8 {
			t.Errorf("rounds %v", b.rounds)
		}
		var names []string
		for _, r := range a.Status() {
			names = append(names, r.Evidence.Target.Name)
		}
		if got := strings.Join(names, " "); got != "added changed same" {
			t.Errorf("status of %s", got)
		}
	})
}

// An agent without targets waits for a reload that brings some.
func TestReloadOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		a := newAgent(t, []probes.Kind{opens(c.ticks("x", well), lanes())})
		time.AfterFunc(5*time.Second, func() { a.Reload([]*probes.Target{target("orders")}) })
		run(t, a, 10*time.Second)
		if len(c.at["x"]) == 0 || c.at["x"][0] != 5*time.Second {
			t.Error(c.at)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocks := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			time.Sleep(10 * time.Minute)
			return nil
		}
		a, err := New([]*probes.Target{target("a"), target("b")}, []probes.Kind{opens(blocks, lanes())}, probes.System{}, Options{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		health := func() string {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := a.Health(ctx); err != nil {
				return err.Error()
			}
			return "well"
		}
		if got := health(); got != "the scheduler does not answer" {
			t.Error(got)
		}
		go func() {
			time.Sleep(30 * time.Second)
			if got := health(); got != "well" {
				t.Error(got)
			}
			time.Sleep(time.Minute)
			if got := health(); !strings.Contains(got, "has been due for 1m30s, and 1 walks do not end") {
				t.Error(got)
			}
		}()
		run(t, a, 2*time.Minute)
		time.Sleep(10 * time.Minute)
	})
}

// Shards and phases are part of the contract: a later version must put a
// target into the same shard, or a rollout would probe it twice or not at all.
func TestShard(t *testing.T) {
	var got []int
	count := make([]int, 8)
	for i := range 8000 {
		s := Shard(fmt.Sprintf("target-%d", i), 8)
		if i < 8 {
			got = append(got, s)
		}
		count[s]++
	}
	if diff := cmp.Diff([]int{1, 2, 1, 2, 6, 6, 5, 3}, got); diff != "" {
		t.Error(diff)
	}
	for i, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("shard %d has %d of 8000 targets", i, n)
		}
	}
}

// Idle targets cost little beside their evidence.
func TestMemoryOfIdleTargets(t *testing.T) {
	const n = 100_000
	var kinds []probes.Kind
	for i := range 7 {
		kinds = append(kinds, kind(fmt.Sprint("kind", i), probes.PerTarget, ends(probes.OK)))
	}
	targets := make([]*probes.Target, n)
	for i := range targets {
		targets[i] = target(fmt.Sprint("target-", i))
	}
	before := heapInUse()
	a := newAgent(t, kinds, targets...)
	a.mu.Lock()
	a.schedule(a.walks)
	a.mu.Unlock()
	each := int(heapInUse()-before) / n
	t.Logf("%d bytes a target", each)
	if each > 320 {
		t.Errorf("%d bytes a target", each)
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(targets)
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
