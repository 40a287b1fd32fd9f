package trace

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Memory traces one address again and again, and remembers what it learned:
// so the next trace is a steady one, and a change of the path is noticed. The
// zero value remembers nothing. It is not for concurrent use.
type Memory struct {
	last    *Result
	prior   *Prior
	lengths []int                       // of the latest open traces, newest last
	routers map[int]map[netip.Addr]bool // the addresses ever seen at a TTL
	flow    []Hop                       // the latest Paris pass
	port    uint16                      // its source port
	changed *Change
	changes int // how often the path has changed
}

const (
	remembered = 9                // traces whose length counts
	recent     = 15 * time.Minute // how long a change is told: three traces at the usual pace
)

// Last is the latest result, nil if there is none.
func (m *Memory) Last() *Result { return m.last }

// Changes is how often the path has changed since the first trace.
func (m *Memory) Changes() int { return m.changes }

// Trace traces dst with what is remembered. If the path looks unlike before it
// traces once more, with the UDP control and with the one flow that it used
// the last time (a Paris pass): only if that flow meets other routers has the
// path changed, for all others may have been spread over several ways (ECMP).
// A port that does not open, and for which UDP was traced as well, has shown
// all that it can.
func (m *Memory) Trace(ctx context.Context, dst netip.AddrPort, o Options) (*Result, error) {
	first := m.last == nil
	o.Prior, o.FlowPort = m.prior, m.port
	o.Paris = o.Paris || first
	o.Control = o.Control || first || m.last.Between || m.last.NoErrorQueue
	r, err := Run(ctx, dst, o)
	if err != nil {
		return r, err
	}
	if !first && !o.Paris && m.differs(r) && (r.State == Open || !o.Control) {
		m.learnLength(r, time.Now())
		o.Prior, o.Paris, o.Control = r.teach(), true, true
		if r, err = Run(ctx, dst, o); err != nil {
			return r, err
		}
	}
	m.learn(r, time.Now())
	return r, nil
}

// differs reports whether a result shows something not seen before: another
// state, another length, or a router that is new at its place.
func (m *Memory) differs(r *Result) bool {
	if r.State != m.last.State || r.EndsAt != m.last.EndsAt {
		return true
	}
	return slices.ContainsFunc(r.Hops, func(h Hop) bool {
		known := m.routers[h.TTL]
		return h.Answer == TimeExceeded && len(known) > 0 && !known[h.From]
	})
}

// learn takes note of a result, and fills in what only several results tell.
func (m *Memory) learn(r *Result, now time.Time) {
	for _, h := range r.Hops {
		for _, a := range h.Addrs {
			if m.routers == nil {
				m.routers = map[int]map[netip.Addr]bool{}
			}
			if m.routers[h.TTL] == nil {
				m.routers[h.TTL] = map[netip.Addr]bool{}
			}
			m.routers[h.TTL][a] = true
		}
	}
	m.learnLength(r, now)
	m.learnFlow(r, now)
	if m.changed != nil && now.Sub(m.changed.At) < recent {
		r.Changed = m.changed
	}
	if p := r.teach(); p != nil {
		m.prior = p
	}
	m.last = r
}

// learnLength keeps the path's length as the mode of several traces: with loss,
// one in ten is a hop off.
func (m *Memory) learnLength(r *Result, now time.Time) {
	if r.State != Open || r.EndsAt == 0 {
		return
	}
	before := mode(m.lengths)
	m.lengths = append(m.lengths, r.EndsAt)
	m.lengths = m.lengths[max(0, len(m.lengths)-remembered):]
	r.PathLength = mode(m.lengths)
	if tail := m.lengths[max(0, len(m.lengths)-3):]; len(tail) == 3 && before != 0 && before != tail[0] && tail[0] == tail[1] && tail[1] == tail[2] {
		// The same three times, and not what it was: the older ones count no
		// more.
		m.lengths = slices.Clone(tail)
		r.PathLength = r.EndsAt
		m.change(&Change{At: now, From: hops(before), To: hops(r.EndsAt)})
	}
}

// learnFlow compares a Paris pass with the one before it, if both were of the
// same flow.
func (m *Memory) learnFlow(r *Result, now time.Time) {
	if r.fixedPort == 0 {
		return
	}
	if r.fixedPort == m.port {
		for _, h := range r.Hops {
			before := hopIn(m.flow, h.TTL)
			if h.Fixed != nil && before != nil && h.Fixed.Answer == TimeExceeded && before.Fixed != nil &&
				before.Fixed.Answer == TimeExceeded && h.Fixed.From != before.Fixed.From {
				m.change(&Change{At: now, Hop: h.TTL, From: before.Fixed.From.String(), To: h.Fixed.From.String()})
				break
			}
		}
	}
	m.port = r.fixedPort
	if slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Fixed != nil && h.Fixed.Answer == TimeExceeded }) {
		m.flow = r.Hops
	}
}

func (m *Memory) change(c *Change) {
	m.changed = c
	m.changes++
}

// mode is the most frequent number, of equally frequent ones the one that came
// last; 0 if there are none.
func mode(numbers []int) int {
	count := map[int]int{}
	best := 0
	for _, n := range slices.Backward(numbers) {
		count[n]++
		best = cmp.Or(best, n)
	}
	for _, n := range slices.Backward(numbers) {
		if count[n] > count[best] {
			best = n
		}
	}
	return best
}

func hops(n int) string {
	if n == 1 {
		return "1 hop"
	}
	return fmt.Sprintf("%d hops", n)
}

// String tells the change in a line.
func (c *Change) String() string {
	what := "the path's length"
	if c.Hop > 0 {
		what = fmt.Sprintf("hop %d", c.Hop)
	}
	return fmt.Sprintf("%s changed from %s to %s at %s", what, c.From, c.To, c.At.UTC().Format(time.TimeOnly+"Z"))
}
