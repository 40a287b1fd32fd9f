package connect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"vpcprobe/probes"
)

// A socket is a TCP socket of which nobody needs but that it connects.
type socket struct {
	net.Conn
	port uint16 // ours, of the latest connection
}

// call connects to an address, waits a moment for what follows, and resets the
// connection. The socket may serve again then.
func (m *machine) call(ctx context.Context, lane probes.Lane) probes.Observation {
	s, o := m.dial(ctx, lane)
	if s == nil {
		return o
	}
	o.Outcome, o.Err = linger(ctx, s.Conn, lane.Addr, Of(o).RTT)
	if o.Outcome == probes.OK && ctx.Err() == nil && probes.HangUp(m.network, s.Conn) {
		m.sockets.Put(s, lane.Addr)
		return o
	}
	reset(s.Conn)
	return o
}

// dial connects from a new port, as callers do: what lives on in a flow that
// works must not pass for theirs. That an address does not accept is for a fresh
// socket to say; silence is silence.
func (m *machine) dial(ctx context.Context, lane probes.Lane) (*socket, probes.Observation) {
	if s, ok := m.sockets.Take(lane.Addr); ok {
		start := time.Now()
		d, err := s.redial(ctx, lane.Addr)
		switch {
		case err == nil && d.Local.Port() != s.port:
			s.port = d.Local.Port()
			return s, dialed(lane, start, d, nil)
		case err != nil && (ctx.Err() != nil || probes.Classify(err) == probes.Timeout):
			s.Close()
			return nil, dialed(lane, start, nil, err)
		}
		reset(s.Conn)
	}
	conn, o := Dial(ctx, m.network, lane)
	if conn == nil {
		return nil, o
	}
	return &socket{conn, Of(o).Local.Port()}, o
}

// redial connects once more. Most addresses accept at once, so only what takes
// longer can be interrupted, see [brief].
func (s *socket) redial(ctx context.Context, addr netip.AddrPort) (*Detail, error) {
	deadline, bounded := ctx.Deadline()
	first := time.Now().Add(brief)
	if bounded && deadline.Before(first) {
		first = deadline
	}
	s.SetWriteDeadline(first)
	local, err := probes.Redial(s.Conn, addr)
	if probes.Classify(err) == probes.Timeout && first != deadline {
		s.SetWriteDeadline(deadline)
		defer context.AfterFunc(ctx, func() { s.SetWriteDeadline(time.Unix(1, 0)) })()
		local, err = probes.Redial(s.Conn, addr) // goes on waiting
	}
	if err != nil {
		return nil, dialError(ctx, addr, err)
	}
	s.SetWriteDeadline(time.Time{})
	d := &Detail{Local: local}
	info(s.Conn, d)
	return d, nil
}

// dialError is the error as a [net.Dialer] has it.
func dialError(ctx context.Context, addr netip.AddrPort, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: err}
}

// reset ends a connection on which nothing was said.
func reset(conn net.Conn) {
	line := probes.Line{Conn: conn}
	line.Close()
}
