// Package probes is the vocabulary: what the agent measures and how it says
// what it saw.
//
// A [Kind] is one way of probing, such as resolving names or connecting to TCP
// port 443. Bound to a [Target] it becomes a [Probe]; running a Probe yields
// [Observation]s; the latest observations of all kinds are the target's
// [Evidence]; and a [Rule] reads evidence to name a root cause, a [Finding].
//
// This package imports nothing else of ours; every other package imports it.
// It does no probing of its own, and it knows nothing of schedules, files or
// renderings.
package probes

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// A Probe measures one aspect of the target it was built for.
//
// Probe never fails: a refused connection is an observation, not an error. It
// returns by the context's deadline. What the lower layers have learned is in
// seen. A probe of scope [PerLane] gets the line of the lane it walks; for one
// of scope [PerTarget], line is nil. What it returns is the agent's from then
// on. The agent never calls one Probe from two goroutines at once, except a
// PerLane probe for different lanes.
type Probe interface {
	Probe(ctx context.Context, seen Evidence, line *Line) []Observation
}

// Scope says how often per round a kind is run.
type Scope int

// The scopes of a kind.
const (
	PerTarget Scope = iota // once per round, with a nil line
	PerLane                // once per lane and round, lanes side by side
)

// A Kind describes one way of probing. Kinds are constants in all but name:
// each is declared once, in the folder that implements it, and listed in
// package all, lowest layer first.
//
// Order in that list is order of execution: a kind sees the observations of
// those before it. A lane walks the PerLane kinds one after the other without
// waiting for other lanes. A PerTarget kind starts when every lane has done
// the PerLane kinds before it, and runs beside those after it.
type Kind struct {
	Name     string        // the word in configuration, metrics, JSON and documents
	Doc      string        // one sentence: what it measures and which tool it replaces
	Per      Scope         // once per target or once per lane
	Every    time.Duration // pace unless configured; 0 means the target's own
	Punctual bool          // its probes keep to the context's deadline by themselves, see [Within]
	Metrics  []*Metric     // the numbers its observations may carry
	Rules    []*Rule       // the root causes whose highest evidence is of this kind
	Reads    string        // the kind without whose observations the Rules have nothing to say; this kind unless given

	// Lanes says which lanes the evidence opens. Exactly one kind has it.
	Lanes func(Evidence) []Lane

	// Refine, if set, corrects what the rules of lower layers found in the
	// light of what this kind saw: it adds notes, is surer, or puts an
	// observation under the rule that it really belongs to. It returns new
	// findings and leaves those that it was given as they are. See [Refine].
	Refine func(Evidence, []Finding) []Finding

	// New prepares what all targets of one agent share, such as a cache of
	// credentials, and returns the constructor that binds the kind to a target.
	New func(System) Constructor
}

// A Constructor binds a kind to a target. A nil probe means that the kind has
// nothing to do for this target. Its errors are for the person who wrote the
// configuration.
type Constructor func(*Target) (Probe, error)

// A System is the machine that the probes run on.
type System struct {
	Network    Network
	ResolvConf string // the resolver's configuration, usually /etc/resolv.conf
	Hosts      string // the table of names that precedes the DNS, usually /etc/hosts

	// Rest waits until some moment of the [Grid] after until, or until the program
	// ends, and does so more cheaply than by a timer. False means that it did not
	// wait. The agent sets it.
	Rest func(until time.Time) bool
}

// Host is the machine as it is, without a lab around it. Its connections do
// without keep-alive: they live for seconds, and setting it up takes four
// system calls.
func Host() System {
	return System{Network: &net.Dialer{KeepAlive: -1}, ResolvConf: "/etc/resolv.conf", Hosts: "/etc/hosts"}
}

// A Network is how probes reach the world: the real one is a [net.Dialer],
// the lab has one that cannot leave the host. Everything dials through it,
// the AWS SDK's HTTP client included.
type Network interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// DialUDP returns a socket that is connected to an address. That takes no
// waiting, so where the network says where it leads, ctx is not asked: to do so,
// and to parse the address again, was a sixth of a lookup's garbage.
func DialUDP(ctx context.Context, network Network, addr netip.AddrPort) (net.Conn, error) {
	to, ok := Leads(network, addr)
	if !ok {
		return network.DialContext(ctx, "udp", addr.String())
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Grid is the distance of the moments, counted from the Unix epoch, at which the
// agent wakes up. Waking up costs more than what a cheap probe then does
// (measured: for lookups a sixth of the CPU when ten of them share it), so walks
// begin on the grid, and what merely waits for a while stops waiting on it.
const Grid = 25 * time.Millisecond

// AfterGrid returns the first moment of the [Grid] that is not before t.
func AfterGrid(t time.Time) time.Time {
	return t.Add((Grid - time.Duration(t.UnixNano()%int64(Grid))) % Grid)
}

// A Translator is a [Network] whose addresses stand for others: to dial one is to
// dial from this machine to where it leads. False means nowhere.
type Translator interface {
	Translate(netip.AddrPort) (netip.AddrPort, bool)
}

// Leads says where an address really leads, for who cannot dial through the
// Network, as it has, or needs, the socket before it is connected. It is false if
// it leads nowhere, and if the Network does not say: then nobody else may dial.
func Leads(network Network, addr netip.AddrPort) (to netip.AddrPort, ok bool) {
	if t := translator(network); t != nil {
		return t.Translate(addr)
	}
	return netip.AddrPort{}, false
}

// translator returns what says where the Network's addresses lead, nil if nothing
// does. Where something does, its connections are sockets of this machine and
// nothing more.
func translator(network Network) Translator {
	switch n := network.(type) {
	case *net.Dialer:
		return literal{}
	case Translator:
		return n
	}
	return nil
}

// A literal is a [Translator] of addresses that stand for themselves.
type literal struct{}

func (literal) Translate(addr netip.AddrPort) (netip.AddrPort, bool) { return addr, true }

// A Lane is one name form of the API at one address: the path one caller's
// request would take.
type Lane struct {
	Via        Via            // the name form
	ServerName string         // the name in the TLS client hello (SNI) and in the HTTP Host header
	Addr       netip.AddrPort // where to connect

	// Answered says that a resolver gave Addr for this name. A lane without
	// it leads to an address of the endpoint that the name did not lead to:
	// evidence of what would work, but not a path that callers take.
	Answered bool
}

// A Line is a lane with this round's connection on it. The first step to run
// dials and sets Conn, later steps wrap it; the walk owns and closes it. A
// step that finds Conn nil though the step below went well, because that one
// was not due, dials for itself through the lower kind's package.
type Line struct {
	Lane
	Conn net.Conn

	// More says that a later step of this round will use the connection. A
	// step that ends a round waits a moment longer for what the peer may still
	// say: a reset after accepting, or an alert about the client certificate.
	More bool
}

// Close ends the line's connection. A TCP connection on which nothing was said
// is reset rather than finished, so that it leaves no TIME_WAIT behind: at
// one connect per 2 ms to one address the ports would run out within a minute
// (measured; see docs/architecture.md).
func (l *Line) Close() {
	if l.Conn == nil {
		return
	}
	abort(l.Conn)
	l.Conn = nil
}
