package resolve

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"vpcprobe/probes"
)

const (
	// socketLife is how long a socket serves. It is as short as what callers
	// that start now might meet changes at most: a flow that connection tracking
	// still leads to a server that is gone, or still lets through what new flows
	// may not. Few lookups pay for a socket if there are hundreds a second, and
	// each pays for its own if there are few.
	socketLife = time.Second

	// maxFree bounds how many sockets wait for their next question.
	maxFree = 512
)

// sockets are UDP sockets to servers. One that has brought its reply waits for
// a moment whether there is another question: to make and to end a socket
// costs as much as the question itself.
type sockets struct {
	net     probes.Network
	buffers sync.Pool // of *[maxDatagram]byte

	mu       sync.Mutex
	free     map[netip.AddrPort][]*socket // those that wait, the oldest first
	waiting  int
	sweeping bool
}

// A socket asks one server, one question at a time.
type socket struct {
	net.Conn
	receive func(buf []byte) (packet []byte, waited time.Duration, err error)
	to      netip.AddrPort
	until   time.Time
	served  bool // it has brought a reply before
}

// dial returns a new socket.
func (s *sockets) dial(ctx context.Context, server netip.AddrPort) (*socket, error) {
	conn, err := s.net.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, receive: receiver(conn), to: server, until: time.Now().Add(socketLife)}, nil
}

// take returns a socket that waits, or else a new one.
func (s *sockets) take(ctx context.Context, server netip.AddrPort) (*socket, error) {
	if free := s.pop(server, time.Now()); free != nil {
		return free, nil
	}
	return s.dial(ctx, server)
}

// pop returns the youngest socket that waits, nil if none may serve any longer.
func (s *sockets) pop(server netip.AddrPort, now time.Time) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.free[server]
	if len(free) == 0 || !now.Before(free[len(free)-1].until) {
		return nil
	}
	last := free[len(free)-1]
	s.free[server] = free[:len(free)-1]
	s.waiting--
	return last
}

// put lets a socket wait on which nothing is outstanding.
func (s *sockets) put(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == maxFree || !time.Now().Before(k.until) {
		k.Close()
		return
	}
	k.served = true
	if s.free == nil {
		s.free = map[netip.AddrPort][]*socket{}
	}
	s.free[k.to] = append(s.free[k.to], k)
	s.waiting++
	if !s.sweeping {
		s.sweeping = true
		time.AfterFunc(socketLife, s.sweep)
	}
}

// sweep closes the sockets whose time is up, and comes again while there are
// others.
func (s *sockets) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for server, free := range s.free {
		kept := free[:0]
		for _, k := range free {
			if now.Before(k.until) {
				kept = append(kept, k)
				continue
			}
			k.Close()
			s.waiting--
		}
		clear(free[len(kept):])
		if s.free[server] = kept; len(kept) == 0 {
			delete(s.free, server)
		}
	}
	if s.sweeping = s.waiting > 0; s.sweeping {
		time.AfterFunc(socketLife, s.sweep)
	}
}

// buffer returns a buffer for one datagram, and takes it back.
func (s *sockets) buffer() (buf *[maxDatagram]byte, release func()) {
	buf, ok := s.buffers.Get().(*[maxDatagram]byte)
	if !ok {
		buf = new([maxDatagram]byte)
	}
	return buf, func() { s.buffers.Put(buf) }
}
