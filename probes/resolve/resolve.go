// Package resolve asks every resolver for every name of the target and
// compares the answers with the addresses of the VPC endpoint, as nslookup and
// a careful eye would.
//
// It speaks DNS itself, over sockets of its own, because the answers of a
// library resolver do not tell which server gave them, how, or what it said
// instead. It caches nothing and asks from a new port each time: every lookup is
// what a caller that starts now would see. It does not validate DNSSEC, follow
// referrals or ask authoritative servers: callers don't, either.
package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"vpcprobe/probes"
)

const name = "resolve"

// System is the word for the resolver that resolv.conf and the hosts file
// describe.
const System = "system"

// Kind resolves the target's names.
var Kind = probes.Kind{
	Name:     name,
	Doc:      "asks every resolver for every name of the target and compares the answers with the endpoint's addresses (replaces nslookup)",
	Per:      probes.PerTarget,
	Punctual: true,
	Metrics:  []*probes.Metric{answersMatch, missingAddresses, unexpectedAddresses, answerTTL, responses, retransmissions, probes.Delay},
	Rules:    Rules,
	Lanes:    Lanes,
	New: func(sys probes.System) probes.Constructor {
		from := &client{System: sys}
		return func(t *probes.Target) (probes.Probe, error) { return newProbe(from, t) }
	},
}

var (
	answersMatch = &probes.Metric{
		Name:   "dns_answers_match",
		Help:   "Whether the resolver's answer for the name leads to the endpoint and nowhere else (1) or not (0).",
		Labels: []string{"name", "resolver"},
	}
	missingAddresses = &probes.Metric{
		Name:   "dns_missing_addresses",
		Help:   "Addresses of the endpoint that the answer lacked; some is normal where answers rotate.",
		Labels: []string{"name", "resolver"},
	}
	unexpectedAddresses = &probes.Metric{
		Name:   "dns_unexpected_addresses",
		Help:   "Addresses in the answer that are not the endpoint's.",
		Labels: []string{"name", "resolver"},
	}
	answerTTL = &probes.Metric{
		Name:   "dns_answer_ttl_seconds",
		Help:   "For how many seconds the answer may be cached: the lowest TTL of its records.",
		Labels: []string{"name", "resolver"},
	}
	responses = &probes.Metric{
		Name:   "dns_responses_total",
		Help:   "Replies of the resolver to A and AAAA questions, by response code.",
		Type:   probes.Counter,
		Labels: []string{"resolver", "rcode"},
	}
	retransmissions = &probes.Metric{
		Name:   "dns_retransmissions_total",
		Help:   "Questions that were sent to the resolver again because no reply came.",
		Type:   probes.Counter,
		Labels: []string{"resolver"},
	}
)

// A probe holds nothing but what it is bound to: there may be tens of
// thousands, and what follows from the target is quickly said again.
type probe struct {
	from   *client
	target *probes.Target
}

func newProbe(from *client, t *probes.Target) (probes.Probe, error) {
	if len(forms(t)) == 0 {
		return nil, nil
	}
	for _, r := range resolvers(t) {
		if r == System {
			continue
		}
		if _, err := netip.ParseAddrPort(r); err != nil {
			return nil, fmt.Errorf("resolver %q is neither %s nor address:port", r, System)
		}
	}
	return &probe{from, t}, nil
}

// resolvers returns the resolvers to ask.
func resolvers(t *probes.Target) []string {
	if len(t.Resolvers) == 0 {
		return []string{System}
	}
	return t.Resolvers
}

// forms returns the names to ask for: those of the target's name forms, and
// the endpoint's own, whose answer is what the others are compared with.
func forms(t *probes.Target) []probes.Form {
	all := make([]probes.Form, 0, len(t.Via)+1)
	add := func(f probes.Form) {
		if f.Name != "" && !slices.ContainsFunc(all, func(g probes.Form) bool { return g.Name == f.Name }) {
			all = append(all, f)
		}
	}
	for f := range t.Forms() {
		add(f)
	}
	add(probes.Form{Via: probes.ViaEndpoint, Name: t.Endpoint.DNSName})
	return all
}

// Probe implements [probes.Probe].
func (p *probe) Probe(bounded context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
	ctx := probes.Within(bounded, p.target.StepTimeout())
	forms, resolvers := forms(p.target), resolvers(p.target)
	local := readLocal(p.from.System, resolvers, forms)
	obs := make([]probes.Observation, len(forms)*len(resolvers))
	var wg sync.WaitGroup
	for i := 1; i < len(obs); i++ {
		wg.Go(func() { obs[i] = p.resolve(ctx, local, forms[i/len(resolvers)], resolvers[i%len(resolvers)]) })
	}
	obs[0] = p.resolve(ctx, local, forms[0], resolvers[0]) // most targets have no other, and a goroutine costs more than it seems
	wg.Wait()
	p.askAgain(ctx, local, obs)

	// The endpoint's own name may be what the others are compared with, so
	// nothing is judged before everything has been answered.
	expected, rotating := expectedOf(p.target, obs), pool(p.target, obs)
	for i := range obs {
		compare(p.target, expected, rotating, &obs[i])
		measure(&obs[i], expected)
	}
	return obs
}

// resolve asks one resolver for one name.
func (p *probe) resolve(ctx context.Context, local local, form probes.Form, resolver string) probes.Observation {
	l := lookup{from: p.from, name: form.Name, only: p.target.IPFamily}
	switch {
	case resolver != System:
		l.conf = direct(netip.MustParseAddrPort(resolver))
	case local.err != nil:
		return probes.Observation{
			Via: form.Via, Name: form.Name, Resolver: resolver,
			Outcome: probes.Fault, Err: local.err, Detail: new(Detail),
		}
	default:
		l.conf, l.hosts = local.conf, used(p.target, local.hosts.of(form.Name))
	}
	found := l.run(ctx)
	if !found.course.straight() {
		course := found.course
		found.detail.Course = &course
	}
	switch {
	case found.detail.Server != "": // the hosts file
	case resolver != System:
		found.detail.Server = resolver
	default:
		found.detail.Server = found.server.String()
	}
	return probes.Observation{
		Via:      form.Via,
		Name:     form.Name,
		Addr:     found.server,
		Resolver: resolver,
		Start:    found.start,
		Phases:   []probes.Phase{{Name: probes.PhaseResolve, Took: found.took}},
		Outcome:  found.outcome,
		Err:      found.err,
		Values:   found.values(),
		Detail:   found.detail,
	}
}

// measure adds what the comparison counted.
func measure(o *probes.Observation, expected []netip.Addr) {
	if o.Outcome != probes.OK && !o.Outcome.Blames() {
		return
	}
	d := Of(*o)
	o.Values = append(o.Values, answersMatch.If(o.Outcome == probes.OK))
	if len(d.Answers) == 0 {
		return
	}
	o.Values = append(o.Values, unexpectedAddresses.Is(float64(len(d.compared().Unexpected))))
	if len(expected) > 0 {
		o.Values = append(o.Values, missingAddresses.Is(float64(len(d.compared().Missing))))
	}
	if d.Transport != OverHosts {
		o.Values = append(o.Values, answerTTL.Is(float64(d.TTL())))
	}
}
