package trace

import (
	"slices"
	"time"
)

// advance stops waiting for what is not needed or overdue, sends what is due,
// and says when to look again; the trace is complete when nothing is waited
// for and that time has come.
func (e *engine) advance(now time.Time) (wake time.Time, err error) {
	if e.nothingSent() {
		return now, nil
	}
	for _, p := range e.probes {
		switch {
		case p.done:
		case e.needless(p):
			p.given = true
			e.retire(p)
		case !now.Before(e.deadline(p)):
			e.retire(p)
		}
	}
	wake = now.Add(time.Hour)
	for _, step := range []func(time.Time) (time.Time, error){e.repeat, e.widen, e.insist} {
		due, err := step(now)
		if err != nil {
			return now, err
		}
		wake = earlier(wake, due)
	}
	for _, p := range e.waiting {
		wake = earlier(wake, e.deadline(p))
	}
	if len(e.waiting) == 0 && wake.Sub(now) == time.Hour {
		wake = now // nothing is due
	}
	return wake, nil
}

// earlier returns the earlier of two times, of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// nothingSent reports whether this host refused to send anything at all.
func (e *engine) nothingSent() bool {
	return !slices.ContainsFunc(e.probes, func(p *probe) bool { return p.proto == tcp && p.reply.Answer != NotSent })
}

// needless reports whether a probe's answer would add nothing: it went beyond
// where the path ends, or asks whether the target answers when that is known.
func (e *engine) needless(p *probe) bool {
	if p.ttl == 0 {
		return e.settled()
	}
	end := e.reach[p.proto].end
	return end > 0 && p.ttl > end
}

// deadline is how long to wait for a probe: until the trace's end, or, if
// something farther away has answered already, only a while longer than the
// slowest of those took.
func (e *engine) deadline(p *probe) time.Time {
	end := e.start.Add(e.o.Silence)
	switch {
	case p.ttl == 0 && p.attempt < 2 && e.o.Patience > e.o.Silence:
		return e.start.Add(e.o.Patience)
	case p.ttl == 0 || !e.overtaken(p):
		return end
	case p.proto == tcp && e.knownSilent(p.ttl):
		return earlier(end, p.sent.Add(e.maxRTT))
	}
	return earlier(end, p.sent.Add(e.slack()))
}

// overtaken reports whether something farther away than p has answered.
func (e *engine) overtaken(p *probe) bool { return e.reach[p.proto].far > p.ttl || e.settled() }

// slack is how long after its sending a hop is given up as silent when
// farther ones have answered: half as long again as the slowest took.
func (e *engine) slack() time.Duration { return e.maxRTT + max(e.maxRTT/2, minSlack) }

func (e *engine) knownSilent(ttl int) bool {
	return e.o.Prior != nil && slices.Contains(e.o.Prior.Silent, ttl)
}

// repeat sends SYNs again whose TTL was silent, for they or their answers may
// have been lost, or the router may have used up what it sends per second.
// Datagrams are not repeated.
func (e *engine) repeat(now time.Time) (wake time.Time, err error) {
	var batch []*probe
	for _, p := range e.probes {
		if p.proto != tcp || p.ttl == 0 || p.reply.Answer != Silent || e.needless(p) || e.tries(p.ttl) >= attempts || e.knownSilent(p.ttl) {
			continue
		}
		due := p.sent.Add(e.slack())
		if !e.overtaken(p) {
			due = p.sent.Add(max(e.slack(), retryAfter))
		}
		switch {
		case !due.Before(e.start.Add(e.o.Silence)): // no time is left for an answer
		case now.Before(due):
			wake = earlier(due, wake)
		default:
			batch = append(batch, &probe{ttl: p.ttl, attempt: p.attempt + 1})
		}
	}
	if len(batch) == 0 {
		return wake, nil
	}
	return now, e.send(batch)
}

func (e *engine) tries(ttl int) int {
	n := 0
	for _, p := range e.probes {
		if p.proto == tcp && p.ttl == ttl {
			n++
		}
	}
	return n
}

// widen sends packets with higher TTLs where the path goes on: when the
// farthest TTL sent is all but reached, when nothing came of those sent for a
// while, and when all of them are silent though the port is known to answer.
func (e *engine) widen(now time.Time) (wake time.Time, err error) {
	reach := e.reach[tcp]
	if e.control && e.reach[udp].sent < reach.sent { // the control was switched on later
		return now, e.sendTTLs(reach.sent)
	}
	if reach.end > 0 || reach.sent >= e.o.MaxTTL || e.circling() {
		return wake, nil
	}
	edge := reach.sent - 1
	if e.o.Prior != nil && reach.sent == e.o.Prior.Length {
		edge = reach.sent // that one is expected to reach the target
	}
	late := e.start.Add(retryAfter)
	switch {
	case reach.far >= edge:
		return now, e.sendTTLs(reach.sent + e.o.Window)
	case e.settled():
		if len(e.waiting) == 0 {
			return now, e.sendTTLs(reach.sent + e.o.Window)
		}
	case reach.far+e.o.Window/2 > reach.sent && now.Before(late):
		return late, nil
	case reach.far+e.o.Window/2 > reach.sent:
		return now, e.sendTTLs(reach.far + e.o.Window)
	}
	return wake, nil
}

// circling reports whether a full-TTL SYN ran out of TTL.
func (e *engine) circling() bool { return e.direct != nil && e.direct.reply.Answer == TimeExceeded }

// insist sends further full-TTL SYNs as long as nothing conclusive came back,
// spread over most of the time that there is, since losses come in bursts.
func (e *engine) insist(now time.Time) (wake time.Time, err error) {
	for !e.settled() && e.directs < fullTTLSYNs {
		if due := e.directDue(e.directs); now.Before(due) {
			return due, nil
		}
		if err := e.sendDirect(); err != nil {
			return now, err
		}
		wake = now
	}
	return wake, nil
}

// directDue is when the nth full-TTL SYN is to leave.
func (e *engine) directDue(n int) time.Time {
	last := e.o.Silence * 3 / 4 // a quarter is left for the last answer
	first := e.o.Silence / 6
	if prior := e.o.Prior; prior != nil {
		if e.reach[tcp].far >= prior.Length { // it was answered, but by a router: the path has grown
			first = 0
		} else {
			first = min(first, prior.RTT*3/2+minSlack)
		}
	} else {
		n-- // the first left at the start
	}
	return e.start.Add(first + time.Duration(n)*(last-first)/(fullTTLSYNs-1))
}
