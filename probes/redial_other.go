//go:build !linux

package probes

import (
	"errors"
	"net"
	"net/netip"
)

// HangUp reports that the socket cannot be connected again.
func HangUp(Network, net.Conn) bool { return false }

// Redial fails: there is no socket that was hung up.
func Redial(net.Conn, netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}
