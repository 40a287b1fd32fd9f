package agent

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpcprobe/probes"
)

// resting runs an agent whose next walk is far away, and returns it when it has
// begun to wait for that.
func resting(t *testing.T) (a *Agent, stop context.CancelFunc) {
	t.Helper()
	rare := target("rare")
	rare.Every = time.Hour
	a = newAgent(t, []probes.Kind{kind("resolve", probes.PerTarget, ends(probes.OK))}, rare)
	ctx, stop := context.WithCancel(t.Context())
	go a.Run(ctx)
	time.Sleep(time.Second)
	return a, stop
}

// A rest ends at the first moment of the schedule's grid that is not before what was
// asked for, whatever else the scheduler waits for and whichever was asked for first.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stop := resting(t)
		defer stop()
		var all sync.WaitGroup
		start := a.now()
		for _, d := range []time.Duration{90 * time.Millisecond, 40 * time.Millisecond, 90 * time.Millisecond, grid, 0, -time.Second, 26 * time.Hour} {
			all.Go(func() {
				if !a.rest(time.Now().Add(d)) {
					t.Errorf("%v: it did not wait", d)
				}
				end, asked := a.now(), start+int64(d)
				if want := max(start, asked+(int64(grid)-asked%int64(grid))%int64(grid)); end != want {
					t.Errorf("%v: ended %v after what was asked for, want %v", d, time.Duration(end-asked), time.Duration(want-asked))
				}
			})
		}
		all.Wait()
	})
}

// Nobody rests where nothing would end that, and the end of a run ends all rests.
func TestRestsEndWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := newAgent(t, nil)
		if idle.rest(time.Now().Add(time.Hour)) {
			t.Error("it waited, though nothing runs")
		}
		a, stop := resting(t)
		begin := time.Now()
		time.AfterFunc(10*time.Second, stop)
		if !a.rest(begin.Add(time.Hour)) || time.Since(begin) != 10*time.Second {
			t.Errorf("ended after %v, want the end of the run", time.Since(begin))
		}
		synctest.Wait()
		if a.rest(time.Now().Add(time.Hour)) {
			t.Error("it waited after the end of the run")
		}
	})
}

// Where nothing else is ever due, the scheduler looks again for who rests.
func TestRestsWhereNothingElseIsDue(t *testing.T) {
	nudged := false
	r := rests{nudge: func() { nudged = true }}
	const now = int64(1 << 60)
	if wait := r.end(now+1, never-time.Duration(now)); wait <= 0 { // a moment after the schedule was asked
		t.Errorf("it looks again after %v", wait)
	}
	if r.until(now + int64(grid)); !nudged {
		t.Error("it does not look again")
	}
	if wait := r.end(now+1, never-time.Duration(now)); wait != grid-1 {
		t.Errorf("it looks again after %v, want %v", wait, grid-1)
	}
}

// A walk that rests ends with the run, before it is waited for.
func TestStopWakesWhoRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a *Agent
		rests := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			a.rest(time.Now().Add(time.Hour))
			return []probes.Observation{{Outcome: probes.Aborted, Err: ctx.Err()}}
		}
		a = newAgent(t, []probes.Kind{kind("rests", probes.PerTarget, rests)}, target("orders"))
		begin := time.Now()
		run(t, a, time.Minute)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("the run ended after %v, want no farewell", took)
		}
	})
}

// Walks that rest are woken by the alarm that the next ones are begun by.
func TestRestsShareTheAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stop := resting(t)
		defer stop()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { a.rest(time.Now().Add(40 * time.Millisecond)) })
		}
		synctest.Wait()
		a.rests.mu.Lock()
		ends, alarm := len(a.rests.ends), a.rests.alarm
		a.rests.mu.Unlock()
		if left := time.Duration(alarm - a.now()); ends != 1 || left < 40*time.Millisecond || left >= 40*time.Millisecond+grid {
			t.Errorf("100 rests have %d ends, the scheduler looks in %v", ends, left)
		}
		all.Wait()
	})
}
