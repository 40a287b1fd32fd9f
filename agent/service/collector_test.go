package service

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		garbage, live uint64
		want          int
	}{
		{0, 4 << 20, leastPercent},
		{1 << 19, 4 << 20, 75},            // collected after four pauses,
		{2 << 20, 8 << 20, 44},            // after one,
		{3 << 20, 32 << 20, leastPercent}, // and a bit more than one
		{14 << 20, 40 << 20, 67},          // after a third more than one
		{40 << 20, 80 << 20, 107},         // and half more
		{100 << 20, 4 << 20, mostPercent},
		{1 << 20, 0, mostPercent},
	} {
		if got := percent(tt.garbage, tt.live); got != tt.want {
			t.Errorf("%d bytes of garbage beside %d that live: %d, want %d", tt.garbage, tt.live, got, tt.want)
		}
	}
}

func TestCollect(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	collectFor := func(d time.Duration) (set int) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { Collect(ctx); close(done) }()
			time.Sleep(d)
			set = inForce()
			cancel()
			<-done
		})
		return set
	}
	t.Setenv("GOGC", "70")
	if got := collectFor(10 * pause); got != 100 {
		t.Errorf("GOGC is set, and yet %d is in force", got)
	}
	t.Setenv("GOGC", "")
	runtime.GC()                                                             // until then, nobody knows what lives
	if got := collectFor(10*pause + time.Millisecond); got != leastPercent { // in which nothing is allocated
		t.Errorf("%d is in force where nothing is allocated, want %d", got, leastPercent)
	}
	if got := inForce(); got != 100 {
		t.Errorf("%d is in force afterwards, want what was before", got)
	}
}

func inForce() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
