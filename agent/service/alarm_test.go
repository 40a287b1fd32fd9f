package service

import (
	"errors"
	"testing"
	"time"
)

// An alarm rings once for each time it is set, not before that, and can be set
// anew before or after it rang.
func TestAlarm(t *testing.T) {
	a, err := NewAlarm()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("SKIP: the kernel has no such timers here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	rings := func(want time.Duration, since time.Time) {
		t.Helper()
		select {
		case <-a.Rings():
			if got := time.Since(since); got < want {
				t.Errorf("it rang after %v, want not before %v", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("it did not ring within 10s; want after %v", want)
		}
	}
	for _, after := range []time.Duration{20 * time.Millisecond, 0, -time.Second, time.Nanosecond} {
		start := time.Now()
		a.Set(after)
		rings(after, start)
	}
	start := time.Now()
	a.Set(time.Hour)
	a.Set(30 * time.Millisecond)
	rings(30*time.Millisecond, start)
	a.Set(20 * time.Millisecond)
	a.Set(time.Hour)
	select {
	case <-a.Rings():
		t.Error("it rang for what it was set to before")
	case <-time.After(100 * time.Millisecond):
	}
}
