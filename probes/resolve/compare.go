package resolve

import (
	"errors"
	"net/netip"
	"slices"

	"vpcprobe/probes"
)

// expectedOf returns the endpoint's addresses, sorted: as configured, else
// what the DNS says of the endpoint's own name, which AWS keeps; nil if that
// is unknown.
func expectedOf(t *probes.Target, obs []probes.Observation) []netip.Addr {
	if configured := configuredOf(t); len(configured) > 0 {
		return configured
	}
	return ownAddrs(t, obs)
}

// configuredOf returns those configured addresses that callers use, sorted.
func configuredOf(t *probes.Target) []netip.Addr {
	return slices.DeleteFunc(sorted(t.Endpoint.Addresses), func(a netip.Addr) bool { return !t.Uses(a) })
}

// ownAddrs returns what the DNS says of the endpoint's own name.
func ownAddrs(t *probes.Target, obs []probes.Observation) []netip.Addr {
	var all []netip.Addr
	for _, o := range obs {
		if o.Name == t.Endpoint.DNSName {
			all = append(all, dnsAddrs(o)...)
		}
	}
	return sort(all)
}

// dnsAddrs returns what the DNS answered, as opposed to the hosts file.
func dnsAddrs(o probes.Observation) []netip.Addr {
	d := Of(o)
	switch {
	case d == nil:
		return nil
	case d.Transport == OverHosts:
		return slices.Concat(d.course().Behind, d.course().Rotated)
	}
	return d.appendAll(nil)
}

// sorted returns the addresses in order, without duplicates; nil if there are none.
func sorted(addrs []netip.Addr) []netip.Addr {
	if len(addrs) == 0 {
		return nil
	}
	return sort(slices.Clone(addrs))
}

// sort is [sorted] in place.
func sort(addrs []netip.Addr) []netip.Addr {
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Clip(slices.Compact(addrs))
}

// compare judges an answer against the endpoint's addresses, as a set; those
// that rotate with them are not blamed.
func compare(t *probes.Target, expected, rotating []netip.Addr, o *probes.Observation) {
	d := Of(*o)
	if o.Outcome != probes.OK {
		return
	}
	if len(expected) == 0 && d.Transport == OverHosts && expectsEndpoint(t) {
		expected = withoutStrangers(d.course().Behind) // all there is to judge the entry by
	}
	var c Comparison
	answers := sort(d.appendAll(nil))
	for _, a := range answers {
		if slices.Contains(expected, a) {
			c.Matching = append(c.Matching, a)
			continue
		}
		if isPublic(a) {
			c.Public = append(c.Public, a)
		}
	}
	for _, a := range expected {
		if !slices.Contains(answers, a) {
			c.Missing = append(c.Missing, a)
		}
	}
	if expectsEndpoint(t) {
		c.Unexpected = strangers(expected, answers)
	}
	c.Unexpected = slices.DeleteFunc(c.Unexpected, func(a netip.Addr) bool { return slices.Contains(rotating, a) })
	if len(c.Matching)+len(c.Missing)+len(c.Unexpected)+len(c.Public) > 0 {
		kept := c
		d.Comparison = &kept
	}
	if len(c.Unexpected) > 0 {
		o.Outcome = probes.Elsewhere
		o.Err = errors.New(d.stray())
	}
}

// expectsEndpoint reports whether the target's names should lead to an endpoint at
// all. A custom domain without one may lead anywhere.
func expectsEndpoint(t *probes.Target) bool {
	e := t.Endpoint
	return t.Kind != probes.CustomDomain || e.ID != "" || e.DNSName != "" || len(e.Addresses) > 0
}

// strangers returns the answers that are not the endpoint's.
//
// Each family is compared by itself: who configured the IPv4 addresses of a
// dual-stack endpoint has said nothing of the IPv6 ones. Where nothing is
// known, a public IPv4 address is a stranger, because endpoints have private
// ones. A public IPv6 address is what instances in a VPC have, too, so it is a
// stranger only in the company of one.
func strangers(expected, answers []netip.Addr) []netip.Addr {
	var odd []netip.Addr
	suspicious := false
	for _, a := range answers {
		switch {
		case slices.Contains(expected, a):
		case a.IsUnspecified(), a.IsMulticast(), knows(expected, a), a.Is4() && isPublic(a):
			odd = append(odd, a)
			suspicious = suspicious || a.Is4() && isPublic(a)
		}
	}
	for _, a := range answers {
		if suspicious && a.Is6() && isPublic(a) && !slices.Contains(expected, a) && !slices.Contains(odd, a) {
			odd = append(odd, a)
		}
	}
	return odd
}

// withoutStrangers returns those addresses that may be an endpoint's. An entry
// of the hosts file that leads past public addresses may well be what leads to
// the endpoint where private DNS is off.
func withoutStrangers(answers []netip.Addr) []netip.Addr {
	odd := strangers(nil, answers)
	return slices.DeleteFunc(slices.Clone(answers), func(a netip.Addr) bool { return slices.Contains(odd, a) })
}

// knows reports whether any address of a's family is expected.
func knows(expected []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(expected, func(e netip.Addr) bool { return e.Is4() == a.Is4() })
}

// isPublic reports whether an address is routable on the internet, as far as
// its number tells: unicast and not private (RFC 1918, RFC 4193), shared (RFC
// 6598), loopback or link-local.
func isPublic(a netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}
