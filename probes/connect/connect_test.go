//go:build linux

package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vpcprobe/probes"
)

// dial probes one address once; more says that a step follows.
func dial(t *testing.T, p peer, more bool, timeout time.Duration) (*probes.Line, probes.Observation) {
	t.Helper()
	target := orders()
	target.Timeout = timeout
	lane := probes.Lane{Via: probes.ViaPrivateDNS, ServerName: "a.example", Addr: netip.AddrPortFrom(a1, 443)}
	seen := probes.Evidence{Target: target, Lanes: []probes.Lane{lane}}
	probe, err := Kind.New(probes.System{Network: world{a1: p}.network(t)})(target)
	if err != nil {
		t.Fatal(err)
	}
	line := &probes.Line{Lane: lane, More: more}
	t.Cleanup(line.Close)
	obs := probe.Probe(t.Context(), seen, line)
	if len(obs) != 1 {
		t.Fatalf("%d observations, want one", len(obs))
	}
	return line, obs[0]
}

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		peer    peer
		timeout time.Duration
		want    probes.Outcome
	}{
		{"open", open, 5 * time.Second, probes.OK},
		{"a server that speaks first", greeting, 5 * time.Second, probes.OK},
		{"nothing listens", refusing, 5 * time.Second, probes.Refused},
		{"accepted, then reset", resetting, 5 * time.Second, probes.Reset},
		{"accepted, then closed", hangingUp, 5 * time.Second, probes.Closed},
		{"silent", silent, 300 * time.Millisecond, probes.Timeout},
		{"no route", saying(syscall.ENETUNREACH), 5 * time.Second, probes.Unreachable},
		{"no such host", saying(syscall.EHOSTUNREACH), 5 * time.Second, probes.Unreachable},
		{"local firewall", saying(syscall.EPERM), 5 * time.Second, probes.Prohibited},
		{"prohibited", saying(syscall.EACCES), 5 * time.Second, probes.Prohibited},
		{"the kernel gave up", saying(syscall.ETIMEDOUT), 5 * time.Second, probes.Timeout},
		{"no descriptors left", saying(syscall.EMFILE), 5 * time.Second, probes.Fault},
		{"no descriptors left on this machine", saying(syscall.ENFILE), 5 * time.Second, probes.Fault},
		{"no ports left", saying(syscall.EADDRNOTAVAIL), 5 * time.Second, probes.Fault},
		{"no memory", saying(syscall.ENOBUFS), 5 * time.Second, probes.Fault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line, o := dial(t, tt.peer, false, tt.timeout)
			if o.Outcome != tt.want {
				t.Errorf("%s (%v), want %s", o.Outcome, o.Err, tt.want)
			}
			if (o.Err == nil) != (tt.want == probes.OK) || line.Conn != nil { // nobody needs it
				t.Errorf("error %v and connection %v with outcome %s", o.Err, line.Conn, o.Outcome)
			}
			if len(o.Phases) != 1 || o.Phases[0].Name != probes.PhaseConnect || o.Took() <= 0 {
				t.Errorf("phases %v", o.Phases)
			}
			want := map[string]float64{}
			if o.Outcome == probes.OK || o.Outcome.Blames() {
				want["tcp_up"] = 0
			}
			if o.Outcome == probes.OK {
				want["tcp_up"] = 1
			}
			if got, ok := values(o)["tcp_up"]; ok != (len(want) == 1) || got != want["tcp_up"] {
				t.Errorf("values %v, want %v", values(o), want)
			}
		})
	}
}

func values(o probes.Observation) map[string]float64 {
	sums := map[string]float64{}
	for _, v := range o.Values {
		sums[v.Name] += v.V
	}
	return sums
}

// If a later step uses the connection, not a byte of what the peer says is
// taken from it.
func TestTheConnectionIsLeftForTheNextStep(t *testing.T) {
	t.Parallel()
	line, o := dial(t, greeting, true, 5*time.Second)
	if o.Outcome != probes.OK {
		t.Fatalf("%s: %v", o.Outcome, o.Err)
	}
	line.Conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 5)
	if _, err := io.ReadFull(line.Conn, got); err != nil || string(got) != "220 h" {
		t.Errorf("read %q, %v, want the greeting from its start", got, err)
	}
}

// The step that reads finds the reset; connect does not wait for it then.
func TestNoPatienceIfAStepFollows(t *testing.T) {
	t.Parallel()
	line, o := dial(t, hangingUp, true, 5*time.Second)
	if o.Outcome != probes.OK || line.Conn == nil {
		t.Fatalf("%s: %v", o.Outcome, o.Err)
	}
}

func TestInterruptedIsAborted(t *testing.T) {
	for what, peer := range map[string]peer{"while connecting": silent, "while waiting": open} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			network := world{a1: peer}.network(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dialed := signaling{network, make(chan struct{}, 1)}
			go func() { <-dialed.done; cancel() }()
			if what == "while connecting" {
				dialed.done <- struct{}{}
			}
			lane := probes.Lane{Addr: netip.AddrPortFrom(a1, 443)}
			p := &probe{&machine{network: dialed, speaks: speaks}, 5 * time.Second}
			line := &probes.Line{Lane: lane}
			defer line.Close()
			o := p.Probe(ctx, probes.Evidence{Target: orders(), Lanes: []probes.Lane{lane}}, line)[0]
			if o.Outcome != probes.Aborted || line.Conn != nil || values(o)["tcp_up"] != 0 {
				t.Errorf("%s (%v), want aborted", o.Outcome, o.Err)
			}
		})
	}
}

// signaling says when a connection was made.
type signaling struct {
	probes.Network
	done chan struct{}
}

func (s signaling) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.Network.DialContext(ctx, network, address)
	if err == nil {
		s.done <- struct{}{}
	}
	return conn, err
}

func TestDialKeepsToItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	conn, o := Dial(ctx, world{a1: silent}.network(t), probes.Lane{Via: probes.ViaAlias, ServerName: "a.example", Addr: netip.AddrPortFrom(a1, 443)})
	if conn != nil || o.Outcome != probes.Timeout || o.Via != probes.ViaAlias || o.Name != "a.example" || o.Addr.Addr() != a1 {
		t.Errorf("%v %+v", conn, o)
	}
	if Of(o) != nil {
		t.Errorf("detail %v of a connection that was not made", Of(o))
	}
}

// A connection that a Network wraps has no TCP_INFO to ask for; then the time
// is our own clock's, and says so.
func TestWithoutTheKernelsNumbers(t *testing.T) {
	t.Parallel()
	conn, o := Dial(t.Context(), wrapping{world{a1: open}.network(t)}, probes.Lane{Addr: netip.AddrPortFrom(a1, 443)})
	if o.Outcome != probes.OK {
		t.Fatal(o.Err)
	}
	defer conn.Close()
	if d := Of(o); d.Kernel || d.RTT <= 0 || d.RTT != o.Took() || len(o.Values) != 0 {
		t.Errorf("detail %+v, values %v", d, o.Values)
	}
}

type wrapping struct{ probes.Network }

func (w wrapping) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.Network.DialContext(ctx, network, address)
	return struct{ net.Conn }{conn}, err
}

// Two forms share an address: each dials, one speaks for the address.
func TestOneReadingPerAddress(t *testing.T) {
	t.Parallel()
	target := orders()
	target.Via = []probes.Via{probes.ViaPrivateDNS, probes.ViaAlias}
	seen := walk(t, target, world{a1: open, a2: refusing}.network(t), a1, a2)
	read := map[string][]float64{}
	for _, o := range seen.Of(name) {
		if v, ok := values(o)["tcp_up"]; ok {
			read[o.Addr.Addr().String()] = append(read[o.Addr.Addr().String()], v)
		}
	}
	if got, want := fmt.Sprint(read), "map[10.0.1.17:[1] 10.0.2.23:[0]]"; got != want || len(seen.Of(name)) != 4 {
		t.Errorf("%d observations with readings %s, want 4 with %s", len(seen.Of(name)), got, want)
	}
}

func TestOK(t *testing.T) {
	t.Parallel()
	seen := walk(t, orders(), world{a1: open, a2: refusing}.network(t), a1)
	for _, lane := range seen.Lanes {
		if got, want := OK(seen, lane), lane.Addr.Addr() == a1; got != want {
			t.Errorf("%v: %v, want %v", lane.Addr, got, want)
		}
	}
	if OK(seen, probes.Lane{Via: probes.ViaAlias, Addr: netip.AddrPortFrom(a1, 443)}) {
		t.Error("a lane that was not walked is OK")
	}
}

// A machine without IPv6, or without IPv4, is no fault of the endpoint, as long
// as there is another way.
func TestMachineOfOneFamily(t *testing.T) {
	lane := func(addr netip.Addr) probes.Lane {
		return probes.Lane{Via: probes.ViaPrivateDNS, Addr: netip.AddrPortFrom(addr, 443), Answered: true}
	}
	configured := func(addr netip.Addr) probes.Lane {
		l := lane(addr)
		l.Answered = false
		return l
	}
	for _, tt := range []struct {
		name  string
		both  bool // the machine speaks both families
		err   syscall.Errno
		lanes []probes.Lane // the last is walked
		want  probes.Outcome
	}{
		{"IPv6 only, another way", false, syscall.ENETUNREACH, []probes.Lane{lane(a6), lane(a1)}, probes.Skipped},
		{"IPv6 only, no other way", false, syscall.ENETUNREACH, []probes.Lane{lane(a2), lane(a1)}, probes.Unreachable},
		{"IPv6 only, refused", false, syscall.ECONNREFUSED, []probes.Lane{lane(a6), lane(a1)}, probes.Refused},
		{"another way", false, syscall.ENETUNREACH, []probes.Lane{lane(a1), lane(a6)}, probes.Skipped},
		{"another way, no address to come from", false, syscall.EADDRNOTAVAIL, []probes.Lane{lane(a1), lane(a6)}, probes.Skipped},
		{"no other way", false, syscall.ENETUNREACH, []probes.Lane{lane(a6)}, probes.Unreachable},
		{"another way, which callers are not told of", false, syscall.ENETUNREACH, []probes.Lane{configured(a1), lane(a6)}, probes.Unreachable},
		{"a way that callers are not told of, and another", false, syscall.ENETUNREACH, []probes.Lane{lane(a1), configured(a6)}, probes.Skipped},
		{"two ways that callers are not told of", false, syscall.ENETUNREACH, []probes.Lane{configured(a1), configured(a6)}, probes.Skipped},
		{"another way for another name", false, syscall.ENETUNREACH,
			[]probes.Lane{{Via: probes.ViaAlias, Addr: netip.AddrPortFrom(a1, 443), Answered: true}, lane(a6)}, probes.Unreachable},
		{"it speaks IPv6", true, syscall.ENETUNREACH, []probes.Lane{lane(a1), lane(a6)}, probes.Unreachable},
		{"refused", false, syscall.ECONNREFUSED, []probes.Lane{lane(a1), lane(a6)}, probes.Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			walked := tt.lanes[len(tt.lanes)-1]
			p := &probe{&machine{network: world{walked.Addr.Addr(): saying(tt.err)}.network(t), speaks: func(bool) bool { return tt.both }}, time.Second}
			seen := probes.Evidence{Target: orders(), Lanes: tt.lanes}
			o := p.Probe(t.Context(), seen, &probes.Line{Lane: walked})[0]
			if o.Outcome != tt.want || !errors.Is(o.Err, tt.err) {
				t.Errorf("%s (%v), want %s", o.Outcome, o.Err, tt.want)
			}
		})
	}
}

func TestDetailInALine(t *testing.T) {
	d := &Detail{RTT: 1234567 * time.Nanosecond, Kernel: true, Local: netip.MustParseAddrPort("10.0.0.5:40000"), MSS: 1460, Retried: 1}
	if got, want := d.String(), "open, MSS 1460, from 10.0.0.5:40000, 1 SYNs sent again"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A reset that is here when the time is up is no open port.
func TestListenWithoutTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close() // on loopback, the reset arrives before this returns
	if got, err := new(machine).linger(probes.Within(t.Context(), 0), probes.NewSocket(probes.Host().Network, conn), probes.AddrPortOf(conn.RemoteAddr()), time.Millisecond); got != probes.Reset {
		t.Errorf("%s (%v), want reset", got, err)
	}
}

// held is a connection of a process that is held up while it reads: it notices
// that the time is up before it looks at what came.
type held struct {
	net.Conn
	reads int
}

func (h *held) SetReadDeadline(time.Time) error { return nil }

func (h *held) Read([]byte) (int, error) {
	if h.reads++; h.reads > 1 {
		return 0, syscall.ECONNRESET
	}
	time.Sleep(time.Second)
	return 0, os.ErrDeadlineExceeded
}

func TestListenHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := Listen(t.Context(), new(held), time.Now().Add(minPatience)); probes.Classify(err) != probes.Reset {
			t.Errorf("%v, want a reset", err)
		}
	})
}
