package agent

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpcprobe/probes"
)

func TestGate(t *testing.T) {
	some := batch * runtime.GOMAXPROCS(0)
	now := int64(time.Hour)
	g := gate{}
	if n := g.admit(now, 5); n != some || g.full(5+some+1) {
		t.Errorf("nobody waits: %d begin, full: %t; want %d, and one for each that ends", n, g.full(5+some+1), some)
	}
	if wait := g.wait(now); wait != breath {
		t.Errorf("the others wait for %v, want %v", wait, breath)
	}
	now += int64(breath) / 2
	if n, wait := g.admit(now, 5+some), g.wait(now); n != 0 || wait != breath/2 {
		t.Errorf("too soon: %d begin, the others wait for %v", n, wait)
	}
	if g.full(5+some) || !g.full(5+some+1) {
		t.Errorf("room for %d", g.room)
	}
	now += int64(breath)
	if n := g.admit(now, 5+some); n != some || g.full(5+2*some) {
		t.Errorf("in time: %d begin, full: %t", n, g.full(5+2*some))
	}
	g.wait(now)
	now += 3 * int64(breath)
	if n := g.admit(now, 160); n != 1 || g.full(150) || !g.full(151) {
		t.Errorf("no CPU time: %d begin, room for %d; want 1 and 150", n, g.room)
	}
	g.open()
	if n := g.admit(now, 160); n != some {
		t.Errorf("nobody waits any more: %d begin", n)
	}
}

// tied are targets that all fall due at the same moment.
func tied(n int) (targets []*probes.Target) {
	for i := range n {
		target := target(fmt.Sprint("target-", i))
		target.Every = grid
		targets = append(targets, target)
	}
	return targets
}

// Walks that fall due together begin in batches, and those whose probes hang keep
// no other back.
func TestWalksBeginInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		some := batch * runtime.GOMAXPROCS(0)
		c := newClock()
		hang := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			c.note("begun")
			<-ctx.Done()
			return []probes.Observation{{Outcome: probes.Timeout}}
		}
		a := newAgent(t, []probes.Kind{opens(hang, lanes())}, tied(5*some)...)
		a.limit = 4 * some
		run(t, a, time.Second)
		want := []int{some, some, some, some} // and no more than there is room for
		var got []int
		for i, at := range c.at["begun"] {
			if batch := int(at / breath); len(got) == 0 || at != c.at["begun"][i-1] {
				if batch != len(got) {
					t.Errorf("a batch began after %v", at)
				}
				got = append(got, 1)
				continue
			}
			got[len(got)-1]++
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v began together, want %v", got, want)
		}
	})
}

// Those that end make room for the next at once: no more are on their way than
// began together, and none waits for a breath.
func TestQuickWalksStayFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = breath / 10
		some := batch * runtime.GOMAXPROCS(0)
		var mu sync.Mutex
		var last time.Duration
		most, now := 0, 0
		note := func(change int) {
			mu.Lock()
			defer mu.Unlock()
			now += change
			most = max(most, now)
		}
		quick := func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			note(1)
			defer note(-1)
			time.Sleep(took)
			return []probes.Observation{{Outcome: probes.OK}}
		}
		a := newAgent(t, []probes.Kind{opens(quick, lanes())}, tied(5*some)...)
		a.limit = 5 * some
		start := time.Now()
		run(t, a, grid/2, sink(func(Update) {
			mu.Lock()
			defer mu.Unlock()
			last = time.Since(start)
		}))
		if most != some {
			t.Errorf("%d were on their way at once, want %d", most, some)
		}
		if last != 5*took {
			t.Errorf("all were walked after %v, want %v", last, 5*took)
		}
	})
}
