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
