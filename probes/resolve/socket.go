package resolve

import (
	"context"
	"net"
	"net/netip"
	"time"

	"vpcprobe/probes"
)

// A socket is a UDP socket, connected to a server for one question.
type socket struct {
	net.Conn
	receive func(buf []byte) (packet []byte, waited time.Duration, err error)
	port    uint16 // ours
}

// dial returns a socket that is connected to the server, from a new port:
// callers' questions come from new ones, and what lives on in a flow that works,
// a firewall's memory of it for instance, must not pass for theirs. (With ports
// that were kept, where half of the new flows led nowhere, fewer than 2 % of the
// lookups failed, and callers' every second.)
func (c *client) dial(ctx context.Context, server netip.AddrPort) (*socket, error) {
	if s, ok := c.sockets.Take(server); ok {
		local, err := probes.Redial(s.Conn, server)
		if err == nil && local.Port() != s.port {
			s.port = local.Port()
			return s, nil
		}
		s.Close() // a fresh one tells what is wrong
	}
	conn, err := probes.DialUDP(ctx, c.Network, server)
	if err != nil {
		return nil, err
	}
	return &socket{conn, receiver(conn), probes.AddrPortOf(conn.LocalAddr()).Port()}, nil
}

// put keeps a socket that has served.
func (c *client) put(s *socket, server netip.AddrPort) {
	if !probes.HangUp(c.Network, s.Conn) {
		s.Close()
		return
	}
	c.sockets.Put(s, server)
}
