//go:build linux

package trace

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpcprobe/lab/netns"
)

// selfSigned is a certificate that nobody trusts.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func TestDetourIsAChange(t *testing.T) {
	l := netns.Start(t, netns.Topology{Routers: 4, Twin: true})
	var m Memory
	step := func() *Result {
		t.Helper()
		var r *Result
		if err := l.Client().Do(func() (err error) {
			r, err = m.Trace(t.Context(), l.Target(false), Options{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for range 3 {
		if r := step(); r.Changed != nil {
			t.Fatalf("nothing has changed yet\n%s", describe(r))
		}
	}
	breakWith(t, l, netns.Detour)
	r := step()
	if c := r.Changed; c == nil || c.Hop != 2 || c.From != l.Hop(2, false).String() || c.To != l.TwinHop().String() {
		t.Fatalf("hop 2 has changed\n%s", describe(r))
	}
	if r := step(); r.Changed == nil || m.Changes() != 1 {
		t.Errorf("a change is told for a while, and counted once: %d\n%s", m.Changes(), describe(r))
	}
}

func TestPathLengthIsTheMode(t *testing.T) {
	var m Memory
	now := time.Now()
	for i, step := range []struct {
		length, want int
		changed      bool
	}{{5, 5, false}, {6, 6, false}, {5, 5, false}, {5, 5, false}, {6, 5, false}, {5, 5, false}, {3, 5, false}, {3, 5, false}, {3, 3, true}, {5, 3, true}, {3, 3, true}} {
		r := &Result{State: Open, EndsAt: step.length}
		m.learn(r, now)
		if r.PathLength != step.want || (r.Changed != nil) != step.changed {
			t.Fatalf("step %d: length %d, changed %v, want %d, %v", i, r.PathLength, r.Changed, step.want, step.changed)
		}
	}
	old := &Result{State: Open, EndsAt: 3}
	if m.learn(old, now.Add(recent)); old.Changed != nil {
		t.Errorf("a change is still told after %v: %s", recent, old.Changed)
	}
	if m.Changes() != 1 {
		t.Errorf("%d changes", m.Changes())
	}
}

// quotedSYN is a TCP header with options.
func quotedSYN(options ...byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	header := make([]byte, 20, 20+len(options))
	header[12] = byte((20 + len(options)) / 4 << 4)
	return append(header, options...)
}

func TestQuotedMSS(t *testing.T) {
	for name, tt := range map[string]struct {
		header []byte
		want   int
	}{
		"the usual SYN":          {quotedSYN(2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7), 1460},
		"behind others":          {quotedSYN(1, 1, 4, 2, 2, 4, 0x04, 0xb0), 1200},
		"no options":             {quotedSYN(), 0},
		"other options":          {quotedSYN(4, 2, 1, 3, 3, 7), 0},
		"ended before":           {quotedSYN(0, 2, 4, 5, 180), 0},
		"eight bytes (RFC 792)":  {make([]byte, 8), 0},
		"nothing":                {nil, 0},
		"cut within the option":  {quotedSYN(2, 4, 5, 180)[:23], 0},
		"an option of no length": {quotedSYN(5, 0, 2, 4, 5, 180), 0},
		"a header of no length":  {make([]byte, 40), 0},
		"beyond the header":      {append(quotedSYN(1, 1, 1, 1), 2, 4, 5, 180), 0},
	} {
		if got := quotedMSS(tt.header); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// control makes a control message.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// extended4 is a struct sock_extended_err with an IPv4 sender, as x86 and ARM
// have it.
func extended4(origin, typ, code byte, sender [4]byte) []byte {
	b := []byte{113, 0, 0, 0, origin, typ, code, 0, 0, 0, 0, 0, 0, 0, 0, 0, unix.AF_INET, 0, 0, 0}
	return append(append(b, sender[:]...), make([]byte, 8)...)
}

func TestParseICMPError(t *testing.T) {
	stamp := make([]byte, 16)
	stamp[0], stamp[8] = 100, 7
	messages := slices.Concat(
		control(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, stamp),
		control(unix.IPPROTO_IP, unix.IP_TTL, []byte{62, 0, 0, 0}),
		control(unix.IPPROTO_IP, unix.IP_RECVERR, extended4(unix.SO_EE_ORIGIN_ICMP, 11, 0, [4]byte{10, 1, 2, 3})))
	got, ok := parseICMPError(messages, quotedSYN(2, 4, 5, 180))
	want := icmpError{origin: unix.SO_EE_ORIGIN_ICMP, typ: 11, from: netip.MustParseAddr("10.1.2.3"), at: time.Unix(100, 7), ttl: 62, mss: 1460}
	if !ok || got != want || got.answer() != TimeExceeded {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if _, ok := parseICMPError(control(unix.IPPROTO_IP, unix.IP_TTL, []byte{62, 0, 0, 0}), nil); ok {
		t.Error("no error among the messages, but one was found")
	}
}

func TestICMPAnswers(t *testing.T) {
	for want, errs := range map[Answer][]icmpError{
		TimeExceeded: {{origin: unix.SO_EE_ORIGIN_ICMP, typ: 11}, {origin: unix.SO_EE_ORIGIN_ICMP6, typ: 3}},
		Unreachable:  {{origin: unix.SO_EE_ORIGIN_ICMP, typ: 3, code: 13}, {origin: unix.SO_EE_ORIGIN_ICMP6, typ: 1}},
		NotSent:      {{origin: unix.SO_EE_ORIGIN_LOCAL}},
	} {
		for _, e := range errs {
			if got := e.answer(); got != want {
				t.Errorf("%+v: %s, want %s", e, got, want)
			}
		}
	}
}

func FuzzParseICMPError(f *testing.F) {
	f.Add(control(unix.IPPROTO_IP, unix.IP_RECVERR, extended4(2, 11, 0, [4]byte{10, 1, 2, 3})), quotedSYN(2, 4, 5, 180))
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, make([]byte, 44)), quotedSYN(1, 1, 4, 2))
	f.Add(control(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, make([]byte, 8)), []byte{})
	f.Fuzz(func(t *testing.T, messages, quoted []byte) {
		e, ok := parseICMPError(messages, quoted)
		if e.mss < 0 || e.mss > 65535 {
			t.Errorf("MSS %d", e.mss)
		}
		if !ok && (e.from.IsValid() || e.typ != 0) {
			t.Errorf("no error, but %+v", e)
		}
	})
}

func FuzzNeighborOf(f *testing.F) {
	f.Add(append(make([]byte, unix.SizeofNdMsg), 8, 0, unix.NDA_DST, 0, 10, 0, 0, 1))
	f.Add(make([]byte, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := neighborOf(b); a.IsValid() && a.BitLen() != 32 && a.BitLen() != 128 {
			t.Errorf("address %v", a)
		}
		neighborState(b)
	})
}

func TestNeighborOf(t *testing.T) {
	b := append(make([]byte, unix.SizeofNdMsg), 5, 0, 9, 0, 1, 0, 0, 0, 8, 0, unix.NDA_DST, 0, 10, 0, 0, 1)
	b[8] = unix.NUD_INCOMPLETE
	if got := neighborOf(b); got != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("got %v", got)
	}
	if got := neighborState(b); got != unix.NUD_INCOMPLETE {
		t.Errorf("state %d", got)
	}
}

func TestUnreachableCodes(t *testing.T) {
	for _, tt := range []struct {
		v6        bool
		typ, code uint8
		want      State
	}{
		{false, 3, 0, NetUnreachable}, {false, 3, 1, HostUnreachable}, {false, 3, 2, HostUnreachable}, {false, 3, 3, PortUnreachable},
		{false, 3, 6, NetUnreachable}, {false, 3, 9, Prohibited}, {false, 3, 10, Prohibited}, {false, 3, 11, NetUnreachable},
		{false, 3, 13, Prohibited}, {false, 12, 0, HostUnreachable},
		{true, 1, 0, NetUnreachable}, {true, 1, 1, Prohibited}, {true, 1, 3, HostUnreachable}, {true, 1, 4, PortUnreachable},
		{true, 1, 5, Prohibited}, {true, 1, 6, Prohibited}, {true, 4, 0, HostUnreachable},
	} {
		if got := unreachableState(tt.v6, tt.typ, tt.code); got != tt.want {
			t.Errorf("v6 %v, %d/%d: %s, want %s", tt.v6, tt.typ, tt.code, got, tt.want)
		}
	}
}

// tries makes MTU tries: those up to passing get through both ways, larger ones
// vanish on the way to the server.
func tries(passing int, sizes ...int) []MTUTry {
	var list []MTUTry
	for _, mss := range sizes {
		t := MTUTry{MSS: mss, Effective: mss - timestamps, ToServer: Passes, FromServer: Passes}
		if mss > passing {
			t.ToServer, t.FromServer = Vanishes, Unknown
		}
		list = append(list, t)
	}
	return list
}

func TestJudgeTellsBlackHolesFromLoss(t *testing.T) {
	lost := tries(9000, 1460, 1420, 1380, 1340)
	lost[1].ToServer = Vanishes // though 1460 passed
	failed := tries(9000, 1460, 1420, 1380)
	failed[0].ToServer, failed[0].FromServer = Unknown, Unknown
	learned := tries(9000, 1460, 1380)
	learned[0].Effective, learned[0].PathMTU = 1348, 1400
	back := tries(1380, 1460, 1460, 1460, 1460, 1420, 1420, 1420, 1420, 1380)
	for i := range 4 {
		back[i].ToServer, back[i].FromServer = Passes, Vanishes
	}
	for name, tt := range map[string]struct {
		tries      []MTUTry
		blackHole  bool
		passing    int
		vanishing  int
		directions []Direction
		verdict    string
	}{
		"all pass":        {tries(9000, 1460, 1380), false, 1500, 0, nil, "packets of 1500 bytes pass both ways"},
		"black hole":      {tries(1380, 1460, 1460, 1420, 1420, 1380), true, 1420, 1460, []Direction{ToServer}, "MTU black hole (to the server): packets of up to 1420 bytes pass, those of 1460 vanish"},
		"both ways":       {back, true, 1420, 1460, []Direction{ToServer, FromServer}, "MTU black hole (to the server and from the server)"},
		"three failures":  {tries(1420, 1460, 1460, 1460, 1420, 1380), false, 1460, 0, nil, "segments are lost, but not because of their size"},
		"loss of smaller": {lost, false, 1500, 0, nil, "segments are lost, but not because of their size"},
		"nothing passes":  {tries(100, 1460, 1420), false, 0, 0, nil, "no TLS handshake came about"},
		"one unknown":     {failed, false, 1460, 0, nil, "packets of 1460 bytes pass both ways"},
		"learned by ICMP": {learned, false, 1420, 0, nil, "the path's MTU is 1400, below the device's 1500"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &MTUResult{Target: netip.MustParseAddrPort("10.0.0.1:443"), DeviceMTU: 1500, Tries: tt.tries}
			r.judge(enough)
			if r.BlackHole != tt.blackHole || r.Passing != tt.passing || r.Vanishing != tt.vanishing || !slices.Equal(r.Directions, tt.directions) || !strings.HasPrefix(r.Verdict, tt.verdict) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for device, want := range map[int][]int{
		1460: {1460, 1420, 1380, 1340, 1280, 1200, 536},
		8961: {8961, 8460, 1460, 1420, 1380, 1340, 1280, 1200, 536},
		1360: {1360, 1340, 1280, 1200, 536},
	} {
		if got := sizes(device); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", device, got, want)
		}
	}
	if got, want := between(1360, 1378), []int{1362, 1364, 1366, 1368, 1370, 1372, 1374, 1376}; !slices.Equal(got, want) {
		t.Errorf("between: %v, want %v", got, want)
	}
}

func TestMissingSegments(t *testing.T) {
	for name, tt := range map[string]struct {
		s    Segments
		want Direction
	}{
		"nothing yet":                {Segments{}, ""},
		"all arrived":                {Segments{Acked: 1800, Received: 4000}, ""},
		"our first is missing":       {Segments{Sacked: 1, Retransmits: 1}, ToServer},
		"ours is only late":          {Segments{Sacked: 1}, ""},
		"the whole flight is lost":   {Segments{Retransmits: 2}, ""},
		"their first is missing":     {Segments{Acked: 1800, OutOfOrder: 1}, FromServer},
		"theirs came, with disorder": {Segments{Acked: 1800, OutOfOrder: 1, Received: 3000}, ""},
	} {
		got, missing := tt.s.Missing()
		if got != tt.want || missing != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, missing, tt.want)
		}
	}
}

func TestResultSurvivesJSON(t *testing.T) {
	r := &Result{
		Target: netip.MustParseAddrPort("10.0.0.1:443"), State: Open, Verdict: "v", EndsAt: 2,
		Hops: []Hop{{TTL: 1, Reply: Reply{Answer: TimeExceeded, From: netip.MustParseAddr("10.0.0.9"), RTT: Milliseconds(1234567 * time.Nanosecond), Clock: KernelClock}, Sent: 1}},
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"state":"open"`, `"answer":"time-exceeded"`, `"rtt_ms":1.235`, `"ends_at":2`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing from %s", want, b)
		}
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(back.Hops[0].RTT); got != 1235*time.Microsecond {
		t.Errorf("round trip %v", got)
	}
}

func TestTable(t *testing.T) {
	router, target := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.1")
	hops := []Hop{
		{TTL: 1, Reply: Reply{Answer: TimeExceeded, From: router, RTT: Milliseconds(2 * time.Millisecond)}, Addrs: []netip.Addr{router}},
		{TTL: 2, Reply: Reply{Answer: Silent}},
		{TTL: 3, Reply: Reply{Answer: SynAck, From: target, RTT: Milliseconds(12345 * time.Microsecond)}, Addrs: []netip.Addr{target}},
	}
	r := &Result{Target: netip.AddrPortFrom(target, 443), State: Open, Verdict: "the handshake completes at hop 3", Hops: hops, SYNs: 3, Took: Milliseconds(13 * time.Millisecond),
		MSS: &MSSRewrite{From: 1460, To: 1200, Before: 3}}
	var table Table
	table.Add(r)
	want := `trace to 10.0.0.1:443, 3 SYNs in 13.000 ms
hop  address   round trip  remark
1    10.0.0.9  2.000 ms    
2    *         -           silent
3    10.0.0.1  12.345 ms   SYN/ACK, sees MSS 1200 instead of 1460
open: the handshake completes at hop 3
`
	if got := text(t, &table); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	twin := netip.MustParseAddr("10.0.0.8")
	again := *r
	again.MSS, again.Hops = nil, slices.Clone(hops)
	again.Hops[0] = Hop{TTL: 1, Reply: Reply{Answer: TimeExceeded, From: twin, RTT: Milliseconds(time.Millisecond)}, Addrs: []netip.Addr{twin}}
	table.Add(&again)
	want = `trace to 10.0.0.1:443, 3 SYNs in 13.000 ms
hop  address            round trip  best       worst      answered  remark
1    10.0.0.9 10.0.0.8  1.000 ms    1.000 ms   2.000 ms   2/2       
2    *                  -           -          -          0/2       silent
3    10.0.0.1           12.345 ms   12.345 ms  12.345 ms  2/2       SYN/ACK
open: the handshake completes at hop 3
`
	if got := text(t, &table); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func text(t *testing.T, table *Table) string {
	t.Helper()
	var b strings.Builder
	if _, err := table.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLookup(t *testing.T) {
	for arg, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:443", "127.0.0.1:8443": "127.0.0.1:8443", "::1": "[::1]:443", "[::1]:8443": "[::1]:8443", "[::1]": "[::1]:443",
	} {
		_, addrs, err := Lookup(t.Context(), arg)
		if err != nil || len(addrs) != 1 || addrs[0].String() != want {
			t.Errorf("%s: %v, %v, want %s", arg, addrs, err, want)
		}
	}
	for _, arg := range []string{"127.0.0.1:0", "127.0.0.1:https", "127.0.0.1:70000"} {
		if _, addrs, err := Lookup(t.Context(), arg); err == nil {
			t.Errorf("%s: %v, want an error", arg, addrs)
		}
	}
}

func TestWatchLeavesNoDescriptorOpen(t *testing.T) {
	d := openDoor(t)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before, shown := descriptors(), 0
	for range 20 {
		if err := Watch(t.Context(), d.addr, WatchOptions{Paris: true}, func(r *Result) error {
			shown++
			if r.State != Open {
				t.Errorf("got %s", describe(r))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	// Sockets of the other end and of tests before this one close in their own time.
	after := descriptors()
	for range 100 {
		if after <= before {
			break
		}
		time.Sleep(20 * time.Millisecond)
		after = descriptors()
	}
	if after > before || shown != 20 {
		t.Errorf("%d descriptors before, %d after %d traces", before, after, shown)
	}
}
