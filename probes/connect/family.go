package connect

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"vpcprobe/probes"
)

// foreignFamily reports whether a connection to an IPv6 address failed the way
// it does on a machine without IPv6, although callers have an IPv4 address of
// the same name to go to. On such a machine nothing is wrong with the target
// then: callers there never try the IPv6 addresses of a dual-stack endpoint.
func foreignFamily(seen probes.Evidence, lane probes.Lane, o probes.Observation) bool {
	ours := errors.Is(o.Err, syscall.ENETUNREACH) || errors.Is(o.Err, syscall.EADDRNOTAVAIL) || errors.Is(o.Err, syscall.EAFNOSUPPORT)
	if !ours || !lane.Addr.Addr().Is6() {
		return false
	}
	for _, l := range seen.Lanes {
		if l.Via == lane.Via && l.Addr.Addr().Is4() {
			return true
		}
	}
	return false
}

// speaksIPv6 reports whether any interface has an IPv6 address to come from.
func speaksIPv6() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is6() && ip.IsGlobalUnicast() {
			return true
		}
	}
	return false
}
