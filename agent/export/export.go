// Package export carries what the agent learns to where there is no
// Prometheus: to CloudWatch, as lines of the embedded metric format on
// standard output, and to OpenTelemetry collectors, by OTLP over HTTP.
//
// It never holds up or spoils probing: what cannot be written or sent in time
// is dropped, counted and told, once a minute at most. What it sends holds no
// secrets, no error texts and, in the embedded metric format, no addresses.
package export

import (
	"sync"
	"time"
)

// A seldom lets through one message a minute and counts those in between.
type seldom struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// ok reports whether a message may be logged now, and how many were not since
// the one before.
func (s *seldom) ok() (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < time.Minute {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped, s.last = s.skipped, 0, time.Now()
	return skipped, true
}
