package resolve

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// lookUp asks the first resolver for the API's name only.
func lookUp(t *testing.T, h dns.Handler, timeout time.Duration) probes.Observation {
	t.Helper()
	w := world{target: orders(), resolvers: one(h)}
	onlyAddresses(&w.target)
	w.target.Timeout = timeout
	return w.walk(t).Of(name)[0]
}

// values sums up the readings of a metric, by its own labels.
func values(o probes.Observation, m *probes.Metric) map[string]float64 {
	sums := map[string]float64{}
	for _, v := range o.Values {
		if v.Metric == m {
			sums[fmt.Sprint(v.Labels)] += v.V
		}
	}
	return sums
}

func TestAnAnswerIsKeptWhole(t *testing.T) {
	t.Parallel()
	w := world{
		target:    orders(),
		resolvers: one(healthy().with(api, "cname.example.com").with("cname.example.com", endpoint).with(endpoint, "10.0.1.17", "fd00::17")),
	}
	onlyAddresses(&w.target)
	o := w.walk(t).Of(name)[0]
	want := &Detail{
		Server:     first,
		Transport:  OverUDP,
		Rcode:      "NOERROR",
		Answers:    []Answer{{netip.MustParseAddr("10.0.1.17"), 20}, {netip.MustParseAddr("fd00::17"), 20}},
		Course:     &Course{Chain: []string{"cname.example.com", endpoint}},
		Comparison: &Comparison{Matching: addrs("10.0.1.17"), Missing: addrs("10.0.2.23")},
	}
	if diff := cmp.Diff(want, Of(o), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
	if o.Via != probes.ViaPrivateDNS || o.Name != api || o.Resolver != first || o.Addr.String() != first || o.Outcome != probes.OK || o.Err != nil {
		t.Errorf("observation %+v", o)
	}
	for _, tt := range []struct {
		metric *probes.Metric
		want   map[string]float64
	}{
		{answersMatch, map[string]float64{"[]": 1}},
		{missingAddresses, map[string]float64{"[]": 1}},
		{unexpectedAddresses, map[string]float64{"[]": 0}},
		{answerTTL, map[string]float64{"[]": 20}},
		{responses, map[string]float64{"[NOERROR]": 2}},
		{retransmissions, map[string]float64{}},
	} {
		if diff := cmp.Diff(tt.want, values(o, tt.metric)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.metric.Name, diff)
		}
	}
}

func TestTheComparisonIsOfSets(t *testing.T) {
	t.Parallel()
	o := lookUp(t, healthy().with(api, public, "10.0.2.23", "10.0.9.9", "10.0.2.23"), 5*time.Second)
	d := Of(o)
	for _, tt := range []struct {
		what      string
		got, want []netip.Addr
	}{
		{"matching", d.Matching, addrs("10.0.2.23")},
		{"missing", d.Missing, addrs("10.0.1.17")},
		{"unexpected", d.Unexpected, addrs("10.0.9.9", public)},
		{"public", d.Public, addrs(public)},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if o.Outcome != probes.Elsewhere || o.Err == nil {
		t.Errorf("outcome %s (%v), want elsewhere", o.Outcome, o.Err)
	}
}

// The bounds of what is public, on both sides.
func TestIsPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"9.255.255.255": true, "10.0.0.0": false, "10.255.255.255": false, "11.0.0.0": true,
		"100.63.255.255": true, "100.64.0.0": false, "100.127.255.255": false, "100.128.0.0": true,
		"126.255.255.255": true, "127.0.0.1": false, "169.254.1.1": false, "172.15.255.255": true,
		"172.16.0.0": false, "172.31.255.255": false, "172.32.0.0": true, "192.167.255.255": true,
		"192.168.0.1": false, "203.0.113.7": true, "224.0.0.1": false, "0.0.0.0": false, "255.255.255.255": false,
		"2600:1f18::1": true, "fd00::1": false, "fc00::1": false, "fe80::1": false, "::1": false, "::": false, "ff02::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s public: %v, want %v", addr, got, want)
		}
	}
}

// Outcomes of replies that real servers give.
func TestOutcomeOfAnswer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		server  dns.Handler
		outcome probes.Outcome
		rcode   string
	}{
		{"addresses", healthy(), probes.OK, "NOERROR"},
		{"NXDOMAIN", zone{}, probes.NoSuchName, "NXDOMAIN"},
		{"NXDOMAIN at the end of an alias", zone{api: {"gone.example.com"}}, probes.NoSuchName, "NXDOMAIN"},
		{"NODATA", zone{api: {"NOERROR"}}, probes.NoAddress, "NOERROR"},
		{"SERVFAIL", says(dns.RcodeServerFailure), probes.ServerFailed, "SERVFAIL"},
		{"REFUSED", says(dns.RcodeRefused), probes.ServerFailed, "REFUSED"},
		{"NOTIMP", says(dns.RcodeNotImplemented), probes.ServerFailed, "NOTIMP"},
		{"FORMERR", says(dns.RcodeFormatError), probes.ServerFailed, "FORMERR"},
		{"an rcode nobody knows", says(12), probes.ServerFailed, "OTHER"},
		{"alias loop", zone{api: {"b.example.com"}, "b.example.com": {api}}, probes.BadReply, ""},
		{"alias to itself", zone{api: {api}}, probes.BadReply, ""},
		{"only IPv6", zone{api: {"fd00::17"}}, probes.OK, "NOERROR"},
		{"A fails, AAAA empty", byType(says(dns.RcodeServerFailure), zone{api: {"NOERROR"}}), probes.ServerFailed, "SERVFAIL"},
		{"A empty, AAAA fails", byType(zone{api: {"NOERROR"}}, says(dns.RcodeServerFailure)), probes.ServerFailed, "SERVFAIL"},
		{"A fails, AAAA does not exist", byType(says(dns.RcodeServerFailure), zone{}), probes.NoSuchName, "NXDOMAIN"},
		{"A fails, AAAA answers", byType(says(dns.RcodeServerFailure), zone{api: {"fd00::17"}}), probes.OK, "NOERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := lookUp(t, tt.server, 5*time.Second)
			if o.Outcome != tt.outcome || Of(o).Rcode != tt.rcode {
				t.Errorf("%s %q (%v), want %s %q", o.Outcome, Of(o).Rcode, o.Err, tt.outcome, tt.rcode)
			}
			if (o.Err == nil) != (tt.outcome == probes.OK) {
				t.Errorf("error %v with outcome %s", o.Err, o.Outcome)
			}
		})
	}
}

// big is more addresses than fit into the datagram we offer to take.
func big() zone {
	var data []string
	for i := range 120 {
		data = append(data, fmt.Sprintf("10.0.1.%d", i+1))
	}
	return zone{api: data, endpoint: {"10.0.1.17"}}
}

// truncating cuts answers over UDP as servers do, to the size that we offer.
func truncating(z zone) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := z.answer(q)
		if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
			m.Truncate(int(q.IsEdns0().UDPSize()))
		}
		w.WriteMsg(m)
	})
}

func TestTruncatedAnswerIsAskedForAgainOverTCP(t *testing.T) {
	t.Parallel()
	o := lookUp(t, truncating(big()), 5*time.Second)
	d := Of(o)
	if len(d.Answers) != 120 || d.Transport != OverTCP || !d.course().Truncated {
		t.Errorf("%d answers over %s, truncated %v, want 120 over tcp: %v", len(d.Answers), d.Transport, d.course().Truncated, o.Err)
	}
}

// A server that cuts in the middle of a record, as old ones do, is no liar.
func TestTruncatedInTheMiddleOfARecord(t *testing.T) {
	t.Parallel()
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := healthy().answer(q)
		if _, ok := w.RemoteAddr().(*net.TCPAddr); ok || len(m.Answer) == 0 {
			w.WriteMsg(m)
			return
		}
		m.Truncated = true
		packet, err := m.Pack()
		if err != nil {
			panic(err)
		}
		w.Write(packet[:len(packet)-3])
	})
	if o := lookUp(t, h, 5*time.Second); o.Outcome != probes.OK || len(Of(o).Answers) != 2 || Of(o).course().Failed != nil {
		t.Errorf("%s: %v (%v), want ok with 2 addresses", o.Outcome, o.Detail, o.Err)
	}
}

// Some forwarders pass on over TCP, too, that an answer is truncated.
func TestTruncatedOverTCP(t *testing.T) {
	for _, tt := range []struct {
		name    string
		z       zone
		outcome probes.Outcome
	}{
		{"with answers", healthy(), probes.OK},
		{"without", zone{api: {"NOERROR"}}, probes.BadReply},
		{"with an error", zone{}, probes.NoSuchName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := lookUp(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				m := tt.z.answer(q)
				m.Truncated = true
				if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
					m.Answer = nil
				}
				w.WriteMsg(m)
			}), 5*time.Second)
			if o.Outcome != tt.outcome {
				t.Errorf("%s: %v (%v), want %s", o.Outcome, o.Detail, o.Err, tt.outcome)
			}
		})
	}
}

func TestTruncatedAnswerNeedsTCP(t *testing.T) {
	t.Parallel()
	target := orders()
	onlyAddresses(&target)
	net := network(t, one(truncating(big())))
	delete(net, "tcp "+first) // no route for TCP
	probe, err := Kind.New(probes.System{Network: net})(&target)
	if err != nil {
		t.Fatal(err)
	}
	seen := probes.Evidence{Target: &target}
	seen = seen.With(name, probe.Probe(t.Context(), seen, nil))
	if diff := cmp.Diff([]string{"resolver-tcp-blocked certain"}, findings(seen)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if o := seen.Of(name)[0]; o.Outcome != probes.Unreachable {
		t.Errorf("outcome %s, want unreachable", o.Outcome)
	}
}

// A resolver that truncates so late that no time is left for TCP may be slow
// instead; one that is silent over TCP for long enough is not.
func TestTCPNeedsTime(t *testing.T) {
	for after, want := range map[time.Duration]struct{ finding, note string }{
		0:                       {"resolver-tcp-blocked certain", api + " at resolver 10.0.0.2:53: no reply from 10.0.0.2:53"},
		2400 * time.Millisecond: {"resolver-tcp-blocked likely", "or it is slow: its replies over UDP left little time for TCP"},
	} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			late := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				if _, stream := w.RemoteAddr().(*net.TCPAddr); stream {
					return
				}
				time.Sleep(after)
				m := new(dns.Msg).SetReply(q)
				m.Truncated = true
				w.WriteMsg(m)
			})
			w := world{target: orders(), resolvers: one(late)}
			onlyAddresses(&w.target)
			w.target.Timeout = 3 * time.Second
			found := probes.Diagnose(Rules, w.walk(t))
			if len(found) != 1 || fmt.Sprintf("%s %v", found[0].Rule.ID, found[0].Certainty) != want.finding || found[0].Notes[len(found[0].Notes)-1] != want.note {
				t.Errorf("findings %+v, want %s with the last note %q", found, want.finding, want.note)
			}
		})
	}
}

// forgetful ignores the first n questions of each type.
func forgetful(n int32, h dns.Handler) dns.Handler {
	var asked [2]atomic.Int32
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		i := 0
		if q.Question[0].Qtype == dns.TypeAAAA {
			i = 1
		}
		if asked[i].Add(1) > n {
			h.ServeDNS(w, q)
		}
	})
}

// A server that loses some is not silent.
func TestLostDatagramsAreNoOutage(t *testing.T) {
	for lost, want := range []probes.Outcome{probes.OK, probes.OK, probes.OK, probes.Timeout} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			resent := 2 * min(lost, 2)
			o := lookUp(t, forgetful(int32(lost), healthy()), 3*time.Second)
			if o.Outcome != want || Of(o).course().Resent != resent {
				t.Errorf("%s with %d questions sent again, want %s with %d: %v", o.Outcome, Of(o).course().Resent, want, resent, o.Err)
			}
			if counted := values(o, retransmissions)["[]"]; counted != float64(resent) {
				t.Errorf("%v retransmissions counted, want %d", counted, resent)
			}
		})
	}
}

// While we wait for the reply to one question, that to the other waits for us.
func TestAReplyIsNotMissedWhileWaitingForAnother(t *testing.T) {
	t.Parallel()
	o := lookUp(t, only(dns.TypeAAAA, healthy().with(api, "fd00::17")), 500*time.Millisecond)
	d := Of(o)
	if len(d.Answers) != 1 || d.course().Resent != 2 {
		t.Errorf("%d answers, %d questions sent again, want 1 and 2 (%v)", len(d.Answers), d.course().Resent, o.Err)
	}
	if want := []Failure{{What: "A", Outcome: probes.Timeout}}; !slices.Equal(d.course().Failed, want) {
		t.Errorf("failed: %v, want %v", d.course().Failed, want)
	}
}

// Callers that do without EDNS0 get their answer.
func TestServerWithoutEDNS(t *testing.T) {
	for name, refuses := range map[string]dns.Handler{
		"FORMERR":  says(dns.RcodeFormatError),
		"NOTIMP":   says(dns.RcodeNotImplemented),
		"SERVFAIL": says(dns.RcodeServerFailure),
		"dropped":  silent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				if q.IsEdns0() != nil {
					refuses.ServeDNS(w, q)
					return
				}
				healthy().ServeDNS(w, q)
			})
			o := lookUp(t, h, 5*time.Second)
			if o.Outcome != probes.OK || len(Of(o).Answers) != 2 {
				t.Errorf("%s: %v (%v), want ok with 2 addresses", o.Outcome, o.Detail, o.Err)
			}
		})
	}
}

// One that refuses EDNS0, and is silent without, has refused.
func TestServerRefusesOnce(t *testing.T) {
	t.Parallel()
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			says(dns.RcodeServerFailure).ServeDNS(w, q)
		}
	})
	if o := lookUp(t, h, 500*time.Millisecond); o.Outcome != probes.ServerFailed || Of(o).Rcode != "SERVFAIL" {
		t.Errorf("%s %q (%v), want server_failed SERVFAIL", o.Outcome, Of(o).Rcode, o.Err)
	}
}

// A server that heard no question is not silent: it is our time that is short.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	for name, stall := range map[string]stalling{"before it dials": {before: 50 * time.Millisecond}, "before it sends": {after: 50 * time.Millisecond}} {
		t.Run("held up "+name, func(t *testing.T) {
			t.Parallel()
			var heard atomic.Int32
			stall.Network = network(t, one(dns.HandlerFunc(func(dns.ResponseWriter, *dns.Msg) { heard.Add(1) })))
			target := orders()
			onlyAddresses(&target)
			target.Timeout = 50 * time.Millisecond
			probe, err := Kind.New(probes.System{Network: stall})(&target)
			if err != nil {
				t.Fatal(err)
			}
			o := probe.Probe(t.Context(), probes.Evidence{Target: &target}, nil)[0]
			if o.Outcome != probes.Fault || heard.Load() > 0 {
				t.Errorf("%s (%v) with %d questions heard, want fault with none", o.Outcome, o.Err, heard.Load())
			}
		})
	}
}

// stalling is a machine that is held up just before or after it dials.
type stalling struct {
	probes.Network
	before, after time.Duration
}

func (s stalling) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	time.Sleep(s.before)
	defer time.Sleep(s.after)
	return s.Network.DialContext(ctx, network, address)
}

// rawServer answers each datagram with the packets that the function makes.
func rawServer(t *testing.T, replies func(q *dns.Msg, packet []byte) [][]byte) routes {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			for _, p := range replies(q, slices.Clone(buf[:n])) {
				conn.WriteTo(p, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return routes{"udp " + first: conn.LocalAddr().String()}
}

func pack(m *dns.Msg) []byte {
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packet
}

// hostile are replies that are none, and how each is made.
var hostile = []struct {
	name string
	make func(q *dns.Msg, packet []byte) []byte
}{
	{"another id", func(q *dns.Msg, _ []byte) []byte { m := healthy().answer(q); m.Id++; return pack(m) }},
	{"the question back", func(_ *dns.Msg, packet []byte) []byte { return packet }},
	{"another name", func(q *dns.Msg, _ []byte) []byte {
		m := healthy().answer(q)
		m.Question[0].Name = "other.example.com."
		return pack(m)
	}},
	{"another type", func(q *dns.Msg, _ []byte) []byte {
		m := healthy().answer(q)
		m.Question = []dns.Question{{Name: q.Question[0].Name, Qtype: dns.TypeMX, Qclass: dns.ClassINET}}
		return pack(m)
	}},
	{"another class", func(q *dns.Msg, _ []byte) []byte {
		m := healthy().answer(q)
		m.Question = []dns.Question{{Name: q.Question[0].Name, Qtype: q.Question[0].Qtype, Qclass: dns.ClassCHAOS}}
		return pack(m)
	}},
	{"no question, no error", func(q *dns.Msg, _ []byte) []byte { m := healthy().answer(q); m.Question = nil; return pack(m) }},
	{"two questions", func(q *dns.Msg, _ []byte) []byte {
		m := healthy().answer(q)
		m.Question = append(m.Question, m.Question[0])
		return pack(m)
	}},
	{"nothing", func(*dns.Msg, []byte) []byte { return nil }},
	{"garbage", func(*dns.Msg, []byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }},
	{"half a header", func(_ *dns.Msg, packet []byte) []byte { return packet[:6] }},
	{"half an answer", func(q *dns.Msg, _ []byte) []byte { p := pack(healthy().answer(q)); return p[:len(p)-3] }},
	{"compression loop", func(q *dns.Msg, _ []byte) []byte {
		p := binary.BigEndian.AppendUint16(nil, q.Id)
		p = append(p, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
		p = append(p, 0xc0, 12, 0, 1, 0, 1) // the name at offset 12 is at offset 12
		return append(p, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 1, 17)
	}},
	{"a notification", func(q *dns.Msg, _ []byte) []byte {
		m := healthy().answer(q)
		m.Opcode = dns.OpcodeNotify
		return pack(m)
	}},
}

func lookUpRaw(t *testing.T, net probes.Network, timeout time.Duration) probes.Observation {
	t.Helper()
	target := orders()
	onlyAddresses(&target)
	target.Timeout = timeout
	probe, err := Kind.New(probes.System{Network: net})(&target)
	if err != nil {
		t.Fatal(err)
	}
	return probe.Probe(t.Context(), probes.Evidence{Target: &target}, nil)[0]
}

func TestHostileRepliesAloneAreABadReply(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			net := rawServer(t, func(q *dns.Msg, packet []byte) [][]byte { return [][]byte{h.make(q, packet)} })
			if o := lookUpRaw(t, net, 600*time.Millisecond); o.Outcome != probes.BadReply {
				t.Errorf("%s (%v), want bad_reply", o.Outcome, o.Err)
			}
		})
	}
}

func TestHostileRepliesDoNotHideTheTrueOne(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			net := rawServer(t, func(q *dns.Msg, packet []byte) [][]byte {
				return [][]byte{h.make(q, packet), h.make(q, packet), pack(healthy().answer(q))}
			})
			if o := lookUpRaw(t, net, 5*time.Second); o.Outcome != probes.OK || len(Of(o).Answers) != 2 {
				t.Errorf("%s: %v (%v), want ok with 2 addresses", o.Outcome, o.Detail, o.Err)
			}
		})
	}
}

func TestFloodEndsTheWait(t *testing.T) {
	t.Parallel()
	net := rawServer(t, func(*dns.Msg, []byte) [][]byte { return slices.Repeat([][]byte{[]byte("x")}, 50) })
	if o := lookUpRaw(t, net, time.Second); o.Outcome != probes.BadReply {
		t.Errorf("%s (%v), want bad_reply", o.Outcome, o.Err)
	}
}

func TestFailureInABareHeader(t *testing.T) {
	t.Parallel()
	net := rawServer(t, func(q *dns.Msg, _ []byte) [][]byte {
		m := new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		m.Question = nil
		return [][]byte{pack(m)}
	})
	if o := lookUpRaw(t, net, 5*time.Second); o.Outcome != probes.ServerFailed || Of(o).Rcode != "REFUSED" {
		t.Errorf("%s %q (%v), want server_failed REFUSED", o.Outcome, Of(o).Rcode, o.Err)
	}
}

func TestPortUnreachableIsRefused(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.LocalAddr().String()
	conn.Close()
	if o := lookUpRaw(t, routes{"udp " + first: closed}, 5*time.Second); o.Outcome != probes.Refused {
		t.Errorf("%s (%v), want refused", o.Outcome, o.Err)
	}
}

// failing is a network whose every dial ends in one error.
type failing struct{ err error }

func (f failing) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: network, Err: f.err}
}

func TestOwnTroubleIsAFault(t *testing.T) {
	for err, want := range map[error]probes.Outcome{
		syscall.EMFILE:       probes.Fault,
		syscall.ENFILE:       probes.Fault,
		syscall.ENOBUFS:      probes.Fault,
		syscall.ENETUNREACH:  probes.Unreachable,
		syscall.EHOSTUNREACH: probes.Unreachable,
		syscall.EPERM:        probes.Prohibited,
	} {
		o := lookUpRaw(t, failing{err}, 5*time.Second)
		if o.Outcome != want {
			t.Errorf("%v: %s, want %s", err, o.Outcome, want)
		}
		if _, judged := values(o, answersMatch)["[]"]; judged != o.Outcome.Blames() {
			t.Errorf("%v: the answer is counted as one: %v", err, o.Values)
		}
	}
}

func TestInterruptedLookupIsAborted(t *testing.T) {
	t.Parallel()
	target := orders()
	asked := make(chan struct{}, 100)
	h := dns.HandlerFunc(func(dns.ResponseWriter, *dns.Msg) { asked <- struct{}{} })
	probe, err := Kind.New(probes.System{Network: network(t, one(h))})(&target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	seen := probes.Evidence{Target: &target}
	seen = seen.With(name, probe.Probe(ctx, seen, nil))
	for _, o := range seen.Of(name) {
		if o.Outcome != probes.Aborted {
			t.Errorf("%s: %s (%v), want aborted", o.Name, o.Outcome, o.Err)
		}
	}
	if found := findings(seen); found != nil {
		t.Errorf("findings %v of a walk that was interrupted", found)
	}
}

// A slow network answers each question after a while, in a synctest bubble's time.
type slow struct {
	zone
	after time.Duration
}

func (s slow) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go s.serve(theirs, network == "tcp")
	return ours, nil
}

func (s slow) serve(conn net.Conn, stream bool) {
	defer conn.Close()
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	packet, q := buf[:n], new(dns.Msg)
	if stream {
		packet = packet[2:]
	}
	if q.Unpack(packet) != nil {
		return
	}
	time.Sleep(s.after)
	reply := pack(s.answer(q))
	if stream {
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
	}
	conn.Write(reply)
}

// A wait that is long goes on until the reply comes, or the walk is given up.
func TestLongWait(t *testing.T) {
	const long = 500 * time.Millisecond // longer than the part that cannot be interrupted
	for _, tt := range []struct {
		after, end time.Duration
		want       probes.Outcome
	}{
		{after: long, end: time.Hour, want: probes.OK},
		{after: time.Hour, end: long, want: probes.Aborted},
	} {
		synctest.Test(t, func(t *testing.T) {
			target := orders()
			onlyAddresses(&target)
			target.Timeout = time.Hour
			probe, err := Kind.New(probes.System{Network: slow{healthy(), tt.after}})(&target)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer time.AfterFunc(tt.end, cancel).Stop()
			start := time.Now()
			o := probe.Probe(ctx, probes.Evidence{Target: &target}, nil)[0]
			if took := time.Since(start); o.Outcome != tt.want || took != long || Of(o).course().Resent != 0 {
				t.Errorf("%s (%v) after %v, asked again %d times; want %s after %v", o.Outcome, o.Err, took, Of(o).course().Resent, tt.want, long)
			}
			time.Sleep(tt.after) // until the servers end, too
		})
	}
}

// A heldUp network lets a question go out only after a while.
type heldUp struct {
	net.Conn
	until time.Duration
}

func (h heldUp) DialContext(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go io.Copy(io.Discard, theirs)
	return heldUp{ours, h.until}, nil
}

func (h heldUp) Write(p []byte) (int, error) {
	time.Sleep(h.until)
	return h.Conn.Write(p)
}

// A process that is stopped while it asks does not call the server silent.
func TestAHeldUpQuestionIsNoSilence(t *testing.T) {
	for until, want := range map[time.Duration]probes.Outcome{0: probes.Timeout, 6 * time.Second: probes.Fault} {
		synctest.Test(t, func(t *testing.T) {
			if o := lookUpRaw(t, heldUp{until: until}, 5*time.Second); o.Outcome != want {
				t.Errorf("held up for %v: %s (%v), want %s", until, o.Outcome, o.Err, want)
			}
		})
	}
}

// A question over TCP does not wait for those that a server is asked over UDP.
func TestStreamsDoNotWaitInTheCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{System: probes.System{Network: slow{zone: healthy()}}}
		server := netip.MustParseAddrPort(first)
		for range crowded {
			defer c.crowd.enter(t.Context(), server)()
		}
		q := &question{from: c, server: server, name: api + ".", qtype: dns.TypeA, tcp: true}
		start := time.Now()
		ask(t.Context(), []*question{q})
		if waited := time.Since(start); waited != 0 || q.err != nil || len(q.reply.answers) == 0 {
			t.Errorf("waited %v for %v (%v)", waited, q.reply.answers, q.err)
		}
	})
}

// Every question comes from a port of its own, and with an id of its own.
func TestQuestionsAreUnpredictable(t *testing.T) {
	t.Parallel()
	type key struct {
		from string
		id   uint16
	}
	seen := make(chan key, 100)
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		seen <- key{w.RemoteAddr().String(), q.Id}
		healthy().ServeDNS(w, q)
	})
	w := world{target: orders(), resolvers: one(h)}
	w.walk(t)
	froms, ids := map[string]bool{}, map[uint16]bool{}
	for len(seen) > 0 {
		k := <-seen
		froms[k.from], ids[k.id] = true, true
	}
	if len(froms) != 6 || len(ids) < 5 { // of six random ids two may be equal
		t.Errorf("%d sources and %d ids of six questions", len(froms), len(ids))
	}
}
