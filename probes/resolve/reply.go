package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

const (
	maxChain   = 16  // CNAMEs to follow
	maxAnswers = 256 // addresses to take from one reply
	maxName    = 255 // runes of a name to show
)

// read takes the packet as the reply to the question, if it is that; an error
// says that it is, but makes no sense.
func (r *reply) read(q *question, packet []byte) (ours bool, _ error) {
	if r.plainly(q, packet) {
		return true, nil
	}
	return r.thoroughly(q, packet)
}

// thoroughly is read for any packet.
func (r *reply) thoroughly(q *question, packet []byte) (ours bool, _ error) {
	asked, _, err := dns.UnpackDomainName(q.packed, headerSize) // as the library writes it; a search domain need not be
	if err != nil {
		return false, nil
	}
	m := new(dns.Msg)
	err = m.Unpack(packet)
	cut := m.Truncated && r.transport == OverUDP // over TCP the bit is a forwarder's mistake, and callers take what there is
	if !q.answeredBy(m, asked) || err != nil && !cut {
		return false, nil
	}
	r.rcode, r.truncated = m.Rcode, cut
	if cut {
		return true, nil // possibly in the middle of a record: what there is of it is not looked at
	}
	r.answers, r.chain, err = follow(m.Answer, asked, q.qtype)
	if err == nil && m.Truncated && m.Rcode == dns.RcodeSuccess && len(r.answers) == 0 {
		err = fmt.Errorf("%w: truncated over TCP, too", errBadReply)
	}
	return true, err
}

// answeredBy reports whether m is a response to the question for a name. Some
// servers say that they failed in a bare header, without the question.
func (q *question) answeredBy(m *dns.Msg, name string) bool {
	if m.Id != q.id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	got := m.Question[0]
	return len(m.Question) == 1 && got.Qtype == q.qtype && got.Qclass == dns.ClassINET && strings.EqualFold(got.Name, name)
}

// follow walks the aliases from the name asked for to its addresses. Records
// that are not on the way are not looked at.
func follow(section []dns.RR, asked string, qtype uint16) (answers []Answer, chain []string, err error) {
	at, ttl := asked, ^uint32(0)
	seen := []string{strings.ToLower(at)}
	for {
		alias := aliasOf(section, at)
		if alias == nil {
			break
		}
		at, ttl = alias.Target, min(ttl, alias.Hdr.Ttl)
		if slices.Contains(seen, strings.ToLower(at)) || len(chain) == maxChain {
			return nil, chain, fmt.Errorf("%w: the aliases go round in circles, or on and on", errBadReply)
		}
		seen = append(seen, strings.ToLower(at))
		chain = append(chain, probes.Scrub(strings.TrimSuffix(at, "."), maxName))
	}
	for _, rr := range section {
		addr, ok := addrOf(rr, qtype)
		if !ok || !strings.EqualFold(rr.Header().Name, at) || len(answers) == maxAnswers {
			continue
		}
		answers = append(answers, Answer{addr, min(ttl, rr.Header().Ttl)})
	}
	return answers, chain, nil
}

func aliasOf(section []dns.RR, name string) *dns.CNAME {
	for _, rr := range section {
		if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET && strings.EqualFold(c.Hdr.Name, name) {
			return c
		}
	}
	return nil
}

func addrOf(rr dns.RR, qtype uint16) (netip.Addr, bool) {
	if rr.Header().Rrtype != qtype || rr.Header().Class != dns.ClassINET {
		return netip.Addr{}, false
	}
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok := netip.AddrFromSlice(rr.A.To4())
		return addr, ok
	case *dns.AAAA:
		addr, ok := netip.AddrFromSlice(rr.AAAA.To16())
		return addr.Unmap(), ok
	}
	return netip.Addr{}, false
}
