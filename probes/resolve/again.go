package resolve

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"

	"vpcprobe/probes"
)

// maxAgain is how many questions are asked again. An endpoint has one address
// in each availability zone, of which there are a few: two names that lead to
// the same ones show it long before.
const maxAgain = 24

// askAgain asks for the endpoint's own name again, and for names that do not
// seem to lead where it leads, until that is explained or nobody wants to try
// any longer. Answers may rotate and show only some interfaces each: two that
// have nothing in common are then no fault. Where the endpoint's addresses are
// configured, they tell, and nothing is asked twice.
func (p *probe) askAgain(ctx context.Context, local local, obs []probes.Observation) {
	if len(configuredOf(p.target)) > 0 || !expectsEndpoint(p.target) || twoRegions(p.target) {
		return
	}
	for range maxAgain {
		odd := unexplained(p.target, obs)
		if len(odd) == 0 {
			return
		}
		// At random, since a server that gives everybody the next address in
		// turn might keep in step with any order of ours.
		worth := asked(obs, p.target.Endpoint.DNSName)
		if rand.IntN(2) == 0 {
			worth = asked(obs, odd...)
		}
		if len(worth) == 0 || !p.again(ctx, local, &obs[worth[rand.IntN(len(worth))]]) {
			return
		}
	}
}

// asked returns the positions of the lookups that answered for a name.
func asked(obs []probes.Observation, names ...string) []int {
	var at []int
	for i, o := range obs {
		if o.Outcome == probes.OK && slices.Contains(names, o.Name) {
			at = append(at, i)
		}
	}
	return at
}

// unexplained lists the names to ask for again, since what leads to addresses at
// which the endpoint may be, but which its own name has not shown yet, is not
// explained: the names that do, and for an entry of the hosts file, which does not
// rotate, the endpoint's own.
func unexplained(t *probes.Target, obs []probes.Observation) []string {
	own := ownAddrs(t, obs)
	if len(own) == 0 {
		return nil
	}
	mayBeOne := func(a netip.Addr) bool { return !isPublic(a) || slices.ContainsFunc(own, isPublic) }
	var odd []string
	for _, o := range obs {
		d := Of(o)
		if !slices.ContainsFunc(strangers(own, d.appendAll(nil)), mayBeOne) {
			continue
		}
		if d.Transport == OverHosts {
			odd = append(odd, t.Endpoint.DNSName)
		} else {
			odd = append(odd, o.Name)
		}
	}
	return odd
}

// again asks one resolver for one name once more, and notes what is new. It
// returns false if there was no answer.
func (p *probe) again(ctx context.Context, local local, o *probes.Observation) bool {
	more := p.resolve(ctx, local, probes.Form{Via: o.Via, Name: o.Name}, o.Resolver)
	for _, v := range more.Values {
		if v.Metric != probes.Delay {
			o.Values = append(o.Values, v)
		}
	}
	known, d := dnsAddrs(*o), Of(*o)
	for _, a := range dnsAddrs(more) {
		if !slices.Contains(known, a) {
			d.Course = cmp.Or(d.Course, new(Course))
			d.Rotated = append(d.Rotated, a)
		}
	}
	return more.Outcome == probes.OK
}

// pool returns the addresses of all names that rotate together with the
// endpoint's own: those that share an address with it, or with a name that
// does. All of them are the endpoint's, though its own name may not have shown
// them all. It is nil where nothing rotates: then who shares one address with
// the endpoint and has another one besides is not excused.
func pool(t *probes.Target, obs []probes.Observation) []netip.Addr {
	if !slices.ContainsFunc(obs, func(o probes.Observation) bool { return len(Of(o).course().Rotated) > 0 }) {
		return nil
	}
	shown := ownAddrs(t, obs)
	for grown := true; grown; {
		grown = false
		for _, o := range obs {
			for _, a := range shares(obs, o.Name, shown) {
				if !slices.Contains(shown, a) {
					shown, grown = append(shown, a), true
				}
			}
		}
	}
	return shown
}

// shares returns what the DNS answers for a name at any resolver, if one of
// the addresses is among those given.
func shares(obs []probes.Observation, name string, given []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, o := range obs {
		if o.Name == name {
			all = append(all, dnsAddrs(o)...)
		}
	}
	if !slices.ContainsFunc(all, func(a netip.Addr) bool { return slices.Contains(given, a) }) {
		return nil
	}
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return a.Is4() && isPublic(a) })
}
