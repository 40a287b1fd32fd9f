// Package connect opens a TCP connection to every address of the target, as
// telnet does to one, and says how that ended and how long the path is.
//
// It sends nothing. Whether an open port leads to API Gateway is for the steps
// above to find out.
package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"vpcprobe/probes"
)

const name = "connect"

// minPatience is how long to wait at least for what an accepting peer may do
// next.
const minPatience = 50 * time.Millisecond

// grace is for what is here already when the time is up.
const grace = 10 * time.Millisecond

// Kind connects to every address.
var Kind = probes.Kind{
	Name:     name,
	Doc:      "opens a TCP connection to every address of the target (replaces telnet)",
	Per:      probes.PerLane,
	Punctual: true,
	Metrics:  []*probes.Metric{up, connectTime, probes.Delay},
	Rules:    Rules,
	New: func(sys probes.System) probes.Constructor {
		m := &machine{network: sys.Network, speaks: speaks, rest: sys.Rest}
		return func(t *probes.Target) (probes.Probe, error) { return &probe{m, t.StepTimeout()}, nil }
	},
}

var (
	up = &probes.Metric{
		Name:   "tcp_up",
		Help:   "Whether the address accepted the latest connection and held it (1) or not (0).",
		Labels: []string{"address"},
	}
	connectTime = &probes.Metric{
		Name:   "tcp_connect_seconds",
		Help:   "Seconds from SYN to SYN/ACK of the latest connection, by the kernel's clock where it has one.",
		Labels: []string{"address"},
	}
)

// A Detail is what the kernel knows of a connection.
type Detail struct {
	// RTT is the time from SYN to SYN/ACK. Kernel says that the kernel
	// measured it (TCP_INFO), so that it holds on a busy machine, too.
	RTT    time.Duration `json:"rtt_ns"`
	Kernel bool          `json:"kernel"`

	Local   netip.AddrPort `json:"local,omitzero"`
	MSS     uint32         `json:"mss,omitempty"`     // bytes of a segment that may be sent
	PMTU    uint32         `json:"pmtu,omitempty"`    // bytes of a packet, as far as the kernel knows
	Retried uint32         `json:"retried,omitempty"` // SYNs that had to be sent again
}

// String is the connection in a line; its round trip is the time that the
// observation took. What connections to several addresses have in common comes
// first.
func (d *Detail) String() string {
	s := "open"
	if d.MSS > 0 {
		s += fmt.Sprintf(", MSS %d", d.MSS)
	}
	s += fmt.Sprintf(", from %v", d.Local)
	if d.Retried > 0 {
		s += fmt.Sprintf(", %d SYNs sent again", d.Retried)
	}
	return s
}

// Of returns the detail of a connection that was accepted, or nil.
func Of(o probes.Observation) *Detail {
	d, _ := o.Detail.(*Detail)
	return d
}

// OK reports whether the latest connection on the lane was accepted and held.
func OK(seen probes.Evidence, lane probes.Lane) bool {
	o, ok := seen.On(name, lane)
	return ok && o.Outcome == probes.OK
}

// Dial connects to the lane's address; ctx bounds it. The connection is nil
// unless the outcome is OK.
//
// A [net.Dialer] does not offer Multipath TCP unless told to, and a Network
// should not: middleboxes that drop unknown options would look like silence.
func Dial(ctx context.Context, network probes.Network, lane probes.Lane) (net.Conn, probes.Observation) {
	start := time.Now()
	conn, err := network.DialContext(ctx, "tcp", lane.Addr.String())
	if err != nil {
		return nil, dialed(lane, start, nil, err)
	}
	return conn, dialed(lane, start, inquire(conn), nil)
}

// dialed is the observation of a connection that has just been made, or not.
func dialed(lane probes.Lane, start time.Time, d *Detail, err error) probes.Observation {
	o := probes.Observation{Via: lane.Via, Name: lane.ServerName, Addr: lane.Addr, Start: start}
	took := time.Since(start)
	o.Outcome, o.Err = probes.Classify(err), err
	if err != nil {
		o.Phases = []probes.Phase{{Name: probes.PhaseConnect, Took: took}}
		return o
	}
	if !d.Kernel || d.RTT > took {
		d.RTT, d.Kernel = took, false
	}
	o.Detail = d
	o.Phases = []probes.Phase{{Name: probes.PhaseConnect, Took: d.RTT}}
	if d.Kernel {
		o.Values = append(make([]probes.Value, 0, 3), probes.Delay.Is((took - d.RTT).Seconds())) // with room for those of read
	}
	return o
}

// inquire asks the kernel about the connection.
func inquire(conn net.Conn) *Detail {
	d := &Detail{Local: probes.AddrPortOf(conn.LocalAddr())}
	info(conn, d)
	return d
}

type probe struct {
	*machine // that of all targets
	timeout  time.Duration
}

// A machine is where connections start from.
type machine struct {
	network probes.Network
	speaks  func(ipv4 bool) bool       // whether it has an address of the family
	rest    func(until time.Time) bool // [probes.System.Rest]; nil if there is none
	sockets probes.Pool[*probes.Socket]
}

// Probe implements [probes.Probe].
func (p *probe) Probe(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
	ctx = probes.Within(ctx, p.timeout)
	var o probes.Observation
	if line.More {
		line.Conn, o = p.open(ctx, line.Lane)
	} else {
		o = p.call(ctx, line.Lane)
	}
	if foreignFamily(seen, line.Lane, o) && !p.speaks(line.Addr.Addr().Is4()) {
		o.Outcome = probes.Skipped
	}
	read(seen, line.Lane, &o)
	return []probes.Observation{o}
}

// read adds the numbers of an address. Lanes that share one would contradict
// each other, so only the first of them speaks.
func read(seen probes.Evidence, lane probes.Lane, o *probes.Observation) {
	first := slices.IndexFunc(seen.Lanes, func(l probes.Lane) bool { return l.Addr == lane.Addr })
	if first >= 0 && seen.Lanes[first].Via != lane.Via || o.Outcome != probes.OK && !o.Outcome.Blames() {
		return
	}
	o.Values = append(o.Values, up.If(o.Outcome == probes.OK))
	if d := Of(*o); d != nil {
		o.Values = append(o.Values, connectTime.Is(d.RTT.Seconds()))
	}
}

// Listen waits until a moment, or the end of ctx, for the peer to say something
// or to hang up, and returns how that ended. What is here already when the time
// is up counts, too: this process may have been held up.
func Listen(ctx context.Context, conn net.Conn, until time.Time) error {
	now := time.Now()
	if soonest := now.Add(grace); until.Before(soonest) {
		until = soonest
	}
	conn.SetReadDeadline(until)
	if probes.Briefly(now, until) != until {
		defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	}
	_, err := conn.Read(make([]byte, 1))
	if probes.Classify(err) == probes.Timeout && time.Since(until) > grace {
		conn.SetReadDeadline(time.Now().Add(grace))
		_, err = conn.Read(make([]byte, 1))
	}
	return err
}

// linger waits a moment for what an accepting peer does next. Some, or devices
// before them, accept only to reset or to hang up: such a port is not open.
// Since nothing follows on this connection, what the peer says first is read.
func (m *machine) linger(ctx context.Context, s *probes.Socket, addr netip.AddrPort, rtt time.Duration) (probes.Outcome, error) {
	err := m.outlast(ctx, s, max(2*rtt, minPatience))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return probes.Aborted, ctx.Err()
	case err == nil, probes.Classify(err) == probes.Timeout:
		return probes.OK, nil
	case errors.Is(err, io.EOF):
		return probes.Closed, fmt.Errorf("accepted, then closed: %w", err)
	}
	return probes.Classify(err), fmt.Errorf("accepted, then: %w", probes.ErrorAt(net.TCPAddrFromAddrPort(addr), err))
}

// outlast waits for some time, or for longer, and returns how the connection
// ended meanwhile.
func (m *machine) outlast(ctx context.Context, s *probes.Socket, patience time.Duration) error {
	until := time.Now().Add(patience)
	deadline, bounded := ctx.Deadline()
	inTime := patience <= probes.Brief && (!bounded || until.Add(probes.Grid).Before(deadline))
	if m.rest != nil && s.Own() && inTime && m.rest(until) {
		return s.Ended()
	}
	if until = probes.AfterGrid(until); bounded && deadline.Before(until) {
		until = deadline
	}
	return Listen(ctx, s, until)
}
