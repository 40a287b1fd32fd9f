package resolve

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// questionAs is the question that m asks.
func questionAs(m *dns.Msg) *question {
	q := &question{id: m.Id, name: m.Question[0].Name, qtype: m.Question[0].Qtype}
	q.packed, q.err = q.message(m.IsEdns0() != nil)
	return q
}

// samePlainly reports whether the packet is taken for a plain reply. Then the
// library must take it for the same.
func samePlainly(t *testing.T, q *question, packet []byte) bool {
	t.Helper()
	same := samePlainlyOver(t, OverUDP, q, packet)
	if over := samePlainlyOver(t, OverTCP, q, packet); over != same {
		t.Errorf("%x is a plain reply over UDP: %v, over TCP: %v", packet, same, over)
	}
	return same
}

func samePlainlyOver(t *testing.T, transport string, q *question, packet []byte) bool {
	t.Helper()
	plain, thorough := &reply{transport: transport}, &reply{transport: transport}
	if !plain.plainly(q, packet) {
		if !reflect.DeepEqual(plain, thorough) {
			t.Errorf("%x is no plain reply, yet it left %+v", packet, plain)
		}
		return false
	}
	if ours, err := thorough.thoroughly(q, packet); !ours || err != nil || !reflect.DeepEqual(plain, thorough) {
		t.Errorf("%x is %+v plainly, and %+v, %v, %v thoroughly", packet, plain, thorough, ours, err)
	}
	return true
}

func TestMessage(t *testing.T) {
	names := []string{
		api + ".", ".", "a.", `a\.b\065\255.example.com.`, strings.Repeat("a", 63) + ".example.com.", strings.Repeat("a.", 127),
		"a", strings.Repeat("a", 64) + ".", "a..b.", `a\`,
	}
	failed := 0
	for _, name := range names {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			for _, edns := range []bool{false, true} {
				m := new(dns.Msg).SetQuestion(name, qtype)
				if edns {
					m.SetEdns0(bufferSize, false)
				}
				want, err := m.Pack()
				if q := questionAs(m); !bytes.Equal(q.packed, want) || (q.err == nil) != (err == nil) {
					t.Errorf("%s %v: %x, %v, want %x, %v", name, edns, q.packed, q.err, want, err)
				}
				if err != nil {
					failed++
				}
			}
		}
	}
	if failed != 4*4 {
		t.Errorf("%d messages failed, want those of the last four names", failed)
	}
}

// Whatever is wrong with a plain reply, it is either no plain reply any more, or
// what the library makes of it.
func TestPlainRepliesAreWhatTheLibraryReads(t *testing.T) {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, edns := range []bool{false, true} {
			asked := new(dns.Msg).SetQuestion(api+".", qtype)
			q := questionAs(asked)
			answer := zone{api: {"10.0.1.17", "10.0.2.17", "fd00::17", "::ffff:10.0.3.17"}}.answer(asked)
			answer.Compress = true
			if edns {
				answer.SetEdns0(1232, true)
			}
			packet := pack(answer)
			if !samePlainly(t, q, packet) {
				t.Fatalf("not a plain reply: %v", answer)
			}
			for n := range packet {
				samePlainly(t, q, packet[:n])
				samePlainly(t, q, append(bytes.Clone(packet), packet[:n]...))
			}
			for bit := range 8 * len(packet) {
				flipped := bytes.Clone(packet)
				flipped[bit/8] ^= 1 << (bit % 8)
				samePlainly(t, q, flipped)
			}
		}
	}
	for _, name := range []string{"büro.example.com.", `a\098c.example.com.`, "a@b.(example).com."} {
		asked := new(dns.Msg).SetQuestion(name, dns.TypeA)
		answer := new(dns.Msg).SetReply(asked)
		zone{}.add(answer, name, "10.0.1.17", dns.TypeA)
		answer.Compress = true
		if !samePlainly(t, questionAs(asked), pack(answer)) {
			t.Errorf("not a plain reply: %v", answer)
		}
	}
	many := make([]string, maxAnswers+1)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
	}
	for n, want := range map[int]bool{0: false, 1: true, maxAnswers: true, maxAnswers + 1: false} {
		asked := new(dns.Msg).SetQuestion(api+".", dns.TypeA)
		answer := zone{api: many[:n]}.answer(asked)
		answer.Compress = true
		if got := samePlainly(t, questionAs(asked), pack(answer)); got != want {
			t.Errorf("a reply with %d addresses is plain: %v", n, got)
		}
	}
}
