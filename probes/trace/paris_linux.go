package trace

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// paris walks the hops that answered once more with a single flow: one socket,
// one source port, one TTL after the other. Devices that spread flows over
// several ways treat all these SYNs alike, so the hops are those of one way
// ("Paris traceroute", Augustin et al., 2006), and the last SYN becomes a
// connection that takes this very way.
//
// It cannot be done in parallel: two sockets cannot have the same addresses
// and ports, and the kernel picks another initial sequence number for each SYN,
// so that a late answer to an earlier one is dropped rather than taken for the
// answer to the present one.
func (e *engine) paris(ctx context.Context, r *Result) error {
	s, err := e.fixedFlow()
	if err != nil {
		return err
	}
	if s.fd < 0 {
		return nil // no free port now; there will be another trace
	}
	defer func() { s.close() }()
	r.fixedPort = s.local().Port()
	for i := range r.Hops {
		h := &r.Hops[i]
		if h.Answer == Silent || ctx.Err() != nil {
			continue
		}
		p := &probe{socket: s, ttl: h.TTL, reply: Reply{Answer: Silent, Port: r.fixedPort}}
		if err := e.walk(ctx, p, time.Duration(h.RTT)+max(time.Duration(h.RTT)/2, minSlack)); err != nil {
			return err
		}
		r.SYNs++
		h.Fixed = &p.reply
		if p.reply.Answer == SynAck {
			r.Handshakes++
			if e.o.KeepConn {
				r.Conn, err = s.release()
			}
			return err
		}
		if err := s.dissolve(); err != nil {
			return fmt.Errorf("disconnect: %w", err)
		}
	}
	return nil
}

// fixedFlow opens a socket that keeps its source port when its connection is
// dissolved. The kernel takes back a port that it chose itself, in bind as in
// connect (there is no SOCK_BINDPORT_LOCK on it), so a free one is found with
// one socket and asked for by number with another, while the first still holds
// it. Without that the flow would have another port at every hop.
func (e *engine) fixedFlow() (socket, error) {
	port := e.o.FlowPort
	if port == 0 {
		finder, err := openSocket(e.dst.Addr().Is6(), false, 0)
		if err != nil {
			return finder, err
		}
		defer finder.close()
		if err := finder.bind(0); err != nil {
			return finder, fmt.Errorf("bind: %w", err)
		}
		port = finder.local().Port()
	}
	s, err := openSocket(e.dst.Addr().Is6(), false, 1)
	if err != nil {
		return s, err
	}
	if s.bind(port) != nil {
		s.close()
		return socket{fd: -1}, nil
	}
	return s, nil
}

// bind takes a source port; 0 means any that is free.
func (s socket) bind(port uint16) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	any := netip.IPv4Unspecified()
	if s.v6 {
		any = netip.IPv6Unspecified()
	}
	return unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(any, port)))
}

// walk sends the flow's SYN with one TTL and waits for the answer.
func (e *engine) walk(ctx context.Context, p *probe, wait time.Duration) error {
	if err := p.setTTL(p.ttl); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	p.sent = time.Now()
	if err := p.socket.send(sockaddr(e.dst)); err != nil {
		p.reply.Answer, p.reply.Error, p.reply.err = NotSent, err.Error(), err
		return nil
	}
	for until := p.sent.Add(wait); ctx.Err() == nil; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		// Nothing or EINTR: the loop looks at the clock again. A wait is at
		// most a round trip and a half, so blocking the thread is harmless.
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}, int(left/time.Millisecond)+1)
		if n > 0 && e.read(p) {
			return nil
		}
	}
	return nil
}

// release makes a connection of package net of the socket, as any other: with
// the full TTL, finishing in good order when it is closed, and without the
// error queue, for with that an ICMP error, which TCP otherwise shrugs off, ends
// an established connection.
func (s *socket) release() (net.Conn, error) {
	recvErr, level := unix.IP_RECVERR, unix.IPPROTO_IP
	if s.v6 {
		recvErr, level = unix.IPV6_RECVERR, unix.IPPROTO_IPV6
	}
	err := unix.SetsockoptInt(s.fd, level, recvErr, 0)
	if err == nil {
		err = s.setTTL(-1) // the system's default
	}
	if err == nil {
		err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 0)
	}
	if err == nil {
		err = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	}
	if err != nil {
		return nil, fmt.Errorf("setsockopt: %w", err)
	}
	f := os.NewFile(uintptr(s.fd), "tcp")
	s.fd = -1 // the file's now, and the connection has a copy
	defer f.Close()
	return net.FileConn(f)
}
