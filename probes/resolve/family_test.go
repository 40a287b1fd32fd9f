package resolve

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// A recorder is a resolver that notes what it is asked.
type recorder struct {
	dns.Handler
	mu    sync.Mutex
	asked []string
}

func (r *recorder) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r.mu.Lock()
	r.asked = append(r.asked, dns.TypeToString[q.Question[0].Qtype]+" "+plain(q.Question[0].Name))
	r.mu.Unlock()
	r.Handler.ServeDNS(w, q)
}

// questions returns what was asked, sorted.
func (r *recorder) questions() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.asked))
}

// dual is healthy, with addresses of both families.
func dual() zone {
	all := []string{"10.0.1.17", "10.0.2.23", "fd00::17", "fd00::23"}
	return healthy().with(api, all...).with(alias, all...).with(endpoint, all...)
}

func confined(family string) func(*probes.Target) {
	return func(t *probes.Target) { t.IPFamily = family }
}

func TestOnlyTheFamilyOfCallersIsAskedFor(t *testing.T) {
	t.Parallel()
	const plainConf, noAAAA = "nameserver 10.0.0.2", "nameserver 10.0.0.2\noptions no-aaaa"
	a, aaaa := []string{"A " + api, "A " + endpoint}, []string{"AAAA " + api, "AAAA " + endpoint}
	four, six := addrs("10.0.1.17", "10.0.2.23"), addrs("fd00::17", "fd00::23")
	for _, tt := range []struct {
		family, resolver, conf string
		asked                  []string
		lanes                  []netip.Addr
	}{
		{"", first, "", slices.Concat(a, aaaa), slices.Concat(four, six)},
		{"both", first, "", slices.Concat(a, aaaa), slices.Concat(four, six)},
		{"ipv4", first, "", a, four},
		{"ipv6", first, "", aaaa, six},
		{"both", System, plainConf, slices.Concat(a, aaaa), slices.Concat(four, six)},
		{"both", System, noAAAA, a, four},
		{"ipv4", System, plainConf, a, four},
		{"ipv4", System, noAAAA, a, four},
		{"ipv6", System, plainConf, aaaa, six},
		{"ipv6", System, noAAAA, aaaa, six}, // ip_family wins
	} {
		r := &recorder{Handler: dual()}
		w := world{target: orders(), conf: tt.conf, resolvers: one(r)}
		w.target.Via, w.target.Resolvers, w.target.IPFamily = w.target.Via[:1], []string{tt.resolver}, tt.family
		unknownAddresses(&w.target)
		seen := w.walk(t)
		if asked := r.questions(); !slices.Equal(asked, tt.asked) {
			t.Errorf("ip_family %q, %s %q: asked %v, want %v", tt.family, tt.resolver, tt.conf, asked, tt.asked)
		}
		var lanes []netip.Addr
		for _, l := range Lanes(seen) {
			lanes = append(lanes, l.Addr.Addr())
		}
		if !slices.Equal(lanes, tt.lanes) || findings(seen) != nil {
			t.Errorf("ip_family %q, %s %q: lanes to %v, want %v; found %v", tt.family, tt.resolver, tt.conf, lanes, tt.lanes, findings(seen))
		}
	}
}

// What is configured of the other family opens no lane and is no address that
// an answer lacks; if there is nothing else, the endpoint's own name says where
// it is.
func TestAddressesOfTheOtherFamilyAreNotExpected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		family     string
		configured []netip.Addr
		want       []netip.Addr
	}{
		{"ipv4", addrs("10.0.1.17", "10.0.9.9", "fd00::17"), addrs("10.0.1.17", "10.0.9.9")},
		{"ipv6", addrs("10.0.1.17", "10.0.9.9", "fd00::17"), addrs("fd00::17")},
		{"ipv6", addrs("10.0.1.17", "10.0.9.9"), addrs("fd00::17", "fd00::23")},
	} {
		w := world{target: orders(), resolvers: one(dual())}
		w.target.IPFamily, w.target.Endpoint.Addresses = tt.family, tt.configured
		seen := w.walk(t)
		if got := Expected(seen); !slices.Equal(got, tt.want) {
			t.Errorf("%s of %v: expects %v, want %v", tt.family, tt.configured, got, tt.want)
		}
		for _, l := range Lanes(seen) {
			if !w.target.Uses(l.Addr.Addr()) {
				t.Errorf("%s of %v: a lane to %v", tt.family, tt.configured, l.Addr)
			}
		}
	}
}

// An entry of the family that callers do not use hides nothing from them.
func TestHostsOfTheOtherFamilyAreNotUsed(t *testing.T) {
	t.Parallel()
	const hosts = "10.0.9.9 " + api + "\nfd00::17 " + api + "\n"
	for family, want := range map[string]string{
		"":     "10.0.9.9 fd00::17 from HOSTS",
		"ipv4": "10.0.9.9 from HOSTS",
		"ipv6": "fd00::17 from HOSTS",
	} {
		if got := systemAnswer(t, family, hosts); got != want {
			t.Errorf("ip_family %q: %s, want %s", family, got, want)
		}
	}
	if got, want := systemAnswer(t, "ipv6", "10.0.9.9 "+api), "fd00::17 fd00::23 from DNS"; got != want {
		t.Errorf("entry of the other family only: %s, want %s", got, want)
	}
}

// systemAnswer is what the system's resolver says of the API's name.
func systemAnswer(t *testing.T, family, hosts string) string {
	t.Helper()
	w := world{target: orders(), conf: "nameserver 10.0.0.2", hosts: hosts, resolvers: one(dual())}
	w.target.Via, w.target.IPFamily = w.target.Via[:1], family
	unknownAddresses(&w.target)
	system(&w.target)
	d := Of(w.walk(t).Of(name)[0])
	from := "DNS"
	if d.Transport == OverHosts {
		from = "HOSTS"
	}
	return strings.ReplaceAll(list(sorted(d.Addrs())), ",", "") + " from " + from
}

// That a name lacks addresses of one family says nothing of the other, and
// neither error nor finding may claim it.
func TestNoAddressOfTheOneFamily(t *testing.T) {
	t.Parallel()
	only4, only6 := zone{api: {"10.0.1.17"}}, zone{api: {"fd00::17"}}
	for _, tt := range []struct {
		family, conf string
		zone         zone
		err, note    string
	}{
		{"ipv4", "nameserver 10.0.0.2", only6,
			"10.0.0.2:53 knows the name, but no A record of it; others were not asked for, since ip_family is ipv4",
			"only A records were asked for, since ip_family is ipv4: whether there are AAAA records is unknown"},
		{"ipv6", "nameserver 10.0.0.2\noptions no-aaaa", only4,
			"10.0.0.2:53 knows the name, but no AAAA record of it; others were not asked for, since ip_family is ipv6",
			"only AAAA records were asked for, since ip_family is ipv6: whether there are A records is unknown"},
		{"both", "nameserver 10.0.0.2\noptions no-aaaa", only6,
			"10.0.0.2:53 knows the name, but no A record of it; others were not asked for, since resolv.conf says no-aaaa",
			"only A records were asked for, since resolv.conf says no-aaaa: whether there are AAAA records is unknown"},
		{"both", "nameserver 10.0.0.2", zone{api: {"NOERROR"}}, "10.0.0.2:53 knows the name, but no address of it", ""},
	} {
		w := world{target: orders(), conf: tt.conf, resolvers: one(tt.zone)}
		nothingKnown(&w.target)
		system(&w.target)
		w.target.IPFamily = tt.family
		seen := w.walk(t)
		o := seen.Of(name)[0]
		if o.Outcome != probes.NoAddress || o.Err.Error() != tt.err || len(Lanes(seen)) > 0 {
			t.Errorf("%s: %s (%v), want no_address (%s); lanes %v", tt.family, o.Outcome, o.Err, tt.err, Lanes(seen))
		}
		want := []string{api + " at resolver system: " + Of(o).String()}
		if tt.note != "" {
			want = append(want, tt.note)
		}
		found := probes.Diagnose(Rules, seen)
		if len(found) != 1 || found[0].Rule.ID != nameWithoutAddress {
			t.Fatalf("%s: found %v", tt.family, found)
		}
		if diff := cmp.Diff(want, found[0].Notes); diff != "" {
			t.Errorf("%s: %s", tt.family, diff)
		}
	}
}

// familyScenarios are states of the world as seen by callers that use one
// family. That a name has no addresses of it does not make it a name that is
// missing.
var familyScenarios = []scenario{
	{name: "dual stack, called by IPv4", change: all(confined("ipv4"), unknownAddresses), at: one(dual())},
	{name: "dual stack, called by IPv6", change: all(confined("ipv6"), unknownAddresses), at: one(dual())},
	{name: "AAAA questions dropped, which nobody asks", change: confined("ipv4"), at: one(only(dns.TypeA, healthy()))},
	{name: "AAAA questions fail, called by IPv6", change: all(confined("ipv6"), unknownAddresses), at: one(byType(healthy(), says(dns.RcodeServerFailure))),
		finding: []string{"resolver-failing certain"}},
	{name: "A questions dropped, called by IPv4", change: all(confined("ipv4"), hasty), at: one(only(dns.TypeAAAA, dual())),
		finding: []string{"resolver-silent certain"}},
	{name: "IPv4 only, called by IPv6", change: all(confined("ipv6"), unknownAddresses), at: one(healthy()),
		finding: []string{"name-without-address certain"}},
	{name: "IPv4 only, called by IPv6, at two resolvers", change: all(confined("ipv6"), unknownAddresses, both), at: two(healthy(), healthy()),
		finding: []string{"name-without-address certain"}},
	{name: "IPv4 only, called by IPv6, alias not associated", change: all(confined("ipv6"), unknownAddresses), at: one(healthy().with(alias)),
		finding: []string{"alias-not-associated likely", "name-without-address certain"}},
	{name: "IPv4 only, called by IPv6, alias not associated and walked alone", change: all(confined("ipv6"), unknownAddresses, via(probes.ViaAlias)),
		at: one(healthy().with(alias)), finding: []string{"alias-not-associated likely", "name-without-address certain"}},
	{name: "IPv4 only, called by IPv6, endpoint deleted", change: all(confined("ipv6"), unknownAddresses), at: one(healthy().with(endpoint).with(alias)),
		finding: []string{"endpoint-not-found likely", "name-without-address certain"}},
	{name: "IPv4 only, called by IPv6, API unknown", change: all(confined("ipv6"), unknownAddresses), at: one(healthy().with(api).with(alias)),
		finding: []string{"name-not-found certain", "name-without-address certain"}},
	{name: "private DNS off, called by IPv4", change: all(confined("ipv4"), unknownAddresses), at: one(dual().with(api, public, "2600:9000::1")),
		finding: []string{"private-dns-off likely"}},
	{name: "private DNS off, called by IPv6", change: all(confined("ipv6"), unknownAddresses), at: one(dual().with(api, public, "2600:9000::1")),
		finding: []string{"private-dns-off likely"}},
	{name: "wrong IPv6 address, called by IPv4", change: all(confined("ipv4"), unknownAddresses), at: one(dual().with(api, "10.0.1.17", "fd00::99"))},
	{name: "wrong IPv6 address, called by IPv6", change: all(confined("ipv6"), unknownAddresses), at: one(dual().with(api, "10.0.1.17", "fd00::99")),
		finding: []string{"names-disagree likely"}},
	{name: "hosts file leads IPv4 elsewhere, called by IPv6", change: all(confined("ipv6"), unknownAddresses, system), conf: "nameserver 10.0.0.2",
		hosts: "10.0.9.9 " + api, at: one(dual())},

	// A resolver that was asked for A only, beside one that was asked for both.
	{name: "IPv6 only, resolv.conf says no-aaaa", change: all(nothingKnown, func(t *probes.Target) { t.Resolvers = []string{System, first} }),
		conf: "nameserver 10.0.0.2\noptions no-aaaa", at: one(zone{api: {"fd00::17"}}), finding: []string{"name-without-address certain"}},
	{name: "second resolver has no A, resolv.conf says no-aaaa", change: all(nothingKnown, func(t *probes.Target) { t.Resolvers = []string{System, first} }),
		conf: "nameserver 10.9.0.2\noptions no-aaaa", at: two(zone{api: {"10.0.1.17"}}, zone{api: {"NOERROR"}}), finding: []string{"resolvers-disagree certain"}},
}
