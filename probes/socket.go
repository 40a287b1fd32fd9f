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
// One goroutine uses it; deadlines may be set from others.
type Socket struct {
	net.Conn
	port   uint16 // ours, of the latest connection
	handle handle
}

// NewSocket returns a connection as a socket.
func NewSocket(conn net.Conn) *Socket {
	s := &Socket{Conn: conn, port: AddrPortOf(conn.LocalAddr()).Port()}
	s.handle.open(conn)
	return s
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
		return 0, 0, s.failed("read", err)
	}
	if _, stream := s.Conn.(*net.TCPConn); stream && n == 0 && len(buf) > 0 {
		return 0, 0, io.EOF
	}
	return n, said, nil
}

// Send sends a datagram.
func (s *Socket) Send(packet []byte) error {
	if !s.handle.ok() {
		_, err := s.Conn.Write(packet)
		return err
	}
	if err := s.handle.send(packet); err != nil {
		return s.failed("write", err)
	}
	return nil
}

// failed is the error of an operation as a [net.Conn] has it.
func (s *Socket) failed(op string, err error) error {
	if e, ok := err.(*net.OpError); ok { // of the wait for it
		e.Op = op
		return e
	}
	return &net.OpError{Op: op, Net: s.LocalAddr().Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// errFormerPort says that the kernel did not choose another port.
var errFormerPort = errors.New("connected from the same port as before")

// Redial connects a socket that was hung up, of the address's family, to the
// address, and returns its own. It waits until the socket's write deadline. As
// for a fresh socket the kernel chooses the port, the source address and the
// route; whoever watches flows sees a new one.
func (s *Socket) Redial(addr netip.AddrPort) (local netip.AddrPort, err error) {
	local, err = s.handle.redial(addr)
	if err == nil && local.Port() == s.port {
		err = errFormerPort
	}
	s.port = local.Port()
	return local, err
}

// hangUp takes a connected socket of the network back to what it was before, and
// reports whether that is so: it has no peer, and nothing waits in it. A TCP
// connection is reset by that. What comes for the socket later comes to a port
// that is closed, as if the socket were.
//
// It is for sockets of the machine's own network only: others connect theirs in
// their own way.
func (s *Socket) hangUp(network Network) bool {
	return direct(network) && s.handle.ok() && s.handle.hangUp()
}

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
// other: one that was connected again names those of its first connection.
func ErrorAt(addr net.Addr, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		op.Source, op.Addr = nil, addr
	}
	return err
}
