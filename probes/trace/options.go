package trace

import (
	"time"
)

// Options of a trace. The zero value asks for a cold trace with everything at
// its default.
type Options struct {
	// Prior is what earlier traces of the address taught. With it the trace is
	// a steady one: one SYN for each hop, of which one reaches the target.
	Prior *Prior

	MaxTTL int // how far to look; default 30
	Window int // how many TTLs to send at once while the path's length is unknown; default 8

	// Silence is how long to wait before a port that says nothing is called
	// filtered; default and maximum 950 ms. It stays below the second after
	// which the kernel repeats an unanswered SYN, so that each answer belongs
	// to one packet.
	Silence time.Duration

	// Patience, if longer than Silence, keeps two full-TTL SYNs waiting longer
	// still. A router that gets no answer to ARP or neighbor discovery says so
	// (host unreachable) only after about three seconds.
	Patience time.Duration

	Control  bool   // trace by UDP as well: tells a filtered port from a path that is down
	Paris    bool   // a second pass in which all SYNs are of one flow
	FlowPort uint16 // the source port of that flow; default: any that is free
	KeepConn bool   // hand out the connection that the Paris pass ends with

	oldKernel bool // for tests: behave as on Linux before 5.8
}

// Prior is what earlier traces of an address taught.
type Prior struct {
	Length int           // the TTL with which a SYN reaches the target
	RTT    time.Duration // the longest round trip of any hop
	Silent []int         // TTLs whose routers do not answer: not waited for
}

const (
	// fullTTLSYNs is how many SYNs with the full TTL go unanswered before a
	// port is called filtered. With 20 % loss each way a SYN to an open port
	// stays unanswered with probability 0.36; twelve of them do so in one of
	// 200,000 traces.
	fullTTLSYNs = 12

	// attempts is how many packets a silent TTL gets. Routers limit the rate
	// of their ICMP messages, and a trace must not use up what they have for
	// others.
	attempts = 2

	maxSilence = 950 * time.Millisecond
	minSlack   = 25 * time.Millisecond  // least extra wait for a silent hop when farther ones have answered
	retryAfter = 200 * time.Millisecond // a silent TTL is tried again after this if nothing farther has answered

	controlPort = 33434 // traceroute's first UDP port: hardly ever in use, often let through
)

func (o Options) withDefaults() Options {
	if o.MaxTTL <= 0 || o.MaxTTL > 255 {
		o.MaxTTL = 30
	}
	if o.Window <= 0 {
		o.Window = 8
	}
	if o.Silence <= 0 || o.Silence > maxSilence {
		o.Silence = maxSilence
	}
	if o.Prior != nil && (o.Prior.Length <= 0 || o.Prior.Length > o.MaxTTL) {
		o.Prior = nil
	}
	return o
}

// teach is what a result teaches the next trace, nil if it was not of an open
// port at a known distance.
func (r *Result) teach() *Prior {
	if r.State != Open || r.EndsAt == 0 {
		return nil
	}
	p := &Prior{Length: r.EndsAt}
	for _, h := range r.Hops {
		if h.Answer == Silent {
			p.Silent = append(p.Silent, h.TTL)
		}
		p.RTT = max(p.RTT, time.Duration(h.RTT))
	}
	return p
}
