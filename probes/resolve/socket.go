package resolve

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpcprobe/probes"
)

// A socket is a UDP socket, connected to a server for one question.
type socket struct {
	conn    net.Conn
	receive func(buf []byte) (packet []byte, waited time.Duration, err error)
	ipv4    bool
	rested  time.Time // when it was hung up
}

// idle is how long a socket is kept that is not needed.
const idle = 10 * time.Second

// A rack keeps sockets that are hung up, to ask again from other ports: callers'
// questions come from new ones, and what lives on in a flow that works, a
// firewall's memory of it for instance, must not pass for theirs. (With ports
// that were kept, where half of the new flows led nowhere, fewer than 2 % of the
// lookups failed, and callers' every second.) To make a socket takes a fifth of
// the CPU time of a lookup at the edge.
type rack struct {
	mu    sync.Mutex
	spare []*socket // the one that was used last is at the end
}

// dial returns a socket that is connected to the server, from a new port.
func (r *rack) dial(ctx context.Context, network probes.Network, server netip.AddrPort) (*socket, error) {
	ipv4 := server.Addr().Is4()
	if ipv4 || server.Addr().Zone() == "" {
		if s := r.take(ipv4); s != nil {
			if probes.Redial(s.conn, server) == nil {
				return s, nil
			}
			s.conn.Close() // a fresh one tells what is wrong
		}
	}
	conn, err := probes.DialUDP(ctx, network, server)
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn, receive: receiver(conn), ipv4: ipv4}, nil
}

// take returns the spare socket of the family that was used last, or nil.
func (r *rack) take(ipv4 bool) *socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.spare) - 1; i >= 0; i-- {
		if s := r.spare[i]; s.ipv4 == ipv4 {
			r.spare = slices.Delete(r.spare, i, i+1)
			return s
		}
	}
	return nil
}

// put keeps a socket that has served, or closes it. With each that is kept, one
// goes that was not needed for long.
func (r *rack) put(network probes.Network, s *socket) {
	if !probes.HangUp(network, s.conn) {
		s.conn.Close()
		return
	}
	s.rested = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare = append(r.spare, s)
	if oldest := r.spare[0]; len(r.spare) > 2*crowded || s.rested.Sub(oldest.rested) > idle {
		r.spare = slices.Delete(r.spare, 0, 1)
		oldest.conn.Close()
	}
}
