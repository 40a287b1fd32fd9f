package connect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"vpcprobe/probes"
)

// call connects to an address, waits a moment for what follows, and resets the
// connection. The socket may serve again then.
func (m *machine) call(ctx context.Context, lane probes.Lane) probes.Observation {
	s, o := m.dial(ctx, lane)
	if s == nil {
		return o
	}
	probes.InStep()
	o.Outcome, o.Err = m.linger(ctx, s, lane.Addr, Of(o).RTT)
	if o.Outcome == probes.OK && ctx.Err() == nil {
		m.sockets.Put(s)
	} else {
		s.Close()
	}
	return o
}

// open connects to an address, for the steps to come. The connection is nil unless
// the outcome is OK.
func (m *machine) open(ctx context.Context, lane probes.Lane) (net.Conn, probes.Observation) {
	s, o := m.dial(ctx, lane)
	if s == nil {
		return nil, o
	}
	if ctx.Err() != nil { // its deadline may be being set this moment
		s.Close()
		return nil, dialed(lane, o.Start, nil, ctx.Err())
	}
	return probes.Lend(&m.sockets, s), o
}

// dial connects from a new port. That an address does not accept is for a fresh
// socket to say; silence is silence.
func (m *machine) dial(ctx context.Context, lane probes.Lane) (*probes.Socket, probes.Observation) {
	if s, to, ok := m.sockets.Take(m.network, lane.Addr); ok {
		start := time.Now()
		d, err := redial(ctx, s, start, to)
		if err == nil {
			return s, dialed(lane, start, d, nil)
		}
		s.Close()
		if ctx.Err() != nil || probes.Classify(err) == probes.Timeout {
			return nil, dialed(lane, start, nil, err)
		}
	}
	conn, o := Dial(ctx, m.network, lane)
	if conn == nil {
		return nil, o
	}
	return probes.NewSocket(m.network, conn), o
}

// redial connects once more. Most addresses accept at once, so only what takes
// longer can be interrupted.
func redial(ctx context.Context, s *probes.Socket, start time.Time, addr netip.AddrPort) (*Detail, error) {
	deadline, _ := ctx.Deadline()
	first := probes.Briefly(start, deadline)
	s.SetWriteDeadline(first)
	local, err := s.Redial(addr)
	if probes.Classify(err) == probes.Timeout && first != deadline {
		s.SetWriteDeadline(deadline)
		defer context.AfterFunc(ctx, func() { s.SetWriteDeadline(time.Unix(1, 0)) })()
		local, err = s.Redial(addr) // goes on waiting
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
