package web

import (
	"sync"
	"time"
)

// A limit lets one request pass every interval, and burst of them at once. A
// nil limit lets everything pass.
type limit struct {
	burst int
	every time.Duration

	mu   sync.Mutex
	full time.Time // when all of the burst is or was there again
}

func newLimit(burst int, every time.Duration) *limit {
	if every <= 0 {
		return nil
	}
	return &limit{burst: burst, every: every}
}

// allow reports whether a request may pass now, and counts it if so.
func (l *limit) allow() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	full := l.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if float64(full.Sub(now)) > float64(l.burst)*float64(l.every) {
		return false
	}
	l.full = full
	return true
}

// same reports whether two limits say the same.
func (l *limit) same(m *limit) bool {
	if l == nil || m == nil {
		return l == m
	}
	return l.burst == m.burst && l.every == m.every
}
