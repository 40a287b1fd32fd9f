package resolve

import (
	"context"
	"net/netip"

	"vpcprobe/probes"
)

// A socket is a UDP socket, connected to a server for one question.
type socket struct {
	*probes.Socket
	receive receive
}

// dial returns a socket that is connected to the server, from a new port.
func (c *client) dial(ctx context.Context, server netip.AddrPort) (*socket, error) {
	if s, to, ok := c.sockets.Take(c.Network, server); ok {
		if _, err := s.Redial(to); err == nil {
			return s, nil
		}
		s.Close() // a fresh one tells what is wrong
	}
	conn, err := probes.DialUDP(ctx, c.Network, server)
	if err != nil {
		return nil, err
	}
	s := probes.NewSocket(c.Network, conn)
	return &socket{s, receiver(s)}, nil
}
