//go:build !linux

package trace

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Run makes one connection with the full TTL: only Linux tells an ordinary
// process which router answered a SYN. The result has no hops and says why.
func Run(ctx context.Context, dst netip.AddrPort, o Options) (*Result, error) {
	o = o.withDefaults()
	bounded, cancel := context.WithTimeout(ctx, max(o.Silence, o.Patience))
	defer cancel()
	r := &Result{Target: dst, OnlyConnect: true, SYNs: 1}
	start := time.Now()
	var d net.Dialer
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(bounded, "tcp", dst.String())
	r.Took = Milliseconds(time.Since(start))
	if err == nil {
		r.Handshakes = 1
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	r.State, r.err = connectState(err), err
	r.Verdict = "hops are traced on Linux only: one connection with the full TTL was tried"
	if ctx.Err() != nil {
		r.State = Unfinished
		return r, ctx.Err()
	}
	return r, nil
}

// connectState is what a connection's error says about the port.
func connectState(err error) State {
	switch {
	case err == nil:
		return Open
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH):
		return HostUnreachable
	case errors.Is(err, syscall.ENETUNREACH):
		return NetUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Filtered
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return Filtered
	}
	return Local
}

// ProbeMTU needs TCP_INFO as Linux has it.
func ProbeMTU(context.Context, netip.AddrPort, string) (*MTUResult, error) {
	return nil, errors.New("the path's MTU is probed on Linux only")
}

// ReadSegments reads what the kernel knows about a TCP connection's segments;
// false here, where it does not tell.
func ReadSegments(net.Conn) (Segments, bool) { return Segments{}, false }

// stamping has nothing to keep on here.
type stamping struct{}

func keepStamping() *stamping { return nil }

func (s *stamping) release() {}
