package lab

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// A zone is what a resolver of the VPC knows: addresses and aliases by name,
// in lower case without the final dot.
type zone struct {
	addrs  map[string][]netip.Addr
	cnames map[string]string
}

// healthyZone is the DNS of a VPC whose endpoint has private DNS on and whose
// API is associated with the endpoint (FACTS.md 2.1).
func healthyZone() zone {
	z := zone{addrs: map[string][]netip.Addr{}, cnames: map[string]string{}}
	for _, name := range []string{privateName, "*" + executeAPIZone, aliasName, PartnersAPI + "-" + EndpointID + executeAPIZone, EndpointName} {
		z.addrs[name] = ENIs()
	}
	for i, addr := range ENIs() {
		z.addrs[zonalName(i)] = []netip.Addr{addr}
	}
	z.addrs["*"+farExecuteAPIZone] = []netip.Addr{PublicAddress()} // private DNS covers one region
	z.addrs[FarEndpointName] = []netip.Addr{farENI()}
	z.addrs[OtherEndpointName] = []netip.Addr{otherENI()}
	z.addrs[PartnersDomain] = []netip.Addr{partnersENI()}
	z.addrs[ControlDomain] = []netip.Addr{controlSite()}
	z.cnames[CatalogDomain] = EndpointName
	z.addrs["localhost"] = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	return z
}

// zonalName is the endpoint's name for the i'th availability zone.
func zonalName(i int) string {
	return strings.Replace(EndpointName, ".", "-"+Region+zones[i:i+1]+".", 1)
}

// find returns the CNAME chain from name and the addresses at its end; ok
// tells whether the name at the end exists.
func (z zone) find(name string) (chain []string, addrs []netip.Addr, ok bool) {
	for range 8 {
		next, isAlias := z.cnames[name]
		if !isAlias {
			break
		}
		chain = append(chain, next)
		name = next
	}
	if addrs, ok = z.addrs[name]; ok {
		return chain, addrs, true
	}
	// A wildcard stands for one label. The alias of an API and an endpoint
	// exists only where the two are associated.
	label, rest, _ := strings.Cut(name, ".")
	if strings.Contains(label, "-vpce-") {
		return chain, nil, false
	}
	addrs, ok = z.addrs["*."+rest]
	return chain, addrs, ok
}

// A reply answers a query over one transport, in whatever way a resolver of
// the lab is to behave.
type reply func(z zone, turn int, w dns.ResponseWriter, q *dns.Msg)

// answer builds the proper answer to a query: the CNAME chain, the addresses
// rotated by turn, the SOA where there is nothing.
func (z zone) answer(turn int, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(1232, false)
	}
	owner := q.Question[0].Name
	chain, addrs, ok := z.find(strings.ToLower(strings.TrimSuffix(owner, ".")))
	for _, next := range chain {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: dns.Fqdn(next)})
		owner = dns.Fqdn(next)
	}
	if !ok {
		m.Rcode = dns.RcodeNameError // of the last name in the chain (RFC 6604, 3)
	}
	if q.Question[0].Qtype != dns.TypeA || len(addrs) == 0 {
		m.Ns = []dns.RR{soa(owner)}
		return m
	}
	for i := range addrs {
		a := addrs[(i+turn)%len(addrs)]
		m.Answer = append(m.Answer, &dns.A{Hdr: header(owner, dns.TypeA), A: net.IP(a.AsSlice())})
	}
	return m
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 60}
}

func soa(name string) dns.RR {
	_, parent, _ := strings.Cut(name, ".")
	if parent == "" {
		parent = "."
	}
	return &dns.SOA{Hdr: header(parent, dns.TypeSOA), Ns: "ns.lab.", Mbox: "hostmaster.lab.", Serial: 1, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: 60}
}

// The ways in which a resolver can behave.

func properly(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(z.answer(turn, q)) }

// rotating answers with one address at a time, another one each time.
func rotating(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	m := z.answer(turn/2, q) // A and AAAA are asked for at once
	if i := slices.IndexFunc(m.Answer, isA); i >= 0 {
		m.Answer = m.Answer[:i+1]
	}
	w.WriteMsg(m)
}

func isA(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeA }

func never(zone, int, dns.ResponseWriter, *dns.Msg) {}

func failing(rcode int) reply {
	return func(_ zone, _ int, w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

func failingIPv6(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	if q.Question[0].Qtype == dns.TypeAAAA {
		failing(dns.RcodeServerFailure)(z, turn, w, q)
		return
	}
	properly(z, turn, w, q)
}

// truncating says over UDP that the answer did not fit, and shows a part that
// must not be taken for the whole.
func truncating(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	m := z.answer(turn, q)
	if overUDP(w) && len(m.Answer) > 0 {
		m.Truncated = true
		m.Answer = m.Answer[:1]
	}
	w.WriteMsg(m)
}

// truncatingSilently truncates over UDP and says nothing over TCP, as behind a
// firewall that lets only UDP port 53 pass.
func truncatingSilently(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	if overUDP(w) {
		truncating(z, turn, w, q)
	}
}

func overUDP(w dns.ResponseWriter) bool {
	_, ok := w.LocalAddr().(*net.UDPAddr)
	return ok
}

func babbling(_ zone, _ int, w dns.ResponseWriter, _ *dns.Msg) {
	w.Write([]byte("\xff\xff\xff not DNS \xff\xff\xff"))
}

func wrongID(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	m := z.answer(turn, q)
	m.Id++
	w.WriteMsg(m)
}

func wrongQuestion(z zone, turn int, w dns.ResponseWriter, q *dns.Msg) {
	asked := q.Copy()
	asked.Question[0].Name = "www.example.com."
	m := z.answer(turn, asked)
	m.Rcode = dns.RcodeSuccess
	m.Ns = nil
	m.Answer = []dns.RR{&dns.A{Hdr: header("www.example.com.", dns.TypeA), A: net.IP(PublicAddress().AsSlice())}}
	w.WriteMsg(m)
}

// looping answers with a record whose name is a compression pointer to itself.
func looping(_ zone, _ int, w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	packed, err := m.Pack()
	if err != nil {
		return
	}
	packed[7] = 1 // one answer
	at := len(packed)
	packed = append(packed, 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 77, 1, 10)
	w.Write(packed)
}

// A resolver is a DNS server on UDP and TCP.
type resolver struct {
	udp, tcp *dns.Server
	turn     atomic.Int64
}

// newResolver serves at addr; how returns the zone and the behavior as they are
// at the moment.
func newResolver(addr netip.AddrPort, how func() (zone, reply)) (*resolver, error) {
	packets, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		packets.Close()
		return nil, err
	}
	r := new(resolver)
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if len(q.Question) != 1 {
			w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeFormatError))
			return
		}
		z, behave := how()
		behave(z, int(r.turn.Add(1)), w, q)
	})
	r.udp = &dns.Server{PacketConn: packets, Handler: handle}
	r.tcp = &dns.Server{Listener: listener, Handler: handle}
	for _, s := range []*dns.Server{r.udp, r.tcp} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
	}
	return r, nil
}

func (r *resolver) close() {
	r.udp.Shutdown()
	r.tcp.Shutdown()
}

// without returns addrs less one.
func without(addrs []netip.Addr, addr netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a == addr })
}
