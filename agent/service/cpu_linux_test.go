package service

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The CPU time is that of this process: no less than what the kernel said before,
// no more than what it says after, to its tick.
func TestCPUTime(t *testing.T) {
	const tick = 20 * time.Millisecond
	for start := CPUTime(); CPUTime() < start+5*tick; {
	}
	before := usedCPU(t)
	now := CPUTime()
	if after := usedCPU(t); now < before-tick || now > after+tick {
		t.Errorf("%v, want %v to %v", now, before, after)
	}
}

func usedCPU(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
