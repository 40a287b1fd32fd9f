package resolve

import (
	"net/netip"
	"slices"

	"vpcprobe/probes"
)

// maxLanes bounds the addresses walked of one name form. An endpoint has one
// for each availability zone and family; a hostile answer may have thousands.
const maxLanes = 32

// Lanes returns the lanes that the latest lookups open: for each name form the
// addresses that any resolver answered for its name, then those addresses of
// the endpoint that were not among them. Both are sorted, without duplicates,
// and at most 32 for a form, the endpoint's first.
func Lanes(seen probes.Evidence) []probes.Lane {
	t := seen.Target
	expected := Expected(seen)
	var lanes []probes.Lane
	for form := range t.Forms() {
		if form.Name == "" {
			continue
		}
		answered := bounded(Answers(seen, form.Name), expected)
		for _, addr := range answered {
			lanes = append(lanes, lane(t, form, addr, true))
		}
		for _, addr := range expected[:min(len(expected), maxLanes)] {
			if !slices.Contains(answered, addr) {
				lanes = append(lanes, lane(t, form, addr, false))
			}
		}
	}
	return lanes
}

func lane(t *probes.Target, form probes.Form, addr netip.Addr, answered bool) probes.Lane {
	port := t.Port
	if port == 0 {
		port = 443
	}
	return probes.Lane{
		Via:        form.Via,
		ServerName: form.Name,
		Addr:       netip.AddrPortFrom(addr, port),
		Answered:   answered,
	}
}

// bounded keeps maxLanes addresses, those of the endpoint before others.
func bounded(addrs, expected []netip.Addr) []netip.Addr {
	if len(addrs) <= maxLanes {
		return addrs
	}
	var kept, others []netip.Addr
	for _, a := range addrs {
		if slices.Contains(expected, a) {
			kept = append(kept, a)
		} else {
			others = append(others, a)
		}
	}
	return sorted(append(kept, others...)[:maxLanes])
}

// Answers returns the addresses that any resolver answered for a name, sorted
// and without duplicates.
func Answers(seen probes.Evidence, host string) []netip.Addr {
	var all []netip.Addr
	for _, o := range seen.Of(name) {
		if d := Of(o); d != nil && o.Name == host {
			all = d.appendAll(all)
		}
	}
	return sort(all)
}

// Expected returns the endpoint's addresses, sorted: as configured, else what
// the DNS says of the endpoint's own name; nil if unknown.
func Expected(seen probes.Evidence) []netip.Addr {
	return expectedOf(seen.Target, seen.Of(name))
}

// Inside reports whether addr belongs to the endpoint: one of [Expected] where
// addresses of its family are known, else any address that no lookup found to
// be elsewhere. Of a custom domain without an endpoint, every address is. When
// the configured addresses turn out to be out of date (see the rule
// addresses-outdated), the endpoint's own name is believed instead.
func Inside(seen probes.Evidence, addr netip.Addr) bool {
	t := seen.Target
	if !expectsEndpoint(t) {
		return true
	}
	addr = addr.Unmap()
	members := Expected(seen)
	if outdated(seen) {
		members = ownAddrs(t, seen.Of(name))
	}
	if slices.Contains(members, addr) {
		return true
	}
	if knows(members, addr) || addr.Is4() && isPublic(addr) {
		return false
	}
	for _, o := range seen.Of(name) {
		if d := Of(o); d != nil && slices.Contains(d.compared().Unexpected, addr) {
			return false
		}
	}
	return true
}

// MayBeEndpoint reports whether an interface endpoint may have the address, as
// far as its number tells. Of IPv6 it does not: VPCs have addresses there that
// are routable on the internet.
func MayBeEndpoint(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsGlobalUnicast() && !(addr.Is4() && isPublic(addr))
}

// Explains reports whether what lookups found wrong explains failures of the
// layers above on the lane, too. If API and endpoint are of two regions, the
// endpoint knows neither the API nor its names, whichever way it is called. If
// the endpoint is not associated with the API, it does not know the alias as a
// host either. What other lookups find wrong says nothing of lanes that lead to
// the endpoint all the same.
func Explains(seen probes.Evidence, lane probes.Lane) bool {
	for _, o := range seen.Of(name) {
		switch id, _ := causeOf(seen, o); {
		case id == regionMismatch, id == aliasNotAssociated && o.Name == lane.ServerName:
			return true
		}
	}
	return false
}

// outdated reports whether the configured addresses of the endpoint are
// refuted: its own name, which AWS keeps, leads to others, and no other name
// leads to one that only the configuration knows.
func outdated(seen probes.Evidence) bool {
	t := seen.Target
	configured := configuredOf(t)
	own := ownAddrs(t, seen.Of(name))
	foreign := func(a netip.Addr) bool { return knows(configured, a) && !slices.Contains(configured, a) }
	if !slices.ContainsFunc(own, foreign) {
		return false
	}
	for _, o := range seen.Of(name) {
		if o.Name == t.Endpoint.DNSName {
			continue
		}
		for _, a := range dnsAddrs(o) {
			if slices.Contains(configured, a) && !slices.Contains(own, a) {
				return false
			}
		}
	}
	return true
}
