package probes

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// A Stream is a TCP connection that a round carries from step to step, on a socket
// that goes back to its pool when the connection is over. It is used and closed as
// any [net.Conn] is; what comes after closing does not reach the socket.
type Stream struct {
	socket        *Socket
	pool          *Pool[*Socket]
	local, remote netip.AddrPort

	mu     sync.Mutex
	busy   int  // reads and writes that are under way
	said   bool // something, by us
	closed bool
}

// Lend returns the connection of a socket that is not in the pool; closing it
// gives the socket back. A connection that is not the machine's own is returned as
// it is.
func Lend(pool *Pool[*Socket], s *Socket) net.Conn {
	if !s.Own() {
		return s.Conn
	}
	s.SetReadDeadline(time.Time{}) // of its last connection
	return &Stream{socket: s, pool: pool, local: s.local, remote: s.remote}
}

// LocalAddr implements [net.Conn].
func (s *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.local) }

// RemoteAddr implements [net.Conn].
func (s *Stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

// Read implements [net.Conn].
func (s *Stream) Read(p []byte) (n int, err error) {
	if !s.enter(false) {
		return 0, failed(s, "read", net.ErrClosed)
	}
	defer s.leave()
	return s.socket.Read(p)
}

// Write implements [net.Conn].
func (s *Stream) Write(p []byte) (n int, err error) {
	if !s.enter(true) {
		return 0, failed(s, "write", net.ErrClosed)
	}
	defer s.leave()
	return s.socket.Write(p)
}

// enter begins a read or a write; false if the connection is closed.
func (s *Stream) enter(says bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy++
	s.said = s.said || says
	return true
}

func (s *Stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

// SetDeadline implements [net.Conn].
func (s *Stream) SetDeadline(t time.Time) error { return s.set(s.socket.SetDeadline, t) }

// SetReadDeadline implements [net.Conn].
func (s *Stream) SetReadDeadline(t time.Time) error { return s.set(s.socket.SetReadDeadline, t) }

// SetWriteDeadline implements [net.Conn].
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.set(s.socket.SetWriteDeadline, t) }

func (s *Stream) set(deadline func(time.Time) error, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return failed(s, "set", net.ErrClosed)
	}
	return deadline(t)
}

// SyscallConn implements [syscall.Conn]. What it returns is good until the stream
// is closed.
func (s *Stream) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, failed(s, "raw-control", net.ErrClosed)
	}
	return s.socket.Conn.(syscall.Conn).SyscallConn()
}

// Close ends the connection; one on which we said nothing is reset. The socket
// serves again, unless a read or a write is under way: that learns of the end as
// the socket is closed.
func (s *Stream) Close() error {
	s.mu.Lock()
	closed, busy, said := s.closed, s.busy > 0, s.said
	s.closed = true
	s.mu.Unlock()
	switch {
	case closed:
		return failed(s, "close", net.ErrClosed)
	case busy:
		return s.socket.Conn.Close()
	}
	s.socket.SetReadDeadline(time.Time{}) // nothing is to wake up for it
	if said {
		s.pool.Part(s.socket)
	} else {
		s.pool.Put(s.socket)
	}
	return nil
}
