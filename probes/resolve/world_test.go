package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The names and addresses of the tests.
const (
	api      = "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"
	vpce     = "vpce-0a1b2c3d4e5f67890"
	alias    = "a1b2c3d4e5-vpce-0a1b2c3d4e5f67890.execute-api.eu-west-1.amazonaws.com"
	endpoint = "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com"
	domain   = "api.example.com"
	first    = "10.0.0.2:53" // a resolver
	second   = "10.9.0.2:53" // another
)

// A world is a target and everything that DNS says to it.
type world struct {
	target    probes.Target
	resolvers map[string]dns.Handler // by the address that the target knows
	conf      string                 // resolv.conf
	hosts     string
}

// orders is a target that walks every name form and knows its addresses.
func orders() probes.Target {
	return probes.Target{
		Name:   "orders",
		Kind:   probes.PrivateAPI,
		API:    "a1b2c3d4e5",
		Region: "eu-west-1",
		Settings: &probes.Settings{
			Via: []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint, probes.ViaAlias},
			Endpoint: probes.Endpoint{
				ID:        vpce,
				DNSName:   endpoint,
				Addresses: addrs("10.0.1.17", "10.0.2.23"),
			},
			Resolvers: []string{first},
			Port:      443,
			Timeout:   5 * time.Second,
		},
	}
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// walk runs the kind once and returns what it leaves behind.
func (w world) walk(t *testing.T) probes.Evidence {
	t.Helper()
	dir := t.TempDir()
	sys := probes.System{Network: network(t, w.resolvers), ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts")}
	write(t, sys.ResolvConf, w.conf)
	write(t, sys.Hosts, w.hosts)
	probe, err := Kind.New(sys)(&w.target)
	if err != nil {
		t.Fatal(err)
	}
	seen := probes.Evidence{Target: &w.target}
	return seen.With(name, probe.Probe(t.Context(), seen, nil))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// findings names what the rules found, with the certainty: "id certain".
func findings(seen probes.Evidence) []string {
	var all []string
	for _, f := range probes.Diagnose(Rules, seen) {
		all = append(all, fmt.Sprintf("%s %v", f.Rule.ID, f.Certainty))
	}
	slices.Sort(all)
	return all
}

// routes is a network in which only the given addresses exist, on loopback.
type routes map[string]string

func (r routes) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	real, ok := r[network[:3]+" "+address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.EHOSTUNREACH}
	}
	return new(net.Dialer).DialContext(ctx, network, real)
}

// network starts a real DNS server on loopback for each resolver. A nil
// handler is one that never answers.
func network(t *testing.T, resolvers map[string]dns.Handler) routes {
	t.Helper()
	r := routes{}
	for address, handler := range resolvers {
		if handler == nil {
			handler = silent
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		serve(t, &dns.Server{PacketConn: packets, Handler: handler})
		serve(t, &dns.Server{Listener: listener, Handler: handler})
		r["udp "+address] = packets.LocalAddr().String()
		r["tcp "+address] = listener.Addr().String()
	}
	return r
}

func serve(t *testing.T, s *dns.Server) {
	t.Helper()
	started := make(chan struct{})
	stopped := make(chan error, 1)
	s.NotifyStartedFunc = func() { close(started) }
	go func() { stopped <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		<-stopped
	})
}

// A zone answers for names: with the addresses and aliases given, or with a
// response code in capitals. What it does not list does not exist.
type zone map[string][]string

func (z zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(z.answer(q)) }

func (z zone) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	at := q.Question[0].Name
	for range maxChain + 1 {
		data, ok := z[strings.ToLower(strings.TrimSuffix(at, "."))]
		if !ok {
			m.Rcode = dns.RcodeNameError
			return m
		}
		next := ""
		for _, d := range data {
			next = firstOf(next, z.add(m, at, d, q.Question[0].Qtype))
		}
		if next == "" {
			return m
		}
		at = next
	}
	return m
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// add puts one datum into the reply, and returns the alias to follow.
func (z zone) add(m *dns.Msg, owner, datum string, qtype uint16) string {
	hdr := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: 60}
	if rcode, ok := dns.StringToRcode[datum]; ok {
		m.Rcode = rcode
		return ""
	}
	addr, err := netip.ParseAddr(datum)
	switch {
	case err != nil:
		hdr.Rrtype, hdr.Ttl = dns.TypeCNAME, 20
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: hdr, Target: dns.Fqdn(datum)})
		return dns.Fqdn(datum)
	case addr.Is4() && qtype == dns.TypeA:
		hdr.Rrtype = dns.TypeA
		m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: addr.AsSlice()})
	case addr.Is6() && qtype == dns.TypeAAAA:
		hdr.Rrtype = dns.TypeAAAA
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
	}
	return ""
}

// with returns the zone with some names changed; no data removes a name.
func (z zone) with(name string, data ...string) zone {
	changed := zone{}
	for k, v := range z {
		changed[k] = v
	}
	changed[name] = data
	if data == nil {
		delete(changed, name)
	}
	return changed
}

// healthy is what the resolver of a VPC says when all is well.
func healthy() zone {
	both := []string{"10.0.1.17", "10.0.2.23"}
	return zone{api: both, alias: both, endpoint: both, domain: {endpoint}}
}

// silent never answers.
var silent = dns.HandlerFunc(func(dns.ResponseWriter, *dns.Msg) {})

// says answers everything with one response code.
func says(rcode int) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) })
}

// only passes on questions of one kind.
func only(qtype uint16, h dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == qtype {
			h.ServeDNS(w, q)
		}
	})
}
