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
	used := time.Hour
	g := gate{cpu: func() time.Duration { return used }}
	cpus := runtime.GOMAXPROCS(0)
	some := cpus * batch
	now := int64(time.Hour)
	admits := func(when string, running, want int) {
		t.Helper()
		if n := g.admit(now, running); n != want {
			t.Errorf("%s, with %d on their way: %d begin, want %d", when, running, n, want)
		}
	}
	admits("nobody waited", 1000, some)
	if wait := g.wait(now); wait != breath {
		t.Errorf("the others wait for %v, want %v", wait, breath)
	}
	now += int64(breath) / 2
	admits("too soon", 0, 0)
	if wait := g.wait(now); wait != breath/2 {
		t.Errorf("too soon, the others wait for %v", wait)
	}
	now += int64(breath)
	used += time.Duration(cpus) * breath / 2
	admits("with CPU time left", 1000, some)
	g.wait(now)
	full := func(when string, room int) {
		t.Helper()
		if g.full(room) || !g.full(room+1) {
			t.Errorf("%s, there is room for %d, want %d", when, g.room, room)
		}
	}
	full("with CPU time left", 1000+some)
	now += 10 * int64(breath)
	used += time.Duration(cpus) * 5 * breath
	admits("without CPU time", 100*some, 0)
	full("without CPU time", 100*some-100*some/16)
	admits("without CPU time", some, 0)
	full("without CPU time", some)
	admits("without CPU time", some-5, 5)
	g.open()
	if g.full(1000 * some) {
		t.Error("nobody waits, and those that end are followed by no other")
	}
	admits("nobody waits any more", 1000, some)
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

// counted is an alarm that counts how often it is set.
type counted struct {
	Alarm
	times *int
}

func (c counted) Set(after time.Duration) {
	*c.times++
	c.Alarm.Set(after)
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
		set := 0
		a.alarm = func() Alarm { return counted{timer{time.NewTimer(0)}, &set} }
		run(t, a, time.Second)
		if set > 100 {
			t.Errorf("the alarm was set %d times while there was nothing to do", set)
		}
		want := []int{some, some, some, some} // and no more than there is room for
		var got []int
		for i, at := range c.at["begun"] {
			if breaths := int(at / breath); len(got) == 0 || at != c.at["begun"][i-1] {
				if breaths != len(got) {
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

// A crowd counts the walks that are on their way.
type crowd struct {
	sync.Mutex
	begun, now int
	most, last int // of now, ever and when one began last
}

// walks is a probe that takes a while.
func (c *crowd) walks(d time.Duration) fake {
	return func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
		c.note(1)
		time.Sleep(d)
		c.note(-1)
		return []probes.Observation{{Outcome: probes.OK}}
	}
}

func (c *crowd) note(change int) {
	c.Lock()
	defer c.Unlock()
	c.now += change
	if change > 0 {
		c.begun, c.most, c.last = c.begun+1, max(c.most, c.now), c.now
	}
}

// Where there is no CPU time left, no more are on their way than began together;
// those that end make room for the next at once, and none waits for a breath. The
// next that fall due together begin as the first did.
func TestQuickWalksStayFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 2 * breath
		some := batch * runtime.GOMAXPROCS(0)
		on := &crowd{}
		a := newAgent(t, []probes.Kind{opens(on.walks(took), lanes())}, tied(5*some)...)
		a.limit = 5 * some
		start := time.Now()
		a.gate.cpu = func() time.Duration { return time.Since(start) * time.Duration(runtime.GOMAXPROCS(0)) }
		var ends []time.Duration
		run(t, a, grid+6*took, sink(func(Update) {
			on.Lock()
			defer on.Unlock()
			ends = append(ends, time.Since(start))
		}))
		if on.begun != 10*some || len(ends) != 10*some {
			t.Fatalf("%d began and %d ended, want %d", on.begun, len(ends), 10*some)
		}
		if on.most != some {
			t.Errorf("%d were on their way at once, want %d", on.most, some)
		}
		for burst, first := range []time.Duration{0, grid - time.Duration(start.UnixNano()%int64(grid))} {
			if last := ends[(burst+1)*5*some-1]; last != first+5*took {
				t.Errorf("burst %d was walked at %v, want %v", burst, last, first+5*took)
			}
		}
	})
}

// Where CPU time runs short while many are on their way, those that end are not all
// followed by others, until no more are left than began together.
func TestCrowdThinsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cpus := runtime.GOMAXPROCS(0)
		some := cpus * batch
		on := &crowd{}
		a := newAgent(t, []probes.Kind{opens(on.walks(7*breath), lanes())}, tied(30*some)...)
		a.limit = 30 * some
		short := time.Now().Add(2 * breath)
		a.gate.cpu = func() time.Duration { return max(0, time.Since(short)) * time.Duration(cpus) }
		run(t, a, time.Second)
		if on.most < 3*some || on.last > some {
			t.Errorf("%d were on their way at once, and %d when the last began; want %d and more, and then %d", on.most, on.last, 3*some, some)
		}
	})
}
