package resolve

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// What is sent for every lookup, and what comes back for nearly all of them, is
// written and read here by hand, which saves 7 % of a lookup's CPU time. What is
// difficult is the library's: names, and all other replies.

const (
	headerSize = 12
	additional = headerSize - 1 // where the lower byte of the number of additional records is
	optSize    = 11             // of an OPT record without options
)

// message returns the question as a packet (RFC 1035, 4.1; RFC 6891, 6.1.2).
func (q *question) message(edns bool) ([]byte, error) {
	const root = 1
	m := make([]byte, headerSize+len(q.name)+root+4+optSize)
	end, err := dns.PackDomainName(q.name, m, headerSize, nil, false)
	if err != nil {
		return nil, err
	}
	order := binary.BigEndian
	order.PutUint16(m, q.id)
	m[2] = 1 // recursion desired
	m[5] = 1 // question
	m = order.AppendUint16(m[:end], q.qtype)
	m = order.AppendUint16(m, dns.ClassINET)
	if edns {
		m[additional] = 1 // the root's, OPT, and what we take
		m = order.AppendUint16(append(m, 0), dns.TypeOPT)
		m = order.AppendUint16(m, bufferSize)
		m = append(m, 0, 0, 0, 0, 0, 0)
	}
	return m, nil
}

// section is the question section of the packet: what a reply repeats.
func (q *question) section() []byte {
	return q.packed[headerSize : len(q.packed)-optSize*int(q.packed[additional])]
}

// plainly takes the packet as the reply to the question if it is as most are: a
// success that repeats the question, has addresses of that very name, written as
// a pointer to it, and nothing else but perhaps a bare OPT record.
func (r *reply) plainly(q *question, packet []byte) bool {
	const (
		telling = 0xfa0f // of the flags: response, operation code, truncation, response code
		success = 0x8000
		record  = 12 // the size of a pointer, type, class, TTL and length
	)
	order := binary.BigEndian
	if len(packet) < headerSize || order.Uint16(packet) != q.id || order.Uint16(packet[2:])&telling != success {
		return false
	}
	asked, count := order.Uint16(packet[4:]), int(order.Uint16(packet[6:]))
	authority, more := order.Uint16(packet[8:]), order.Uint16(packet[10:])
	rest, echoed := bytes.CutPrefix(packet[headerSize:], q.section())
	if !echoed || asked != 1 || count == 0 || count > maxAnswers || authority != 0 || more > 1 {
		return false
	}
	size := net.IPv4len
	if q.qtype == dns.TypeAAAA {
		size = net.IPv6len
	}
	answers := make([]Answer, 0, min(count, len(rest)/(record+size)))
	for range count {
		if len(rest) < record+size || order.Uint16(rest) != 0xc000|headerSize || order.Uint16(rest[2:]) != q.qtype ||
			order.Uint16(rest[4:]) != dns.ClassINET || int(order.Uint16(rest[10:])) != size {
			return false
		}
		addr, _ := netip.AddrFromSlice(rest[record : record+size])
		answers = append(answers, Answer{addr.Unmap(), order.Uint32(rest[6:])})
		rest = rest[record+size:]
	}
	if more == 1 && !bareOPT(rest) {
		return false
	}
	r.rcode, r.answers = dns.RcodeSuccess, answers
	return true
}

// bareOPT reports whether an OPT record comes next that has no options and no part
// of a response code.
func bareOPT(rest []byte) bool {
	order := binary.BigEndian
	return len(rest) >= optSize && rest[0] == 0 && order.Uint16(rest[1:]) == dns.TypeOPT && rest[5] == 0 && order.Uint16(rest[9:]) == 0
}
