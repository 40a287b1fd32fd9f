package resolve

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"vpcprobe/probes"
)

// causeOf attributes a lookup that did not go well to exactly one rule, so
// that one broken thing is one finding however many lookups it spoils. The
// first that applies wins:
//
//  1. The resolver itself: it is silent, unreachable, failing, refusing or
//     talks nonsense. Nothing can be said of the name then, and another
//     resolver that works explains nothing.
//  2. The hosts file, since it precedes the DNS on this machine only; or the
//     configuration, if the entry leads where the endpoint's own name does.
//  3. Another resolver's DNS leads this same name to the endpoint, so name,
//     endpoint and private DNS are all right: the resolvers disagree, unless what
//     the other one knows is what this one failed to answer.
//  4. The endpoint and the API are of two regions: then the endpoint's private
//     DNS has no such name, and every comparison fails for that reason.
//  5. The name: which one does not exist, and which others do.
//  6. The addresses: public ones instead of private ones, or other private ones.
//
// Answers that differ between resolvers but all lead to the endpoint are no
// fault: they rotate, and a forwarder may pass on only some of them.
func causeOf(seen probes.Evidence, o probes.Observation) (id string, sure probes.Certainty) {
	d := Of(o)
	if d == nil || !o.Outcome.Blames() {
		return "", probes.No
	}
	if id := resolverCause(o, d); id != "" {
		heard := id == resolverSilent && len(d.course().Failed) > 0 // of the other family
		return id, certainIf(alwaysEnds(seen, o) && !heard && !hurried(o) && !shared(id, d))
	}
	if d.Transport == OverHosts {
		return hostsCause(seen, d)
	}
	refuted, missed := elsewhere(seen, o)
	if refuted {
		return resolversDisagree, certainIf(o.Outcome != probes.Elsewhere || impossible(seen, d))
	}
	if missed {
		return failureOf(o.Outcome, d), probes.Likely
	}
	if twoRegions(seen.Target) {
		return regionMismatch, probes.Likely
	}
	if o.Outcome == probes.Elsewhere {
		return addressCause(seen, o, d)
	}
	return nameCause(seen, o)
}

// resolverCause names what is wrong with the resolver, if that is it. It is not
// if it knows the name and no IPv4 address of it: then it is of little matter
// that it fails for IPv6, which is a finding of its own.
func resolverCause(o probes.Observation, d *Detail) string {
	if d.course().failed("AAAA") {
		return ""
	}
	return failureOf(o.Outcome, d)
}

// failureOf names the resolver's failure, if the lookup ended in one.
func failureOf(o probes.Outcome, d *Detail) string {
	switch o {
	case probes.Timeout, probes.Refused, probes.Unreachable, probes.Prohibited, probes.Reset, probes.Closed:
		if d.course().Truncated && d.Transport == OverTCP {
			return resolverTCPBlocked
		}
		if o == probes.Timeout {
			return resolverSilent
		}
		return resolverUnreachable
	case probes.ServerFailed:
		if d.Rcode == "REFUSED" {
			return resolverRefuses
		}
		return resolverFailing
	case probes.BadReply:
		return resolverBadReply
	}
	return ""
}

// hostsCause says why an entry of the hosts file leads elsewhere, as it seems.
func hostsCause(seen probes.Evidence, d *Detail) (string, probes.Certainty) {
	if overtaken(seen, d) {
		return addressesOutdated, probes.Likely
	}
	return hostsOverride, certainIf(len(Expected(seen)) > 0 && impossible(seen, d))
}

// overtaken reports whether the answer leads where the endpoint's own name does,
// and the configuration does not know of it.
func overtaken(seen probes.Evidence, d *Detail) bool {
	return outdated(seen) && within(d.compared().Unexpected, ownAddrs(seen.Target, seen.Of(name)))
}

// impossible reports whether the answer has an address that no interface of the
// endpoint can have. Of any other nothing is certain: the configuration may lack
// an interface, and where answers rotate, the endpoint's own name need not have
// shown it, however often it was asked for (a cache may keep what it showed once).
func impossible(seen probes.Evidence, d *Detail) bool {
	never := func(a netip.Addr) bool { return !MayBeEndpoint(a) }
	return slices.ContainsFunc(d.compared().Unexpected, never) && !slices.ContainsFunc(Expected(seen), never)
}

// hurried reports whether TCP had too little time to tell.
func hurried(o probes.Observation) bool { return errors.Is(o.Err, errHurried) }

// shared reports whether a lookup's servers had too little time to call them
// silent: it was shared among them, and programs give each of them more.
func shared(id string, d *Detail) bool {
	return id == resolverSilent && slices.ContainsFunc(d.course().Tried, func(f Failure) bool { return f.Hurried })
}

// alwaysEnds reports whether all lookups at the resolver ended alike.
func alwaysEnds(seen probes.Evidence, o probes.Observation) bool {
	for _, p := range seen.Of(name) {
		if p.Resolver == o.Resolver && p.Outcome != o.Outcome {
			return false
		}
	}
	return true
}

// elsewhere reports what another resolver's DNS tells of a lookup by leading the
// same name to the endpoint: that it is refuted, or what it missed by failing.
func elsewhere(seen probes.Evidence, o probes.Observation) (refuted, missed bool) {
	for _, p := range seen.Of(name) {
		if p.Name != o.Name || p.Resolver == o.Resolver || p.Outcome != probes.OK || Of(p).Transport == OverHosts {
			continue
		}
		for _, a := range Of(p).Answers {
			r, m := tells(a.Addr, o.Outcome, Of(o).course())
			refuted, missed = refuted || r, missed || m
		}
	}
	return refuted, missed
}

// twoRegions reports whether the endpoint's name and the API's are of
// different regions.
func twoRegions(t *probes.Target) bool {
	there := regionOf(t.Endpoint.DNSName)
	return t.Kind != probes.CustomDomain && there != "" && t.Region != "" && there != t.Region
}

// regionOf returns the region in an endpoint's own name,
// vpce-….execute-api.{region}.vpce.{suffix}.
func regionOf(dnsName string) string {
	labels := strings.Split(plain(dnsName), ".")
	if len(labels) > 3 && labels[1] == "execute-api" && labels[3] == "vpce" {
		return labels[2]
	}
	return ""
}

// nameCause says why a name does not exist or has no address. What other names
// the same resolver knows tells the API's absence from the endpoint's, and
// both from a resolver that knows nothing.
func nameCause(seen probes.Evidence, o probes.Observation) (string, probes.Certainty) {
	var at names
	for _, p := range seen.Of(name) {
		if p.Resolver == o.Resolver {
			at.note(seen.Target, p)
		}
	}
	absent := o.Outcome == probes.NoSuchName
	switch {
	case o.Name == seen.Target.Endpoint.DNSName && absent && (at.apiMissing == 0 || at.apiFound > 0):
		return endpointNotFound, certainIf(at.publicFound)
	case o.Via == probes.ViaAlias && absent && at.endpointMissing && (at.apiMissing == 0 || at.apiFound > 0):
		return endpointNotFound, probes.Likely // both names hold the endpoint's id
	case o.Via == probes.ViaAlias && absent && at.apiMissing == 0 && (at.apiFound > 0 || at.endpointFound):
		return aliasNotAssociated, probes.Likely
	case o.Via == probes.ViaAlias && absent && at.apiMissing == 0:
		return aliasNotAssociated, probes.Possible
	case absent: // where A failed: some servers deny names when asked for AAAA (RFC 4074, 4.2)
		return nameNotFound, certainIf(!Of(o).course().failed("A"))
	}
	return nameWithoutAddress, certainIf(o.Outcome == probes.NoAddress)
}

// names counts which names one resolver knows: the endpoint's own, and those
// of the API except its alias; and whether it knows a record of the public DNS,
// in which the endpoint's own name is to be found, too. A name of which only one
// type of record was asked for exists, whether or not there is one.
type names struct {
	endpointFound, endpointMissing bool
	apiFound, apiMissing           int
	publicFound                    bool
}

func (n *names) note(t *probes.Target, o probes.Observation) {
	found := o.Outcome == probes.OK || o.Outcome == probes.Elsewhere
	exists := found || halfAsked(o)
	missing := !exists && (o.Outcome == probes.NoSuchName || o.Outcome == probes.NoAddress)
	if d := Of(o); found && d.Transport != OverHosts {
		n.publicFound = n.publicFound || o.Via == probes.ViaAlias || len(d.compared().Public) > 0
	}
	switch {
	case o.Name == t.Endpoint.DNSName:
		n.endpointFound, n.endpointMissing = exists, missing
	case o.Via == probes.ViaAlias:
	case exists:
		n.apiFound++
	case missing:
		n.apiMissing++
	}
}

// addressCause says why a name leads elsewhere.
func addressCause(seen probes.Evidence, o probes.Observation, d *Detail) (string, probes.Certainty) {
	t := seen.Target
	own := ownAddrs(t, seen.Of(name))
	configured := configuredOf(t)
	switch {
	case o.Via == probes.ViaPrivateDNS && onlyPublic(d):
		return privateDNSOff, certainIf(fromAmazon(o.Addr.Addr()) && impossible(seen, d))
	case overtaken(seen, d):
		return addressesOutdated, probes.Likely
	case len(configured) == 0 && len(own) > 0 && o.Name != t.Endpoint.DNSName:
		if len(d.compared().Matching) > 0 {
			return namesDisagree, probes.Possible // a cache may keep the shorter one of answers that rotate
		}
		return namesDisagree, probes.Likely
	}
	return wrongAddresses, certainIf(len(own) > 0 && within(own, configured) && impossible(seen, d))
}

// onlyPublic reports whether every address of the answer is a public one that
// is not the endpoint's.
func onlyPublic(d *Detail) bool {
	return len(d.compared().Public) > 0 && len(d.compared().Public) == len(sort(d.appendAll(nil))) && len(d.compared().Matching) == 0
}

// fromAmazon reports whether the answer came from the resolver that Amazon
// provides to every VPC at a link-local address. Of any other resolver it is
// unknown whether it belongs to the endpoint's VPC.
func fromAmazon(server netip.Addr) bool {
	return server == netip.AddrFrom4([4]byte{169, 254, 169, 253}) || server == netip.MustParseAddr("fd00:ec2::253")
}

func within(some, all []netip.Addr) bool {
	for _, a := range some {
		if !slices.Contains(all, a) {
			return false
		}
	}
	return true
}

func certainIf(b bool) probes.Certainty {
	if b {
		return probes.Certain
	}
	return probes.Likely
}
