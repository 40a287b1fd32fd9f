package resolve

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"vpcprobe/probes"
)

const public = "203.0.113.7"

// A scenario is a state of the world and the exact set of findings it yields.
type scenario struct {
	name    string
	change  func(*probes.Target) // of orders
	at      map[string]dns.Handler
	hosts   string
	conf    string
	finding []string
}

func unknownAddresses(t *probes.Target) { t.Endpoint.Addresses = nil }
func onlyAddresses(t *probes.Target)    { t.Endpoint.DNSName = ""; t.Via = t.Via[:1] }
func nothingKnown(t *probes.Target)     { t.Endpoint = probes.Endpoint{}; t.Via = t.Via[:1] }
func via(via ...probes.Via) func(*probes.Target) {
	return func(t *probes.Target) { t.Via = via }
}
func both(t *probes.Target) { t.Resolvers = []string{first, second} }
func system(t *probes.Target) {
	t.Resolvers = []string{System}
}
func hasty(t *probes.Target) { t.Timeout = time.Second }
func all(changes ...func(*probes.Target)) func(*probes.Target) {
	return func(t *probes.Target) {
		for _, change := range changes {
			change(t)
		}
	}
}

// one is the first resolver alone.
func one(h dns.Handler) map[string]dns.Handler { return map[string]dns.Handler{first: h} }

// six is healthy, with six interfaces.
func six() zone {
	all := []string{"10.0.1.17", "10.0.2.23", "10.0.3.31", "10.0.4.5", "10.0.5.5", "10.0.6.5"}
	return healthy().with(api, all...).with(alias, all...).with(endpoint, all...)
}

// rotating makes servers that answer for each name with so many addresses at a
// time, and with the next ones each time: all names start at another place.
func rotating(z zone, few int) dns.Handler {
	var mu sync.Mutex
	turns := map[string]int{}
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		name := q.Question[0].Name
		mu.Lock()
		if _, ok := turns[name]; !ok {
			turns[name] = 2 * len(turns)
		}
		turn := turns[name]
		if q.Question[0].Qtype == dns.TypeA {
			turns[name]++
		}
		mu.Unlock()
		w.WriteMsg(some(z.answer(q), turn, few))
	})
}

// countingAll is a server that gives one address at a time, the next one to
// whatever it is asked.
func countingAll(z zone) dns.Handler {
	var turn atomic.Int64
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		n := turn.Load()
		if q.Question[0].Qtype == dns.TypeA {
			n = turn.Add(1)
		}
		w.WriteMsg(some(z.answer(q), int(n), 1))
	})
}

// some leaves a few addresses of an answer, those whose turn it is.
func some(m *dns.Msg, turn, few int) *dns.Msg {
	i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeA })
	if i < 0 {
		return m
	}
	addrs, kept := m.Answer[i:], m.Answer[:i:i]
	for k := range min(few, len(addrs)) {
		kept = append(kept, addrs[(turn+k)%len(addrs)])
	}
	m.Answer = kept
	return m
}

func two(a, b dns.Handler) map[string]dns.Handler {
	return map[string]dns.Handler{first: a, second: b}
}

// internet is what a resolver outside the VPC says.
func internet() zone { return healthy().with(api, public).with(alias) }

var scenarios = []scenario{
	// Nothing is wrong.
	{name: "healthy", at: one(healthy())},
	{name: "healthy, addresses not configured", change: unknownAddresses, at: one(healthy())},
	{name: "healthy, nothing known of the endpoint", change: nothingKnown, at: one(healthy())},
	{name: "answers rotate", at: one(healthy().with(api, "10.0.1.17").with(alias, "10.0.2.23"))},
	{name: "resolvers show different interfaces", change: both,
		at: two(healthy().with(api, "10.0.1.17"), healthy().with(api, "10.0.2.23"))},
	{name: "dual stack, only IPv4 configured",
		at: one(zone{api: {"10.0.1.17", "2600:1f18::17"}, alias: {"10.0.1.17", "2600:1f18::17"}, endpoint: {"10.0.2.23", "2600:1f18::23"}})},
	{name: "dual stack, addresses not configured", change: unknownAddresses,
		at: one(zone{api: {"10.0.1.17", "2600:1f18::17"}, alias: {"10.0.1.17"}, endpoint: {"10.0.1.17", "2600:1f18::17"}})},
	{name: "IPv6 only, nothing known", change: nothingKnown, at: one(zone{api: {"2600:1f18::17"}})},
	{name: "IPv6 only, unique local", change: nothingKnown, at: one(zone{api: {"fd00::17"}})},
	{name: "a VPC with public addresses", change: unknownAddresses,
		at: one(zone{api: {"198.51.100.17"}, alias: {"198.51.100.17"}, endpoint: {"198.51.100.17"}})},
	{name: "custom domain anywhere", change: anywhere, at: one(zone{domain: {public, "10.1.1.1"}})},
	{name: "custom domain as an alias for the endpoint", change: ofEndpoint, at: one(healthy())},
	{name: "hosts file leads to the endpoint", change: system, conf: "nameserver 10.0.0.2", hosts: "10.0.1.17 " + api, at: one(healthy())},
	{name: "hosts file leads to the endpoint, DNS lacks the name", change: system, conf: "nameserver 10.0.0.2",
		hosts: "10.0.1.17 " + api, at: one(healthy().with(api))},
	{name: "hosts file leads a custom domain elsewhere on purpose", change: all(anywhere, system), conf: "nameserver 10.0.0.2",
		hosts: "10.1.1.2 " + domain, at: one(zone{domain: {public}})},
	{name: "hosts file leads to the endpoint because private DNS is off, nothing known", change: all(system, nothingKnown), conf: "nameserver 10.0.0.2",
		hosts: "10.0.1.17 " + api, at: one(healthy().with(api, public))},
	{name: "hosts file leads to one interface because private DNS is off, answers rotate", change: all(system, unknownAddresses, via(probes.ViaPrivateDNS)), conf: "nameserver 10.0.0.2",
		hosts: "10.0.4.5 " + api, at: one(rotating(six().with(api, public), 1))}, // no name begins with the fourth of six
	{name: "private API without private DNS, called by other names", change: via(probes.ViaEndpoint, probes.ViaAlias),
		at: one(healthy().with(api, public))},

	// One thing is wrong.
	{name: "private DNS off", at: one(healthy().with(api, public)), finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, addresses not configured", change: unknownAddresses, at: one(healthy().with(api, public)),
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, nothing known", change: nothingKnown, at: one(healthy().with(api, public)),
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, only addresses known", change: onlyAddresses, at: one(healthy().with(api, public)),
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, dual stack", change: nothingKnown, at: one(zone{api: {public, "2600:9000::1"}}),
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, says Amazon's own resolver", change: func(t *probes.Target) { t.Resolvers = []string{"169.254.169.253:53"} },
		at: map[string]dns.Handler{"169.254.169.253:53": healthy().with(api, public)}, finding: []string{"private-dns-off certain"}},
	{name: "private DNS off, as it seems where endpoints have public addresses", change: func(t *probes.Target) {
		t.Resolvers, t.Endpoint.Addresses = []string{"169.254.169.253:53"}, addrs("2600:1f18::17")
	}, at: map[string]dns.Handler{"169.254.169.253:53": zone{api: {"2600:1f18::18"}, alias: {"2600:1f18::17"}, endpoint: {"2600:1f18::17"}}},
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off at both resolvers", change: both, at: two(healthy().with(api, public), healthy().with(api, "203.0.113.8")),
		finding: []string{"private-dns-off likely"}},
	{name: "API unknown", at: one(healthy().with(api)), finding: []string{"name-not-found certain"}},
	{name: "API unknown, and its alias", at: one(healthy().with(api).with(alias)), finding: []string{"name-not-found certain"}},
	{name: "API unknown at both resolvers", change: both, at: two(healthy().with(api), healthy().with(api)),
		finding: []string{"name-not-found certain"}},
	{name: "resolver knows nothing", at: one(zone{}), finding: []string{"name-not-found certain"}},
	{name: "API without address", at: one(healthy().with(api, "NOERROR")), finding: []string{"name-without-address certain"}},
	{name: "alias not associated", at: one(healthy().with(alias)), finding: []string{"alias-not-associated likely"}},
	{name: "alias not associated, walked alone beside the endpoint", change: via(probes.ViaAlias), at: one(healthy().with(alias)),
		finding: []string{"alias-not-associated likely"}},
	{name: "alias not associated, nothing to compare with", change: all(via(probes.ViaAlias), func(t *probes.Target) { t.Endpoint.DNSName = "" }),
		at: one(healthy().with(alias)), finding: []string{"alias-not-associated possible"}},
	{name: "alias without address", at: one(healthy().with(alias, "NOERROR")), finding: []string{"name-without-address certain"}},
	{name: "endpoint unknown", at: one(healthy().with(endpoint)), finding: []string{"endpoint-not-found certain"}},
	{name: "endpoint unknown, addresses not configured", change: unknownAddresses, at: one(healthy().with(endpoint)),
		finding: []string{"endpoint-not-found certain"}},
	{name: "endpoint without address", at: one(healthy().with(endpoint, "NOERROR")), finding: []string{"name-without-address certain"}},
	{name: "resolver hides private addresses", at: one(internet().with(endpoint, "NOERROR").with(alias, "NOERROR")),
		finding: []string{"name-without-address certain", "private-dns-off likely"}},
	{name: "endpoint unknown to a resolver of which only the private zone is known", change: via(probes.ViaPrivateDNS),
		at: one(healthy().with(endpoint)), finding: []string{"endpoint-not-found likely"}},
	{name: "endpoint unknown, walked alone", change: via(probes.ViaEndpoint), at: one(zone{}), finding: []string{"endpoint-not-found likely"}},
	{name: "endpoint's id unknown in both its names", at: one(healthy().with(endpoint).with(alias)), finding: []string{"endpoint-not-found likely"}},
	{name: "endpoint unknown, alias walked alone", change: via(probes.ViaAlias), at: one(healthy().with(endpoint).with(alias)),
		finding: []string{"endpoint-not-found likely"}},
	{name: "API leads to other private addresses", at: one(healthy().with(api, "10.0.9.9")), finding: []string{"wrong-addresses likely"}},
	{name: "API leads to other private addresses, only addresses known", change: onlyAddresses, at: one(healthy().with(api, "10.0.9.9")),
		finding: []string{"wrong-addresses likely"}},
	{name: "API and alias lead to other private addresses", at: one(healthy().with(api, "10.0.9.9").with(alias, "10.0.9.9")),
		finding: []string{"wrong-addresses likely"}},
	{name: "split answer, one address too many", at: one(healthy().with(api, "10.0.1.17", "10.0.9.9")), finding: []string{"wrong-addresses likely"}},
	{name: "split answer, private and public", at: one(healthy().with(api, "10.0.1.17", public)), finding: []string{"wrong-addresses certain"}},
	{name: "split answer, private and public, nothing known", change: nothingKnown, at: one(zone{api: {"10.0.1.17", public}}),
		finding: []string{"wrong-addresses likely"}},
	{name: "sinkhole", at: one(healthy().with(api, "0.0.0.0")), finding: []string{"wrong-addresses certain"}},
	{name: "sinkhole, nothing known", change: nothingKnown, at: one(zone{api: {"0.0.0.0"}}), finding: []string{"wrong-addresses likely"}},
	{name: "wrong IPv6 address", change: func(t *probes.Target) { t.Endpoint.Addresses = append(t.Endpoint.Addresses, addrs("fd00::17")...) },
		at: one(healthy().with(api, "10.0.1.17", "fd00::99")), finding: []string{"wrong-addresses likely"}},
	{name: "alias public", at: one(healthy().with(alias, public)), finding: []string{"wrong-addresses certain"}},
	{name: "endpoint's name leads elsewhere, the API's does not", at: one(healthy().with(endpoint, "10.0.9.9")),
		finding: []string{"wrong-addresses likely"}},
	{name: "custom domain leads past its endpoint", change: ofEndpoint, at: one(healthy().with(domain, public)),
		finding: []string{"wrong-addresses certain"}},
	{name: "API leads to an interface that is not configured, answers rotate", at: one(healthy().with(endpoint, "10.0.1.17").with(api, "10.0.3.31")),
		finding: []string{"wrong-addresses likely"}},
	{name: "alias leads to another public address, as the endpoint's are", change: func(t *probes.Target) { t.Endpoint.Addresses = addrs("198.51.100.17") },
		at:      one(zone{api: {"198.51.100.17"}, alias: {"198.51.100.18"}, endpoint: {"198.51.100.17"}}),
		finding: []string{"wrong-addresses likely"}},
	{name: "custom domain unknown", change: anywhere, at: one(zone{}), finding: []string{"name-not-found certain"}},
	{name: "custom domain without address", change: anywhere, at: one(zone{domain: {"NOERROR"}}), finding: []string{"name-without-address certain"}},
	{name: "names disagree", change: unknownAddresses, at: one(healthy().with(api, "10.0.9.9")), finding: []string{"names-disagree likely"}},
	{name: "names disagree in part", change: unknownAddresses, at: one(healthy().with(api, "10.0.1.17", "10.0.9.9")),
		finding: []string{"names-disagree possible"}},
	{name: "answers rotate, addresses not configured", change: unknownAddresses, at: one(rotating(healthy(), 1))},
	{name: "answers rotate, six interfaces one at a time", change: unknownAddresses, at: one(rotating(six(), 1))},
	{name: "answers rotate, six interfaces two at a time", change: unknownAddresses, at: one(rotating(six(), 2))},
	{name: "answers rotate at two resolvers", change: all(unknownAddresses, both), at: two(rotating(six(), 1), rotating(six(), 2))},
	{name: "answers rotate for a custom domain", change: all(ofEndpoint, unknownAddresses), at: one(rotating(six(), 1))},
	{name: "answers rotate, the server counts them all", change: unknownAddresses, at: one(countingAll(six()))},
	{name: "answers rotate, and the name leads elsewhere", change: unknownAddresses, at: one(rotating(six().with(api, "10.0.9.9", "10.0.9.10"), 1)),
		finding: []string{"names-disagree likely"}},
	{name: "answers rotate, and the name leads to the internet", change: unknownAddresses, at: one(rotating(six().with(api, public), 1)),
		finding: []string{"private-dns-off likely"}},
	{name: "custom domain and endpoint disagree", change: all(ofEndpoint, unknownAddresses), at: one(healthy().with(domain, "10.0.9.9")),
		finding: []string{"names-disagree likely"}},
	{name: "endpoint created anew", at: one(zone{api: {"10.0.7.7"}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}),
		finding: []string{"addresses-outdated likely"}},
	{name: "endpoint got another subnet", at: one(zone{api: {"10.0.1.17", "10.0.3.3"}, alias: {"10.0.1.17"}, endpoint: {"10.0.1.17", "10.0.2.23", "10.0.3.3"}}),
		finding: []string{"addresses-outdated likely"}},
	{name: "endpoint created anew, the hosts file knows", change: system, conf: "nameserver 10.0.0.2", hosts: "10.0.7.7 " + api,
		at: one(zone{api: {"10.0.7.7"}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}), finding: []string{"addresses-outdated likely"}},
	{name: "endpoint created anew, the hosts file knows, private DNS off", change: system, conf: "nameserver 10.0.0.2", hosts: "10.0.7.7 " + api,
		at: one(zone{api: {public}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}), finding: []string{"addresses-outdated likely"}},
	{name: "two regions, public answer", change: otherRegion, at: one(zone{endpoint: {"10.0.1.17"}, "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com": {public}}),
		finding: []string{"region-mismatch likely"}},
	{name: "two regions, no such name", change: otherRegion, at: one(zone{endpoint: {"10.0.1.17"}}), finding: []string{"region-mismatch likely"}},
	{name: "two regions, other private addresses", change: all(otherRegion, unknownAddresses),
		at:      one(zone{endpoint: {"10.0.1.17"}, "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com": {"10.7.7.7"}}),
		finding: []string{"region-mismatch likely"}},

	// The resolver is at fault.
	{name: "resolver silent", change: hasty, at: one(silent), finding: []string{"resolver-silent certain"}},
	{name: "both resolvers silent", change: all(hasty, both), at: two(silent, silent), finding: []string{"resolver-silent certain"}},
	{name: "resolver silent on one name", change: hasty, at: one(except(api, healthy(), silent)), finding: []string{"resolver-silent likely"}},
	{name: "second resolver silent", change: all(hasty, both), at: two(healthy(), silent), finding: []string{"resolver-silent certain"}},
	{name: "no resolver there", at: nil, finding: []string{"resolver-unreachable certain"}},
	{name: "resolver fails", at: one(says(dns.RcodeServerFailure)), finding: []string{"resolver-failing certain"}},
	{name: "resolver fails for one name", at: one(except(api, healthy(), says(dns.RcodeServerFailure))), finding: []string{"resolver-failing likely"}},
	{name: "resolver refuses", at: one(says(dns.RcodeRefused)), finding: []string{"resolver-refuses certain"}},
	{name: "second resolver fails", change: both, at: two(healthy(), says(dns.RcodeServerFailure)), finding: []string{"resolver-failing certain"}},
	{name: "resolver talks nonsense", change: hasty, at: one(wrongID), finding: []string{"resolver-bad-reply certain"}},
	{name: "AAAA questions dropped", change: hasty, at: one(only(dns.TypeA, healthy())), finding: []string{"one-family-failing certain"}},
	{name: "AAAA questions dropped, no IPv4 addresses", change: all(hasty, nothingKnown), at: one(only(dns.TypeA, zone{api: {"NOERROR"}})),
		finding: []string{"name-without-address likely", "one-family-failing certain"}},
	{name: "A questions dropped, no IPv6 addresses", change: all(hasty, nothingKnown), at: one(only(dns.TypeAAAA, zone{api: {"NOERROR"}})),
		finding: []string{"resolver-silent likely"}},
	{name: "A questions fail, no IPv6 addresses", change: nothingKnown, at: one(byType(says(dns.RcodeServerFailure), zone{api: {"NOERROR"}})),
		finding: []string{"resolver-failing certain"}},
	{name: "AAAA questions fail", at: one(byType(healthy(), says(dns.RcodeServerFailure))), finding: []string{"one-family-failing certain"}},
	{name: "AAAA questions denied, A questions dropped", change: all(hasty, nothingKnown), at: one(only(dns.TypeAAAA, zone{})), finding: []string{"name-not-found likely"}},
	{name: "AAAA questions denied", at: one(byType(healthy(), says(dns.RcodeNameError))), finding: []string{"one-family-failing certain"}},
	{name: "first nameserver silent", change: all(hasty, system), conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2", at: two(healthy(), silent),
		finding: []string{"nameserver-failing likely"}},
	{name: "first nameserver silent for as long as resolv.conf grants", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2\noptions timeout:1 attempts:1", at: two(healthy(), silent),
		finding: []string{"nameserver-failing certain"}},
	{name: "first of three nameservers slower than our share, faster than resolv.conf grants", change: all(hasty, system),
		conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2\nnameserver 10.0.0.2", at: two(healthy(), slowly(450*time.Millisecond, healthy())),
		finding: []string{"nameserver-failing likely"}},
	{name: "first nameserver fails", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2", at: two(healthy(), says(dns.RcodeServerFailure)),
		finding: []string{"nameserver-failing certain"}},
	{name: "first nameserver fails for one name", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2",
		at:      two(healthy(), except(api, healthy(), says(dns.RcodeServerFailure))),
		finding: []string{"nameserver-failing likely"}},
	{name: "second nameserver silent", change: system, conf: "nameserver 10.0.0.2\nnameserver 10.9.0.2", at: two(healthy(), silent)},
	{name: "all nameservers fail", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2",
		at:      two(says(dns.RcodeServerFailure), says(dns.RcodeServerFailure)),
		finding: []string{"resolver-failing certain"}},
	{name: "all nameservers silent, each for less than resolv.conf grants", change: all(hasty, system), conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2",
		at: two(silent, silent), finding: []string{"resolver-silent likely"}},
	{name: "all nameservers silent for as long as resolv.conf grants", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2\noptions timeout:1 attempts:1",
		at: two(silent, silent), finding: []string{"resolver-silent certain"}},

	// Resolvers disagree.
	{name: "second resolver sees the internet", change: both, at: two(healthy(), internet()), finding: []string{"resolvers-disagree certain"}},
	{name: "first resolver sees the internet", change: both, at: two(internet(), healthy()), finding: []string{"resolvers-disagree certain"}},
	{name: "second resolver is stale", change: both, at: two(healthy(), healthy().with(api, "10.0.9.9")), finding: []string{"resolvers-disagree likely"}},
	{name: "endpoint created anew, second resolver is stale", change: both, at: two(zone{api: {"10.0.7.7"}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}, healthy()),
		finding: []string{"resolvers-disagree likely"}},
	{name: "second resolver leads to an interface that is not configured, answers rotate", change: both,
		at:      two(healthy(), healthy().with(api, "10.0.3.31").with(endpoint, "10.0.1.17")),
		finding: []string{"resolvers-disagree likely"}},
	{name: "second resolver drops AAAA questions, IPv6 only", change: all(hasty, both, nothingKnown), at: two(zone{api: {"fd00::17"}}, only(dns.TypeA, zone{api: {"fd00::17"}})),
		finding: []string{"one-family-failing certain", "resolver-silent likely"}},
	{name: "second resolver fails for AAAA, IPv6 only", change: all(both, nothingKnown), at: two(zone{api: {"fd00::17"}}, byType(zone{api: {"NOERROR"}}, says(dns.RcodeServerFailure))),
		finding: []string{"one-family-failing certain", "resolver-failing likely"}},
	{name: "second resolver has no A and fails for AAAA", change: all(both, nothingKnown), at: two(zone{api: {"10.0.1.17", "fd00::17"}}, byType(zone{api: {"NOERROR"}}, says(dns.RcodeServerFailure))),
		finding: []string{"one-family-failing certain", "resolvers-disagree certain"}},
	{name: "second resolver denies A and fails for AAAA", change: all(both, nothingKnown), at: two(zone{api: {"fd00::17"}}, byType(zone{}, says(dns.RcodeServerFailure))),
		finding: []string{"one-family-failing certain", "resolvers-disagree certain"}},
	{name: "second resolver knows nothing", change: both, at: two(healthy(), zone{}), finding: []string{"resolvers-disagree certain"}},
	{name: "second resolver has no addresses", change: both, at: two(healthy(), healthy().with(api, "NOERROR")), finding: []string{"resolvers-disagree certain"}},
	{name: "second resolver knows nothing, addresses not configured", change: all(both, unknownAddresses), at: two(healthy(), zone{}),
		finding: []string{"resolvers-disagree certain"}},
	{name: "custom domain known to one", change: all(anywhere, both), at: two(zone{domain: {public}}, zone{}), finding: []string{"resolvers-disagree certain"}},

	// The hosts file overrides.
	{name: "hosts file leads elsewhere", change: system, conf: "nameserver 10.0.0.2", hosts: "10.0.9.9 " + api, at: one(healthy()),
		finding: []string{"hosts-override likely"}},
	{name: "hosts file leads to the internet", change: system, conf: "nameserver 10.0.0.2", hosts: public + " " + api, at: one(healthy()),
		finding: []string{"hosts-override certain"}},
	{name: "hosts file leads to the internet, addresses not configured", change: all(system, unknownAddresses), conf: "nameserver 10.0.0.2",
		hosts: public + " " + api, at: one(healthy()), finding: []string{"hosts-override certain"}},
	{name: "hosts file leads to an interface that is not configured, answers rotate", change: system, conf: "nameserver 10.0.0.2",
		hosts: "10.0.3.31 " + api, at: one(healthy().with(endpoint, "10.0.1.17")), finding: []string{"hosts-override likely"}},
	{name: "hosts file leads to a public address, as the endpoint's are", change: all(system, unknownAddresses), conf: "nameserver 10.0.0.2",
		hosts: public + " " + api, at: one(zone{api: {"198.51.100.17"}, alias: {"198.51.100.17"}, endpoint: {"198.51.100.17"}}), finding: []string{"hosts-override likely"}},
	{name: "hosts file leads elsewhere, other resolver does not", change: func(t *probes.Target) { t.Resolvers = []string{System, first} },
		conf: "nameserver 10.0.0.2", hosts: "10.0.9.9 " + api, at: one(healthy()), finding: []string{"hosts-override likely"}},
	{name: "hosts file leads elsewhere, addresses not configured", change: all(system, unknownAddresses), conf: "nameserver 10.0.0.2",
		hosts: "10.0.9.9 " + api, at: one(healthy()), finding: []string{"hosts-override likely"}},
	{name: "hosts file leads the endpoint's name elsewhere", change: all(system, unknownAddresses), conf: "nameserver 10.0.0.2",
		hosts: "10.0.9.9 " + endpoint, at: one(healthy()), finding: []string{"hosts-override likely"}},
	{name: "hosts file leads elsewhere, nothing known", change: all(system, nothingKnown), conf: "nameserver 10.0.0.2",
		hosts: "10.0.9.9 " + api, at: one(healthy()), finding: []string{"hosts-override likely"}},
	{name: "hosts file hides that private DNS is off, on this machine", change: func(t *probes.Target) { t.Resolvers = []string{System, first} },
		conf: "nameserver 10.0.0.2", hosts: "10.0.1.17 " + api, at: one(healthy().with(api, public)), finding: []string{"private-dns-off likely"}},

	// Several things are wrong at once.
	{name: "private DNS off and a silent resolver", change: all(hasty, both), at: two(healthy().with(api, public), silent),
		finding: []string{"private-dns-off likely", "resolver-silent certain"}},
	{name: "private DNS off and the alias not associated", at: one(internet()),
		finding: []string{"alias-not-associated likely", "private-dns-off likely"}},
	{name: "private DNS off and the endpoint deleted", at: one(healthy().with(api, public).with(endpoint).with(alias)),
		finding: []string{"endpoint-not-found certain", "private-dns-off likely"}},
	{name: "wrong addresses and the alias not associated", at: one(healthy().with(api, "10.0.9.9").with(alias)),
		finding: []string{"alias-not-associated likely", "wrong-addresses likely"}},
	{name: "hosts override and the alias not associated", change: system, conf: "nameserver 10.0.0.2", hosts: "10.0.9.9 " + api,
		at: one(healthy().with(alias)), finding: []string{"alias-not-associated likely", "hosts-override likely"}},
	{name: "one resolver fails, the other is stale", change: both, at: two(says(dns.RcodeServerFailure), healthy().with(api, "10.0.9.9")),
		finding: []string{"resolver-failing certain", "wrong-addresses likely"}},
	{name: "first nameserver fails and private DNS is off", change: system, conf: "nameserver 10.9.0.2\nnameserver 10.0.0.2",
		at:      two(healthy().with(api, public), says(dns.RcodeServerFailure)),
		finding: []string{"nameserver-failing certain", "private-dns-off likely"}},
	{name: "endpoint created anew and private DNS off", at: one(zone{api: {public}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}),
		finding: []string{"addresses-outdated likely", "private-dns-off likely"}},
}

// anywhere is a custom domain without an endpoint.
func anywhere(t *probes.Target) {
	t.Kind, t.Domain, t.Via, t.Endpoint = probes.CustomDomain, domain, []probes.Via{probes.ViaDomain}, probes.Endpoint{}
}

// ofEndpoint is a custom domain that leads to the endpoint.
func ofEndpoint(t *probes.Target) {
	t.Kind, t.Domain, t.Via = probes.CustomDomain, domain, []probes.Via{probes.ViaDomain}
}

func otherRegion(t *probes.Target) { t.Region, t.Via = "us-east-1", t.Via[:2] }

// except answers one name in another way.
func except(name string, h, other dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if plain(q.Question[0].Name) == name {
			other.ServeDNS(w, q)
			return
		}
		h.ServeDNS(w, q)
	})
}

// slowly takes its time to answer.
func slowly(after time.Duration, h dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(after)
		h.ServeDNS(w, q)
	})
}

// byType answers questions for AAAA in another way.
func byType(h, other dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeAAAA {
			other.ServeDNS(w, q)
			return
		}
		h.ServeDNS(w, q)
	})
}

// wrongID answers with ids that were not asked.
var wrongID = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
	m := healthy().answer(q)
	m.Id++
	w.WriteMsg(m)
})

func TestEveryStateYieldsExactlyItsFindings(t *testing.T) {
	for _, s := range slices.Concat(scenarios, familyScenarios) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := world{target: orders(), resolvers: s.at, hosts: s.hosts, conf: s.conf}
			if s.change != nil {
				s.change(&w.target)
			}
			seen := w.walk(t)
			if diff := cmp.Diff(s.finding, findings(seen)); diff != "" {
				for o := range seen.All() {
					t.Logf("%s at %s: %s: %v (%v)", o.Name, o.Resolver, o.Outcome, o.Detail, o.Err)
				}
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// Every rule is reached by a scenario, and no scenario names one that is not
// there.
func TestScenariosCoverTheRules(t *testing.T) {
	reached := map[string]bool{"resolver-tcp-blocked": true} // see TestTruncatedAnswerNeedsTCP
	for _, s := range scenarios {
		for _, f := range s.finding {
			id, _, _ := strings.Cut(f, " ")
			reached[id] = true
		}
	}
	var ids []string
	for _, r := range Rules {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff(ids, slices.Sorted(maps.Keys(reached))); diff != "" {
		t.Errorf("rules (-) and what scenarios reach (+):\n%s", diff)
	}
}
