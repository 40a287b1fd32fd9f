package connect

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"vpcprobe/probes"
)

// foreignFamily reports whether a connection failed the way it does on a
// machine that lacks the address's family, although callers have an address of
// the other family to go to by the same name. On such a machine nothing is
// wrong with the target then: callers there never try those addresses of a
// dual-stack endpoint. Who is told this address by DNS must be told the other, too.
func foreignFamily(seen probes.Evidence, lane probes.Lane, o probes.Observation) bool {
	ours := errors.Is(o.Err, syscall.ENETUNREACH) || errors.Is(o.Err, syscall.EADDRNOTAVAIL) || errors.Is(o.Err, syscall.EAFNOSUPPORT)
	if !ours {
		return false
	}
	for _, l := range seen.Lanes {
		if (l.Answered || !lane.Answered) && l.Via == lane.Via && l.Addr.Addr().Is4() != lane.Addr.Addr().Is4() {
			return true
		}
	}
	return false
}

// speaks reports whether any interface has an address of the family to come
// from.
func speaks(ipv4 bool) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() == ipv4 && ip.IsGlobalUnicast() {
			return true
		}
	}
	return false
}
