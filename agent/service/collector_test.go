package service

import (
	"context"
	"runtime"
	"runtime/debug"
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
		{2 << 20, 4 << 20, 50},
		{4 << 20, 4 << 20, 100},
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
	collectFor := func(d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			Collect(ctx)
		})
	}
	t.Setenv("GOGC", "70")
	collectFor(10 * pause)
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC is set, and yet %d is in force", got)
	}
	t.Setenv("GOGC", "")
	runtime.GC()           // until then, nobody knows what lives
	collectFor(10 * pause) // in which nothing is allocated
	if got := debug.SetGCPercent(100); got != leastPercent {
		t.Errorf("%d is in force where nothing is allocated, want %d", got, leastPercent)
	}
}
