package probes

import (
	"errors"
	"io"
	"net"
	"net/netip"
)

// A Socket is a connected one, of whose connection nobody needs more than one
// probe. It may be connected again by then, from another port: callers come from
// new ones, and what lives on in a flow that works, a firewall's memory of it for
// instance, must not pass for theirs. (With ports that were kept, where half of
// the new flows led nowhere, fewer than 2 % of the lookups failed, and callers'
// every second.)
//
// One goroutine reads from it and one writes to it; deadlines may be set from others.
type Socket struct {
	net.Conn
	local, remote netip.AddrPort // of the latest connection
	handle        handle         // none where the network makes connections in its own way
}

// NewSocket returns a connection of the network as a socket.
func NewSocket(network Network, conn net.Conn) *Socket {
	s := &Socket{Conn: conn, local: AddrPortOf(conn.LocalAddr()), remote: AddrPortOf(conn.RemoteAddr())}
	if translator(network) != nil {
		s.handle.open(conn)
	}
	return s
}

// LocalAddr implements [net.Conn].
func (s *Socket) LocalAddr() net.Addr { return latest(s.Conn.LocalAddr(), s.local) }

// RemoteAddr implements [net.Conn].
func (s *Socket) RemoteAddr() net.Addr { return latest(s.Conn.RemoteAddr(), s.remote) }

// latest is an address of a socket whose first connection had another.
func latest(first net.Addr, now netip.AddrPort) net.Addr {
	switch first.(type) {
	case *net.TCPAddr:
		return net.TCPAddrFromAddrPort(now)
	case *net.UDPAddr:
		return net.UDPAddrFromAddrPort(now)
	}
	return first
}

// Close closes the socket; a TCP connection is reset.
func (s *Socket) Close() error { return abort(s.Conn) }

// Read reads from the socket.
func (s *Socket) Read(buf []byte) (n int, err error) {
	n, _, err = s.Receive(buf, nil)
	return n, err
}

// Receive reads from the socket, and what the kernel says beside it: so many
// bytes of each buffer hold something.
func (s *Socket) Receive(buf, control []byte) (n, said int, err error) {
	if !s.handle.ok() {
		n, err = s.Conn.Read(buf)
		return n, 0, err
	}
	if n, said, err = s.handle.receive(buf, control); err != nil {
		return 0, 0, failed(s, "read", err)
	}
	if _, stream := s.Conn.(*net.TCPConn); stream && n == 0 && len(buf) > 0 {
		return 0, 0, io.EOF
	}
	return n, said, nil
}

// Own reports whether the socket is one of this machine, which can be asked for
// its state.
func (s *Socket) Own() bool { return s.handle.ok() }

// Ended says at once how the peer has ended the connection of a socket of this
// machine's own: by [io.EOF], or by an error. It is nil if the peer has not, or said
// something before, which is read.
func (s *Socket) Ended() error {
	n, some, err := s.handle.poll(make([]byte, 1))
	switch {
	case err != nil:
		return failed(s, "read", err)
	case some && n == 0:
		return io.EOF
	}
	return nil
}

// Write writes to the socket: all of it, or one datagram.
func (s *Socket) Write(p []byte) (n int, err error) {
	if !s.handle.ok() {
		return s.Conn.Write(p)
	}
	for {
		sent, err := s.handle.send(p[n:])
		n += sent
		if err != nil {
			return n, failed(s, "write", err)
		}
		if n == len(p) {
			return n, nil
		}
	}
}

// failed is the error of an operation on a connection. That of a wait names the
// addresses of the socket's first.
func failed(conn net.Conn, op string, err error) error {
	if e, ok := err.(*net.OpError); ok {
		err = e.Err
	}
	return &net.OpError{Op: op, Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
}

var (
	errFormerPort = errors.New("connected from the same port as before") // the kernel chose it again
	errItself     = errors.New("connected to itself")                    // nobody else listens at that port of this machine
)

// Redial connects a socket that was hung up, of the address's family, to the
// address, and returns its own. It waits until the socket's write deadline. As
// for a fresh socket the kernel chooses the port, the source address and the
// route; whoever watches flows sees a new one.
func (s *Socket) Redial(addr netip.AddrPort) (local netip.AddrPort, err error) {
	local, err = s.handle.redial(addr)
	switch {
	case err != nil:
	case local.Port() == s.local.Port():
		err = errFormerPort
	case local.Port() == addr.Port() && local.Addr() == addr.Addr().Unmap():
		err = errItself
	}
	s.local, s.remote = local, addr
	return local, err
}

// hangUp takes a connected socket back to what it was before, and reports whether
// that is so: it has no peer, and nothing waits in it. A TCP connection is reset
// by that. What comes for the socket later comes to a port that is closed, as if
// the socket were.
func (s *Socket) hangUp() bool { return s.handle.ok() && s.handle.hangUp() }

// finish ends a TCP connection on our side, and reports whether that could be done.
func (s *Socket) finish() bool { return s.handle.ok() && s.handle.finish() }

// finished reports whether the connection has ended on both sides.
func (s *Socket) finished() bool { return s.handle.ok() && s.handle.finished() }

// from is the socket's own address.
func (s *Socket) from() netip.Addr { return s.local.Addr() }

// abort closes a connection; TCP is reset.
func abort(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	return conn.Close()
}

// AddrPortOf returns an address of a connection as it is written, or the zero
// value.
func AddrPortOf(addr net.Addr) netip.AddrPort {
	if a, ok := addr.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// ErrorAt makes an error of a socket name the address that it is about, and no
// other.
func ErrorAt(addr net.Addr, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		op.Source, op.Addr = nil, addr
	}
	return err
}
