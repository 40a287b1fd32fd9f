package lab

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

// A network is the lab's [probes.Network] and [probes.Translator]: it leads
// to the lab's servers, in 127.77/16, and nowhere else. Not even to the rest of
// loopback, where a forward proxy might lead out of the host.
type network struct{ lab *Lab }

// DialContext implements [probes.Network]. Host names are not resolved, as
// probes do that themselves; only the AWS SDK dials the name of STS.
func (n network) DialContext(ctx context.Context, transport, address string) (net.Conn, error) {
	to, err := n.lead(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: transport, Err: os.NewSyscallError("connect", err)}
	}
	return new(net.Dialer).DialContext(ctx, transport, to.String())
}

// Translate implements [probes.Translator].
func (n network) Translate(addr netip.AddrPort) (netip.AddrPort, bool) {
	to, err := n.route(addr)
	return to, err == nil
}

func (n network) lead(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, syscall.EINVAL
	}
	if port == "443" && (host == stsName || host == stsGlobalName) {
		return netip.AddrPortFrom(stsStub(), n.lab.port), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, syscall.EHOSTUNREACH
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, syscall.EINVAL
	}
	return n.route(netip.AddrPortFrom(addr.Unmap(), uint16(number)))
}

// route returns where an address of the lab really is, or the error number
// with which a connect to it ends.
func (n network) route(to netip.AddrPort) (netip.AddrPort, error) {
	switch n.lab.link(to.Addr()) {
	case unroutable:
		return netip.AddrPort{}, syscall.EHOSTUNREACH
	case prohibited:
		return netip.AddrPort{}, syscall.EACCES
	case resetting:
		return netip.AddrPort{}, syscall.ECONNRESET
	case flaky:
		if n.lab.attempts.Add(1)%2 == 0 {
			return netip.AddrPortFrom(blackHole(), n.lab.port), nil
		}
	}
	if stub, ok := stubs(to); ok {
		return netip.AddrPortFrom(stub, n.lab.port), nil
	}
	if to.Addr() == PublicAddress() {
		return netip.AddrPortFrom(publicStub(), n.lab.port), nil
	}
	if netip.PrefixFrom(lockAddr(), 16).Contains(to.Addr()) {
		return to, nil
	}
	return netip.AddrPort{}, syscall.EHOSTUNREACH
}

// stubs returns the address of the server that stands for a well-known one.
func stubs(to netip.AddrPort) (netip.Addr, bool) {
	switch to {
	case netip.AddrPortFrom(imdsAddress(), 80):
		return imdsStub(), true
	case netip.AddrPortFrom(ecsAddress(), 80):
		return ecsStub(), true
	case netip.AddrPortFrom(eksAddress(), 80):
		return eksStub(), true
	}
	for _, r := range Resolvers() {
		if to == netip.AddrPortFrom(r, 53) {
			return r, true
		}
	}
	return netip.Addr{}, false
}
