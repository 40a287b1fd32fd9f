package resolve

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// types returns the types of record to ask for: those of the addresses that
// callers use. What ip_family says outweighs resolv.conf's no-aaaa, which is
// about all programs of the machine, and this target's callers may be others.
func (l *lookup) types() []uint16 {
	switch {
	case l.only == probes.IPv6:
		return []uint16{dns.TypeAAAA}
	case l.only == probes.IPv4, l.conf.noAAAA:
		return []uint16{dns.TypeA}
	}
	return []uint16{dns.TypeA, dns.TypeAAAA}
}

// confined notes of an answer without an address that only one type was asked
// for: then nothing is known of the other.
func (l *lookup) confined(types []uint16, f found) found {
	if len(types) > 1 || f.outcome != probes.NoAddress {
		return f
	}
	f.course.Only = dns.TypeToString[types[0]]
	f.err = fmt.Errorf("%s knows the name, but no %s record of it; others were not asked for, since %s", f.server, f.course.Only, confinement(l.only))
	return f
}

// confinement says why only one type of record is asked for.
func confinement(family string) string {
	if family == probes.IPv4 || family == probes.IPv6 {
		return "ip_family is " + family
	}
	return "resolv.conf says no-aaaa"
}

// used is an entry of the hosts file without the addresses that callers do not
// use. If none is left, it says nothing of the name, and the DNS answers.
func used(t *probes.Target, e entry) entry {
	e.addrs = slices.DeleteFunc(slices.Clone(e.addrs), func(a netip.Addr) bool { return !t.Uses(a) })
	return e
}

// halfAsked reports whether a name has no address as far as it was asked for,
// while it may have addresses of the other family.
func halfAsked(o probes.Observation) bool {
	d := Of(o)
	return d != nil && d.course().Only != ""
}

// tells reports what an address that another resolver knows tells of a lookup of
// the same name that did not go well: that what it said is wrong, or that it is
// what it failed to say. Of a family that was not asked for it tells nothing.
func tells(a netip.Addr, o probes.Outcome, c *Course) (refuted, missed bool) {
	record := "AAAA"
	if a.Is4() {
		record = "A"
	}
	switch {
	case o == probes.Elsewhere, o == probes.NoSuchName: // which it said of the name, or of other addresses
		return true, false
	case c.failed(record):
		return false, true
	}
	return c.Only == "" || c.Only == record, false
}

// sayHalfAsked says what was not asked for, and why, of lookups that found no
// address.
func sayHalfAsked(t *probes.Target, because []probes.Observation) []string {
	i := slices.IndexFunc(because, halfAsked)
	if i < 0 {
		return nil
	}
	only, other := "A", "AAAA"
	if Of(because[i]).course().Only == other {
		only, other = other, only
	}
	return []string{fmt.Sprintf("only %s records were asked for, since %s: whether there are %s records is unknown", only, confinement(t.IPFamily), other)}
}
