package probes

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	maxSpare  = 512              // sockets that a pool keeps
	spareLife = 10 * time.Second // how long it keeps one that is not needed
)

// A Socket is a connected one, of whose connection nobody needs more than one
// probe. It may be connected again by then, from another port: callers come from
// new ones, and what lives on in a flow that works, a firewall's memory of it for
// instance, must not pass for theirs. (With ports that were kept, where half of
// the new flows led nowhere, fewer than 2 % of the lookups failed, and callers'
// every second.)
type Socket struct {
	net.Conn
	port uint16 // ours, of the latest connection
}

// NewSocket returns a connection as a socket.
func NewSocket(conn net.Conn) *Socket {
	return &Socket{conn, AddrPortOf(conn.LocalAddr()).Port()}
}

// Close closes the socket; a TCP connection is reset.
func (s *Socket) Close() error { return abort(s.Conn) }

// errFormerPort says that the kernel did not choose another port.
var errFormerPort = errors.New("connected from the same port as before")

// Redial connects a socket that was hung up, of the address's family, to the
// address, and returns its own. It waits until the socket's write deadline. As
// for a fresh socket the kernel chooses the port, the source address and the
// route; whoever watches flows sees a new one.
func (s *Socket) Redial(addr netip.AddrPort) (local netip.AddrPort, err error) {
	local, err = redial(s.Conn, addr)
	if err == nil && local.Port() == s.port {
		err = errFormerPort
	}
	s.port = local.Port()
	return local, err
}

func (s *Socket) hangUp(network Network) bool { return hangUp(network, s.Conn) }

// A Pool keeps sockets that were hung up, to be connected again. To make a socket
// and to close it takes a quarter of the CPU time of a cheap probe at the edge.
// The zero Pool is empty. S is a [Socket], or something around one.
type Pool[S reusable] struct {
	mu    sync.Mutex
	spare []spare[S] // the one that was used last is at the end
}

type reusable interface {
	io.Closer
	hangUp(Network) bool
}

type spare[S reusable] struct {
	socket S
	ipv4   bool
	since  time.Time
}

// family tells sockets apart that cannot connect to each other's addresses. An
// address with a zone has none: its socket is not kept.
func family(addr netip.AddrPort) (ipv4, ok bool) {
	return addr.Addr().Is4(), addr.Addr().Is4() || addr.Addr().Zone() == ""
}

// Take returns the socket for the address's family that was used last.
func (p *Pool[S]) Take(to netip.AddrPort) (socket S, ok bool) {
	ipv4, ok := family(to)
	if !ok {
		return socket, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range slices.Backward(p.spare) {
		if s.ipv4 == ipv4 {
			p.spare = slices.Delete(p.spare, i, i+1)
			return s.socket, true
		}
	}
	return socket, false
}

// Put hangs up a socket of the network that is connected to an address, and keeps
// it, or closes it where that cannot be. With each that it keeps, one goes that
// was not needed for long.
func (p *Pool[S]) Put(network Network, socket S, from netip.AddrPort) {
	ipv4, ok := family(from)
	if !ok || !socket.hangUp(network) {
		socket.Close()
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = append(p.spare, spare[S]{socket, ipv4, now})
	if oldest := p.spare[0]; len(p.spare) > maxSpare || now.Sub(oldest.since) > spareLife {
		p.spare = slices.Delete(p.spare, 0, 1)
		oldest.socket.Close()
	}
}

// Len is how many sockets there are.
func (p *Pool[S]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spare)
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
