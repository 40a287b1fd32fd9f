//go:build linux

package trace

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
)

// A door is a listener on loopback that counts who comes.
type door struct {
	addr    netip.AddrPort
	knocked atomic.Int64
}

func openDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.knocked.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return d
}

// closedDoor is an address on loopback where nothing listens.
func closedDoor(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// evidence is that of a host with one lane for each address, to which
// connecting ended as said.
func evidence(outcomes map[netip.AddrPort]probes.Outcome) probes.Evidence {
	seen := probes.Evidence{Target: &probes.Target{Name: "x", Kind: probes.CustomDomain, Domain: "x.test", Settings: &probes.Settings{Via: []probes.Via{probes.ViaDomain}, Port: 443}}}
	var obs []probes.Observation
	for addr, outcome := range outcomes {
		seen.Lanes = append(seen.Lanes, probes.Lane{Via: probes.ViaDomain, ServerName: "x.test", Addr: addr, Answered: true})
		obs = append(obs, probes.Observation{Kind: "connect", Via: probes.ViaDomain, Name: "x.test", Addr: addr, Start: time.Now(), Outcome: outcome})
	}
	return seen.With("connect", obs)
}

func newProbe(t *testing.T, network probes.Network) probes.Probe {
	t.Helper()
	p, err := Kind.New(probes.System{Network: network})(&probes.Target{Settings: &probes.Settings{}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHealthyAddressIsTracedAtItsPaceOnly(t *testing.T) {
	d := openDoor(t)
	p := newProbe(t, &net.Dialer{})
	seen := evidence(map[netip.AddrPort]probes.Outcome{d.addr: probes.OK})

	first := p.Probe(t.Context(), seen, nil)
	if len(first) != 1 || first[0].Outcome != probes.OK || first[0].Addr != d.addr {
		t.Fatalf("got %+v", first)
	}
	r := Of(first[0])
	if r == nil || r.State != Open || r.EndsAt != 1 || r.PathLength != 1 {
		t.Fatalf("got %s", describe(r))
	}
	knocked := d.knocked.Load()
	second := p.Probe(t.Context(), seen, nil)
	if len(second) != 1 || !second[0].Start.Equal(first[0].Start) || Of(second[0]) != r {
		t.Errorf("the second round is to tell what the first saw, got %+v", second)
	}
	if d.knocked.Load() != knocked {
		t.Errorf("a healthy address was traced again at once")
	}
}

func TestAddressIsTracedAgain(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		memory memory
		site   site
		due    bool
	}{
		"never traced":               {memory{}, site{connect: probes.OK}, true},
		"healthy, a moment ago":      {memory{traced: now, connect: probes.OK}, site{connect: probes.OK}, false},
		"healthy, a pace ago":        {memory{traced: now.Add(-pace), connect: probes.OK}, site{connect: probes.OK}, true},
		"connecting fails now":       {memory{traced: now, connect: probes.OK}, site{connect: probes.Timeout}, true},
		"connecting still fails":     {memory{traced: now, connect: probes.Timeout}, site{connect: probes.Timeout}, true},
		"connecting works again":     {memory{traced: now, connect: probes.Timeout}, site{connect: probes.OK}, true},
		"TLS hangs, TCP opens":       {memory{traced: now, connect: probes.OK}, site{connect: probes.OK, slow: true}, true},
		"TLS hung, and does no more": {memory{traced: now, connect: probes.OK, slow: true}, site{connect: probes.OK}, true},
		"healthy, half a pace ago":   {memory{traced: now.Add(-pace / 2), connect: probes.OK}, site{connect: probes.OK}, false},
		"connecting was not tried":   {memory{traced: now}, site{}, true},
		"connecting failed in a way": {memory{traced: now, connect: probes.Timeout}, site{connect: probes.Refused}, true},
	} {
		if got := tt.memory.due(tt.site, pace); got != tt.due {
			t.Errorf("%s: due is %v, want %v", name, got, tt.due)
		}
	}
}

func TestEachAddressHasItsObservation(t *testing.T) {
	d, closed := openDoor(t), closedDoor(t)
	p := newProbe(t, &net.Dialer{})
	obs := p.Probe(t.Context(), evidence(map[netip.AddrPort]probes.Outcome{d.addr: probes.OK, closed: probes.Refused}), nil)
	want := map[netip.AddrPort]probes.Outcome{d.addr: probes.OK, closed: probes.Refused}
	if len(obs) != 2 {
		t.Fatalf("got %+v", obs)
	}
	for _, o := range obs {
		if o.Outcome != want[o.Addr] {
			t.Errorf("%s: %s, want %s (%v)", o.Addr, o.Outcome, want[o.Addr], o.Err)
		}
	}
}

// A mirror is a Network whose addresses stand for others.
type mirror struct {
	net.Dialer
	leads map[netip.AddrPort]netip.AddrPort
}

func (m *mirror) Translate(a netip.AddrPort) (netip.AddrPort, bool) {
	real, ok := m.leads[a]
	return real, ok
}

func TestNetworksAreNotLeft(t *testing.T) {
	d := openDoor(t)
	inside, outside := netip.MustParseAddrPort("10.0.1.17:443"), netip.MustParseAddrPort("10.0.1.18:443")
	seen := evidence(map[netip.AddrPort]probes.Outcome{inside: probes.OK, outside: probes.OK})
	want := map[netip.AddrPort]probes.Outcome{inside: probes.OK, outside: probes.Skipped}
	for _, o := range newProbe(t, &mirror{leads: map[netip.AddrPort]netip.AddrPort{inside: d.addr}}).Probe(t.Context(), seen, nil) {
		if o.Outcome != want[o.Addr] {
			t.Errorf("%s: %s, want %s (%v)", o.Addr, o.Outcome, want[o.Addr], o.Err)
		}
	}
	unknown := struct{ probes.Network }{&net.Dialer{}}
	for _, o := range newProbe(t, unknown).Probe(t.Context(), seen, nil) {
		if o.Outcome != probes.Skipped {
			t.Errorf("through a network that does not say where it leads, %s was traced: %s", o.Addr, o.Outcome)
		}
	}
}

func TestNothingToTraceIsSkipped(t *testing.T) {
	obs := newProbe(t, &net.Dialer{}).Probe(t.Context(), evidence(nil), nil)
	if len(obs) != 1 || obs[0].Outcome != probes.Skipped {
		t.Errorf("got %+v", obs)
	}
}

func TestInterruptedTraceBlamesNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	seen := evidence(map[netip.AddrPort]probes.Outcome{addr: probes.Timeout})
	if o := newProbe(t, &net.Dialer{}).Probe(ctx, seen, nil)[0]; o.Outcome != probes.Aborted || !errors.Is(o.Err, context.Canceled) {
		t.Errorf("canceled: got %s, %v", o.Outcome, o.Err)
	}
	late, cancelLate := context.WithDeadline(t.Context(), time.Now())
	defer cancelLate()
	if o := newProbe(t, &net.Dialer{}).Probe(late, seen, nil)[0]; o.Outcome != probes.Fault || !errors.Is(o.Err, context.DeadlineExceeded) {
		t.Errorf("out of time: got %s, %v", o.Outcome, o.Err)
	}
}

func TestPacketSizesAreMeasuredWhenTLSHangs(t *testing.T) {
	certificate, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { conn.(*tls.Conn).Handshake(); conn.Close() }()
		}
	}()
	defer func() { l.Close(); <-done }()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	seen := evidence(map[netip.AddrPort]probes.Outcome{addr: probes.OK})
	p := newProbe(t, &net.Dialer{})
	if r := Of(p.Probe(t.Context(), seen, nil)[0]); r.MTU != nil {
		t.Errorf("packet sizes were measured without a reason: %s", r.MTU)
	}
	seen = seen.With("handshake", []probes.Observation{{Kind: "handshake", Via: probes.ViaDomain, Addr: addr, Outcome: probes.Timeout}})
	o := p.Probe(t.Context(), seen, nil)[0]
	r := Of(o)
	if r.MTU == nil || r.MTU.BlackHole || r.MTU.Passing != maxPacket {
		t.Fatalf("got %+v", r.MTU)
	}
	if !slices.ContainsFunc(o.Values, func(v probes.Value) bool { return v.Metric == pathMTU && v.V == maxPacket }) {
		t.Errorf("the size is missing from %v", o.Values)
	}
}

func TestStatesAreOutcomes(t *testing.T) {
	for state, want := range map[State]probes.Outcome{
		Open: probes.OK, Refused: probes.Refused, Prohibited: probes.Prohibited, PortUnreachable: probes.Prohibited,
		HostUnreachable: probes.Unreachable, NetUnreachable: probes.Unreachable, Loop: probes.Loop, Filtered: probes.Timeout,
	} {
		if got, err := outcome(&Result{State: state}); got != want || (err == nil) != (want == probes.OK) {
			t.Errorf("%s: %s, %v, want %s", state, got, err, want)
		}
	}
	for errno, want := range map[syscall.Errno]probes.Outcome{
		syscall.ENETUNREACH: probes.Unreachable, syscall.EPERM: probes.Prohibited, syscall.EADDRNOTAVAIL: probes.Fault,
	} {
		if got, _ := outcome(&Result{State: Local, err: errno}); got != want {
			t.Errorf("%v: %s, want %s", errno, got, want)
		}
	}
}

// traced is evidence of connecting and of the path.
func traced(results map[netip.AddrPort]*Result, outcomes map[netip.AddrPort]probes.Outcome) probes.Evidence {
	seen := evidence(outcomes)
	var obs []probes.Observation
	for _, lane := range seen.Lanes {
		if r := results[lane.Addr]; r != nil {
			o, err := outcome(r)
			obs = append(obs, probes.Observation{Kind: name, Addr: lane.Addr, Start: time.Now(), Outcome: o, Err: err, Detail: r})
		}
	}
	return seen.With(name, obs)
}

var (
	a1 = netip.MustParseAddrPort("10.0.1.17:443")
	a2 = netip.MustParseAddrPort("10.0.2.23:443")
)

// A path that has changed is no fault by itself, so no verdict may depend on
// it; all else that the path shows is to be mended.
func TestSeveritiesAndWords(t *testing.T) {
	got := map[string]probes.Severity{}
	for _, r := range Rules {
		if text := r.Title + r.Means + r.Fix; strings.Contains(text, "the endpoint") {
			t.Errorf("%s takes for granted that there is an endpoint: %s", r.ID, text) // a custom domain may lead to anything
		}
		got[r.ID] = r.Severity
	}
	want := map[string]probes.Severity{
		"refused-by-middlebox": probes.Error, "routing-loop": probes.Error, "mtu-black-hole": probes.Error,
		"tcp-terminated-early": probes.Warning, "mss-rewritten": probes.Warning,
		"path-changed": probes.Notice,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRules(t *testing.T) {
	for name, tt := range map[string]struct {
		result  Result
		connect probes.Outcome
		want    string // the finding, "" for none
		sure    probes.Certainty
	}{
		"open":                        {Result{State: Open}, probes.OK, "", 0},
		"filtered":                    {Result{State: Filtered, SilentFrom: 1}, probes.Timeout, "", 0},
		"refused by the target":       {Result{State: Refused}, probes.Refused, "", 0},
		"refused before the target":   {Result{State: Refused, Between: true}, probes.Refused, "refused-by-middlebox", probes.Likely},
		"rejected before the target":  {Result{State: PortUnreachable, Between: true}, probes.Refused, "refused-by-middlebox", probes.Certain},
		"refused then, open now":      {Result{State: Refused, Between: true}, probes.OK, "", 0},
		"loop":                        {Result{State: Loop}, probes.Unreachable, "routing-loop", probes.Certain},
		"loop then, open now":         {Result{State: Loop}, probes.OK, "", 0},
		"terminated early":            {Result{State: Open, Between: true}, probes.OK, "tcp-terminated-early", probes.Likely},
		"MSS lowered as by a VPN":     {Result{State: Open, MSS: &MSSRewrite{From: 1460, To: 1379, Before: 3}}, probes.OK, "", 0},
		"MSS lowered too far":         {Result{State: Open, MSS: &MSSRewrite{From: 1460, To: 1200, Before: 3}}, probes.OK, "mss-rewritten", probes.Certain},
		"MSS raised":                  {Result{State: Open, MSS: &MSSRewrite{From: 1379, To: 1460, Before: 3}}, probes.OK, "mss-rewritten", probes.Certain},
		"path changed":                {Result{State: Open, Changed: &Change{From: "1 hop", To: "3 hops"}}, probes.OK, "path-changed", probes.Certain},
		"black hole":                  {Result{State: Open, MTU: &MTUResult{BlackHole: true, Verdict: "x"}}, probes.OK, "mtu-black-hole", probes.Certain},
		"packet sizes without a hole": {Result{State: Open, MTU: &MTUResult{Verdict: "x"}}, probes.OK, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			seen := traced(map[netip.AddrPort]*Result{a1: &tt.result}, map[netip.AddrPort]probes.Outcome{a1: tt.connect})
			var got []string
			var sure probes.Certainty
			for _, f := range probes.Diagnose(Rules, seen) {
				got, sure = append(got, f.Rule.ID), f.Certainty
				if len(f.Because) != 1 || f.Because[0].Addr != a1 || len(f.Notes) == 0 {
					t.Errorf("%s: because %v, notes %q", f.Rule.ID, f.Because, f.Notes)
				}
			}
			want := []string{tt.want}
			if tt.want == "" {
				want = nil
			}
			if !slices.Equal(got, want) || sure != tt.sure {
				t.Errorf("got %v, %v, want %v, %v", got, sure, want, tt.sure)
			}
		})
	}
}

func TestThePathCorrectsWhatConnectingFound(t *testing.T) {
	device := netip.MustParseAddr("10.9.9.9")
	for name, tt := range map[string]struct {
		results  map[netip.AddrPort]*Result
		outcomes map[netip.AddrPort]probes.Outcome
		want     map[string][]netip.AddrPort
		notes    []string // of the first finding, among others
	}{
		"a router prohibits, which looks like no route": {
			map[netip.AddrPort]*Result{a1: {State: Prohibited, RejectedBy: device, Verdict: "V"}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Unreachable},
			map[string][]netip.AddrPort{"traffic-prohibited": {a1}},
			[]string{"the path to 10.0.1.17:443: prohibited: V"},
		},
		"packets circle, which looks like no route": {
			map[netip.AddrPort]*Result{a1: {State: Loop}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Unreachable},
			map[string][]netip.AddrPort{}, nil,
		},
		"a router has no route": {
			map[netip.AddrPort]*Result{a1: {State: NetUnreachable, RejectedBy: device, Verdict: "V"}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Unreachable},
			map[string][]netip.AddrPort{"no-route": {a1}},
			[]string{"the path to 10.0.1.17:443: net-unreachable: V"},
		},
		"silence in a VPC": {
			map[netip.AddrPort]*Result{a1: {State: Filtered, SilentFrom: 1, Verdict: "V"}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Timeout},
			map[string][]netip.AddrPort{"traffic-dropped": {a1}},
			[]string{"the path to 10.0.1.17:443: filtered: V", fabric},
		},
		"silence behind a router": {
			map[netip.AddrPort]*Result{a1: {State: Filtered, LastHop: 2, SilentFrom: 3, Verdict: "V"}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Timeout},
			map[string][]netip.AddrPort{"traffic-dropped": {a1}},
			[]string{"the path to 10.0.1.17:443: filtered: V"},
		},
		"a device refuses in the endpoint's place": {
			map[netip.AddrPort]*Result{a1: {State: Refused, Between: true}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Refused},
			map[string][]netip.AddrPort{}, nil,
		},
		"the endpoint refuses": {
			map[netip.AddrPort]*Result{a1: {State: Refused, Verdict: "V"}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Refused},
			map[string][]netip.AddrPort{"connection-refused": {a1}},
			[]string{"the path to 10.0.1.17:443: refused: V"},
		},
		"two addresses, two causes": {
			map[netip.AddrPort]*Result{a1: {State: Prohibited}, a2: {State: NetUnreachable, RejectedBy: device}},
			map[netip.AddrPort]probes.Outcome{a1: probes.Unreachable, a2: probes.Unreachable},
			map[string][]netip.AddrPort{"traffic-prohibited": {a1}, "no-route": {a2}}, nil,
		},
		"not traced": {
			nil,
			map[netip.AddrPort]probes.Outcome{a1: probes.Unreachable},
			map[string][]netip.AddrPort{"no-route": {a1}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := traced(tt.results, tt.outcomes)
			found := Refine(seen, probes.Diagnose(connect.Rules, seen))
			got := map[string][]netip.AddrPort{}
			for _, f := range found {
				for _, o := range f.Because {
					got[f.Rule.ID] = append(got[f.Rule.ID], o.Addr)
				}
				if f.Certainty == probes.No {
					t.Errorf("%s has no certainty", f.Rule.ID)
				}
			}
			for id := range tt.want {
				if !slices.Equal(got[id], tt.want[id]) {
					t.Errorf("%s: got %v, want %v", id, got[id], tt.want[id])
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			for _, note := range tt.notes {
				if !slices.Contains(found[0].Notes, note) {
					t.Errorf("the note %q is missing from %q", note, found[0].Notes)
				}
			}
			if len(tt.notes) > 0 && slices.Contains(found[0].Notes, fabric) != slices.Contains(tt.notes, fabric) {
				t.Errorf("notes %q", found[0].Notes)
			}
		})
	}
}

// A failure is no route for certain where the path says so of each address, in
// the words of a router or of this host.
func TestThePathIsSureOfARoute(t *testing.T) {
	device := netip.MustParseAddr("10.9.9.9")
	said := &Result{State: NetUnreachable, RejectedBy: device}
	for name, tt := range map[string]struct {
		results map[netip.AddrPort]*Result
		connect probes.Outcome // of both addresses
		want    string
	}{
		"a router has no route":         {map[netip.AddrPort]*Result{a1: said, a2: said}, probes.Unreachable, "certain no-route"},
		"a router gets no answer":       {map[netip.AddrPort]*Result{a1: said, a2: {State: HostUnreachable, RejectedBy: device}}, probes.Unreachable, "certain no-route"},
		"this host has no route":        {map[netip.AddrPort]*Result{a1: said, a2: {State: Local, err: syscall.ENETUNREACH}}, probes.Unreachable, "certain no-route"},
		"this host has no port":         {map[netip.AddrPort]*Result{a1: said, a2: {State: Local, err: syscall.EADDRNOTAVAIL}}, probes.Unreachable, "likely no-route"},
		"nobody is known to say so":     {map[netip.AddrPort]*Result{a1: said, a2: {State: HostUnreachable}}, probes.Unreachable, "likely no-route"},
		"one is not traced":             {map[netip.AddrPort]*Result{a1: said}, probes.Unreachable, "likely no-route"},
		"nobody says why it is silent":  {map[netip.AddrPort]*Result{a1: {State: HostUnreachable}, a2: {State: HostUnreachable}}, probes.Timeout, "likely traffic-dropped"},
		"silence, and then no route":    {map[netip.AddrPort]*Result{a1: said, a2: said}, probes.Timeout, "certain no-route"},
		"silence, and no route on here": {map[netip.AddrPort]*Result{a1: {State: Local, err: syscall.ENETUNREACH}}, probes.Timeout, "likely traffic-dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := traced(tt.results, map[netip.AddrPort]probes.Outcome{a1: tt.connect, a2: tt.connect})
			var got []string
			for _, f := range Refine(seen, probes.Diagnose(connect.Rules, seen)) {
				got = append(got, f.Certainty.String()+" "+f.Rule.ID)
			}
			if !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRefiningLeavesOtherFindingsAlone(t *testing.T) {
	other := probes.Finding{Rule: &probes.Rule{ID: "other"}, Certainty: probes.Possible, Notes: []string{"n"}}
	got := Refine(evidence(nil), []probes.Finding{other})
	if len(got) != 1 || got[0].Rule != other.Rule || !slices.Equal(got[0].Notes, other.Notes) {
		t.Errorf("got %+v", got)
	}
}
