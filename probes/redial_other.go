//go:build !linux

package probes

import (
	"errors"
	"net"
	"net/netip"
)

// hangUp reports that the socket cannot be connected again.
func hangUp(Network, net.Conn) bool { return false }

// redial fails: there is no socket that was hung up.
func redial(net.Conn, netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}
