package service

import (
	"runtime/debug"
	"testing"
)

func TestCollectFor(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	t.Setenv("GOGC", "")
	for targets, want := range map[int]int{0: 100, 1: 100, 4000: 100, 5000: 80, 10_000: 40, 100_000: 40} {
		if got := CollectFor(targets); got != want {
			t.Errorf("%d targets: got %d, want %d", targets, got, want)
		}
		if set := debug.SetGCPercent(100); set != want {
			t.Errorf("%d targets: %d is in force, want %d", targets, set, want)
		}
	}
	t.Setenv("GOGC", "70")
	if got := CollectFor(10_000); got != 0 || debug.SetGCPercent(100) != 100 {
		t.Errorf("with GOGC: got %d", got)
	}
}
