package probes

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// A Stream is a TCP connection that a round carries from step to step, on a socket
// that goes back to its pool when the connection is over. It is used and closed as
// any [net.Conn] is; what comes after closing does not reach the socket.
type Stream struct {
	*Socket
	pool *Pool[*Socket]

	mu     sync.Mutex
	busy   int // reads and writes that are under way
	said   bool
	closed bool
}

// Lend returns the connection of a socket that is not in the pool; closing it
// gives the socket back. A connection that is not the machine's own is returned as
// it is.
func Lend(pool *Pool[*Socket], s *Socket) net.Conn {
	if !s.handle.ok() {
		return s.Conn
	}
	s.SetReadDeadline(time.Time{}) // of its last connection
	return &Stream{Socket: s, pool: pool}
}

// enter begins a read or a write; false if the connection is closed.
func (s *Stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.busy++
	}
	return !s.closed
}

func (s *Stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

// Read implements [net.Conn].
func (s *Stream) Read(p []byte) (n int, err error) {
	if !s.enter() {
		return 0, s.failed("read", net.ErrClosed)
	}
	defer s.leave()
	return s.Socket.Read(p)
}

// Write implements [net.Conn].
func (s *Stream) Write(p []byte) (n int, err error) {
	if !s.enter() {
		return 0, s.failed("write", net.ErrClosed)
	}
	defer s.leave()
	s.said = true
	return s.Socket.Write(p)
}

// SetDeadline implements [net.Conn].
func (s *Stream) SetDeadline(t time.Time) error { return s.set(s.Socket.SetDeadline, t) }

// SetReadDeadline implements [net.Conn].
func (s *Stream) SetReadDeadline(t time.Time) error { return s.set(s.Socket.SetReadDeadline, t) }

// SetWriteDeadline implements [net.Conn].
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.set(s.Socket.SetWriteDeadline, t) }

func (s *Stream) set(deadline func(time.Time) error, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.failed("set", net.ErrClosed)
	}
	return deadline(t)
}

// SyscallConn implements [syscall.Conn]. What it returns is good until the stream
// is closed.
func (s *Stream) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.failed("raw-control", net.ErrClosed)
	}
	return s.Conn.(syscall.Conn).SyscallConn()
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
		return s.failed("close", net.ErrClosed)
	case busy:
		return s.Conn.Close()
	case said:
		s.pool.Part(s.Socket)
	default:
		s.pool.Put(s.Socket)
	}
	return nil
}
