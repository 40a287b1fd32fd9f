package lab

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func sortedAddrs(addrs []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
}

func TestHealthyZone(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, tt := range []struct {
		name  string
		rcode int
		want  []netip.Addr
	}{
		{privateName, dns.RcodeSuccess, ENIs()},
		{"otherapi00" + executeAPIZone, dns.RcodeSuccess, ENIs()}, // private DNS captures every API's name
		{aliasName, dns.RcodeSuccess, ENIs()},
		{"otherapi00-" + EndpointID + executeAPIZone, dns.RcodeNameError, nil},
		{EndpointName, dns.RcodeSuccess, ENIs()},
		{zonalName(1), dns.RcodeSuccess, ENIs()[1:2]},
		{CatalogDomain, dns.RcodeSuccess, ENIs()},
		{PartnersDomain, dns.RcodeSuccess, []netip.Addr{partnersENI()}},
		{API + farExecuteAPIZone, dns.RcodeSuccess, []netip.Addr{PublicAddress()}},
		{"nothing.example", dns.RcodeNameError, nil},
		{strings.ToUpper(privateName), dns.RcodeSuccess, ENIs()},
	} {
		for i := range Resolvers() {
			for _, transport := range []string{"udp", "tcp"} {
				m, err := l.lookup(t, i, transport, tt.name, dns.TypeA)
				if err != nil || m.Rcode != tt.rcode || !slices.Equal(sortedAddrs(addresses(m)), tt.want) {
					t.Errorf("%s at resolver %d over %s: %v, %v", tt.name, i, transport, m, err)
				}
			}
		}
	}
}

func TestNoIPv6(t *testing.T) {
	t.Parallel()
	m, err := start(t).lookup(t, 0, "udp", privateName, dns.TypeAAAA)
	if err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 || len(m.Ns) != 1 {
		t.Errorf("%v, %v; want no answer and the zone's SOA", m, err)
	}
}

func TestCNAMEChain(t *testing.T) {
	t.Parallel()
	m, err := start(t).lookup(t, 0, "udp", CatalogDomain, dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	cname, ok := m.Answer[0].(*dns.CNAME)
	if !ok || cname.Target != EndpointName+"." || m.Answer[1].Header().Name != EndpointName+"." || len(m.Answer) != 4 {
		t.Errorf("%v", m)
	}
}

func TestAnswersRotate(t *testing.T) {
	t.Parallel()
	l := start(t)
	first := map[netip.Addr]bool{}
	for range 3 {
		m, err := l.lookup(t, 0, "udp", privateName, dns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		first[addresses(m)[0]] = true
	}
	if len(first) != 3 {
		t.Errorf("in three answers %v came first", first)
	}
}

// Each fault of the zone changes the answer to one name and no other.
func TestZoneFaults(t *testing.T) {
	t.Parallel()
	l := start(t)
	all := []string{privateName, aliasName, EndpointName, zonalName(2), CatalogDomain, PartnersDomain}
	look := func() map[string]string {
		seen := map[string]string{}
		for _, name := range all {
			m, err := l.lookup(t, 1, "udp", name, dns.TypeA)
			if err != nil {
				t.Fatal(err)
			}
			seen[name] = dns.RcodeToString[m.Rcode]
			for _, a := range sortedAddrs(addresses(m)) {
				seen[name] += " " + a.String()
			}
		}
		return seen
	}
	healthy := look()
	for _, tt := range []struct {
		name  string
		fault Fault
		want  map[string]string // what differs
	}{
		{"PrivateDNSOff", PrivateDNSOff, map[string]string{privateName: "NOERROR 198.51.100.7"}},
		{"NameGone", NameGone, map[string]string{privateName: "NXDOMAIN"}},
		{"DomainGone", DomainGone, map[string]string{CatalogDomain: "NXDOMAIN"}},
		{"NameWithoutAddress", NameWithoutAddress, map[string]string{privateName: "NOERROR"}},
		{"WrongAddresses", WrongAddresses, map[string]string{privateName: "NOERROR 127.77.9.10"}},
		{"DomainElsewhere", DomainElsewhere, map[string]string{CatalogDomain: "NOERROR 127.77.9.10"}},
		{"MissingAddress", MissingAddress, map[string]string{privateName: "NOERROR 127.77.1.10 127.77.2.10"}},
		{"AliasNotAssociated", AliasNotAssociated, map[string]string{aliasName: "NXDOMAIN"}},
		{"EndpointDeleted", EndpointDeleted, map[string]string{EndpointName: "NXDOMAIN", zonalName(2): "NXDOMAIN", CatalogDomain: "NXDOMAIN"}},
		{"SecondResolverStale", SecondResolverStale, map[string]string{privateName: "NOERROR 127.77.9.10"}},
	} {
		l.Break(tt.fault)
		for name, got := range look() {
			want, differs := tt.want[name]
			if !differs {
				want = healthy[name]
			}
			if got != want {
				t.Errorf("%s: %s is %s, want %s", tt.name, name, got, want)
			}
		}
		l.Heal()
		if got := look(); got[privateName] != healthy[privateName] {
			t.Errorf("%s: not healed: %v", tt.name, got)
		}
	}
}

// rawReply returns the bytes that a resolver sends back over UDP.
func (l *Lab) rawReply(t *testing.T, i int) ([]byte, *dns.Msg, error) {
	t.Helper()
	conn, err := net.Dial("udp", l.at(Resolvers()[i]).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := new(dns.Msg).SetQuestion(dns.Fqdn(privateName), dns.TypeA)
	q.Id = 4711
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(packed); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		return nil, nil, err
	}
	m := new(dns.Msg)
	return b[:n], m, m.Unpack(b[:n])
}

func TestResolverFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault Fault
		check func(m *dns.Msg, err error) bool
	}{
		{"silent", ResolverSilent(), func(_ *dns.Msg, err error) bool { return err != nil && os.IsTimeout(err) }},
		{"SERVFAIL", ResolverServFail(), func(m *dns.Msg, err error) bool {
			return err == nil && m.Rcode == dns.RcodeServerFailure && len(m.Answer) == 0
		}},
		{"REFUSED", ResolverRefuses(), func(m *dns.Msg, err error) bool { return err == nil && m.Rcode == dns.RcodeRefused }},
		{"truncated", ResolverTruncates(), func(m *dns.Msg, err error) bool { return err == nil && m.Truncated && len(m.Answer) == 1 }},
		{"noise", ResolverBabbles(), func(_ *dns.Msg, err error) bool { return err != nil && !os.IsTimeout(err) }},
		{"wrong id", ResolverMistakesID(), func(m *dns.Msg, err error) bool { return err == nil && m.Id == 4712 && len(m.Answer) == 3 }},
		{"wrong question", ResolverMistakesQuestion(), func(m *dns.Msg, err error) bool {
			return err == nil && m.Id == 4711 && m.Question[0].Name == "www.example.com." && len(m.Answer) == 1
		}},
		{"compression loop", ResolverLoops(), func(m *dns.Msg, err error) bool { return err != nil && !os.IsTimeout(err) }},
		{"first only", ResolverServFail(1), func(m *dns.Msg, err error) bool { return err == nil && m.Rcode == dns.RcodeSuccess }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, m, err := start(t, tt.fault).rawReply(t, 0)
			if !tt.check(m, err) {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

func TestTruncationOverTCP(t *testing.T) {
	t.Parallel()
	l := start(t, ResolverTruncates(0), ResolverTruncatesWithoutTCP(1))
	m, err := l.lookup(t, 0, "tcp", privateName, dns.TypeA)
	if err != nil || m.Truncated || len(m.Answer) != 3 {
		t.Errorf("over TCP: %v, %v; want all three addresses", m, err)
	}
	if m, err := l.lookup(t, 1, "tcp", privateName, dns.TypeA); err == nil || !os.IsTimeout(err) {
		t.Errorf("over TCP: %v, %v; want silence", m, err)
	}
}

func TestOneFamilyFails(t *testing.T) {
	t.Parallel()
	l := start(t, ResolverFailsIPv6())
	for qtype, want := range map[uint16]int{dns.TypeA: dns.RcodeSuccess, dns.TypeAAAA: dns.RcodeServerFailure} {
		if m, err := l.lookup(t, 0, "udp", privateName, qtype); err != nil || m.Rcode != want {
			t.Errorf("%s: %v, %v", dns.TypeToString[qtype], m, err)
		}
	}
}

func TestResolverFiles(t *testing.T) {
	t.Parallel()
	l := start(t)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, tt := range []struct {
		name               string
		fault              Fault
		resolvConf, hosted string
	}{
		{"healthy", func(*Lab) {}, "nameserver 127.77.0.2\n", "localhost"},
		{"HostsOverride", HostsOverride, "nameserver 127.77.0.2\n", "127.77.9.10 " + privateName},
		{"FirstNameserverFailing", FirstNameserverFailing, "nameserver 127.77.0.2\nnameserver 127.77.0.3\n", "localhost"},
	} {
		l.Break(tt.fault)
		if conf := read(l.System().ResolvConf); !strings.HasSuffix(conf, tt.resolvConf) {
			t.Errorf("%s: resolv.conf is %q", tt.name, conf)
		}
		if hosts := read(l.System().Hosts); !strings.Contains(hosts, tt.hosted) {
			t.Errorf("%s: hosts is %q", tt.name, hosts)
		}
		l.Heal()
	}
	if hosts := read(l.System().Hosts); strings.Contains(hosts, privateName) {
		t.Errorf("not healed: hosts is %q", hosts)
	}
}
