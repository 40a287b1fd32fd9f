//go:build linux

package trace

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vpcprobe/lab/netns"
)

// hopList is the path as traceroute prints it: addresses, and * for silence.
func hopList(r *Result) []string {
	var list []string
	for _, h := range r.Hops {
		if h.Answer == Silent {
			list = append(list, "*")
		} else {
			list = append(list, h.From.String())
		}
	}
	return list
}

// traceroute runs the tool as root beside us and returns its hops.
func traceroute(t *testing.T, l *netns.Lab, target netip.AddrPort) []string {
	t.Helper()
	out, err := l.Client().Run("", nil, "traceroute", "-n", "-T", "-p", fmt.Sprint(target.Port()), "-w", "1", "-q", "1", target.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] != "traceroute" {
			list = append(list, fields[1])
		}
	}
	return list
}

func TestHopsAreThoseOfTraceroute(t *testing.T) {
	if _, err := exec.LookPath("traceroute"); err != nil {
		t.Skip("SKIP: traceroute(8) is not installed")
	}
	for name, topology := range map[string]netns.Topology{
		"same link":              {},
		"one router":             {Routers: 1},
		"four routers":           netns.Row(),
		"more than the window":   {Routers: 11},
		"far routers with delay": {Routers: 3, Links: map[int]netns.Link{0: {Delay: time.Millisecond}, 2: {Delay: 5 * time.Millisecond}}},
		"a twin that idles":      {Routers: 4, Twin: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, topology)
			for family, v6 := range families {
				r := trace(t, l, order{Target: l.Target(v6)})
				if got, want := hopList(r), traceroute(t, l, l.Target(v6)); !slices.Equal(got, want) {
					t.Errorf("%s: hops %v, traceroute has %v\n%s", family, got, want, describe(r))
				}
				if r.EndsAt != l.Length() {
					t.Errorf("%s: ends at %d, want %d", family, r.EndsAt, l.Length())
				}
			}
		})
	}
	for _, fault := range []netns.Fault{netns.SilentRouter, netns.ResetByRouter, netns.NAT, netns.Proxy, netns.ClampMSS} {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			breakWith(t, l, fault)
			for family, v6 := range families {
				r := trace(t, l, order{Target: l.Target(v6)})
				if got, want := hopList(r), traceroute(t, l, l.Target(v6)); !slices.Equal(got, want) {
					t.Errorf("%s: hops %v, traceroute has %v\n%s", family, got, want, describe(r))
				}
			}
		})
	}
}

func TestSteadyTraceReachesTheTargetOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		faults []netns.Fault
		silent []int
	}{
		"all answer":      {},
		"a silent router": {[]netns.Fault{netns.SilentRouter}, []int{2}},
		"no ICMP at all":  {[]netns.Fault{netns.NoICMP}, []int{1, 2, 3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			breakWith(t, l, tt.faults...)
			const runs = 20
			prior := &Prior{Length: 5, RTT: time.Millisecond, Silent: tt.silent}
			for _, r := range carryOut[*Result](t, l.Client(), order{Target: l.Target(false), Runs: runs, Options: Options{Prior: prior}}) {
				if r.State != Open || r.SYNs != 5 || r.Handshakes != 1 || r.EndsAt != 5 {
					t.Fatalf("a steady trace of 5 hops is to send 5 SYNs and complete 1 handshake\n%s", describe(r))
				}
			}
			eventually(t, func() bool { return l.Accepted() >= runs }, "the target accepts %d connections", runs)
			settle(t, l)
			if got := l.Accepted(); got != runs {
				t.Errorf("the target accepted %d connections in %d traces", got, runs)
			}
		})
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, holds func() bool, what string, args ...any) {
	t.Helper()
	for range 1000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain until "+what, args...)
}

// settle waits until the server holds nothing but its listener.
func settle(t *testing.T, l *netns.Lab) {
	t.Helper()
	eventually(t, func() bool {
		states, err := l.Server().Sockets()
		if err != nil {
			t.Fatal(err)
		}
		return len(states) == 1 && states[10] == 1
	}, "the server holds nothing but its listener")
}

func TestNothingLingers(t *testing.T) {
	l := netns.Start(t, netns.Row())
	runs := 30
	if nightly() {
		runs = 3000
	}
	for family, v6 := range families {
		carryOut[*Result](t, l.Client(), order{Target: l.Target(v6), Runs: runs, Remember: true, Options: Options{Control: true, Paris: true}})
		settle(t, l)
		states, err := l.Client().Sockets()
		if err != nil {
			t.Fatal(err)
		}
		if len(states) != 0 {
			t.Errorf("%s: the client still holds sockets after %d traces: %s", family, runs, netns.States(states))
		}
	}
}

func TestLossTurnsOpenIntoNothingElse(t *testing.T) {
	runs := 30
	if nightly() {
		runs = 500
	}
	for family, v6 := range families {
		for mode, remember := range map[string]bool{"cold": false, "steady": true} {
			t.Run(family+" "+mode, func(t *testing.T) {
				t.Parallel()
				l := netns.Start(t, netns.Row())
				breakWith(t, l, netns.Loss)
				results := carryOut[*Result](t, l.Client(), order{Target: l.Target(v6), Runs: runs, Remember: remember, Options: Options{Control: true}})
				for i, r := range results {
					if r.State != Open || r.Between || r.MSS != nil {
						t.Errorf("trace %d of %d:\n%s", i+1, runs, describe(r))
					}
				}
			})
		}
	}
}

func TestParisPassFollowsOneWay(t *testing.T) {
	l := netns.Start(t, netns.Topology{Routers: 4, Twin: true, Equal: true})
	results := carryOut[*Result](t, l.Client(), order{Target: l.Target(false), Runs: 24, Options: Options{Paris: true, KeepConn: true}})
	ways := map[netip.Addr]bool{}
	for _, r := range results {
		if r.State != Open || r.Hop(5).Fixed == nil || r.Hop(5).Fixed.Answer != SynAck {
			t.Fatalf("the pass is to end with a connection\n%s", describe(r))
		}
		for _, a := range r.Hop(2).Addrs {
			ways[a] = true
		}
		ports := map[uint16]bool{}
		for _, h := range r.Hops {
			ports[h.Fixed.Port] = true
		}
		if len(ports) != 1 {
			t.Errorf("the pass used the source ports %v", ports)
		}
	}
	if !ways[l.Hop(2, false)] || !ways[l.TwinHop()] || len(ways) != 2 {
		t.Errorf("24 traces over two ways met %v at hop 2", ways)
	}
	flow := order{Target: l.Target(false), Runs: 12, Options: Options{Paris: true, FlowPort: 40000}}
	fixed := map[netip.Addr]bool{}
	for _, r := range carryOut[*Result](t, l.Client(), flow) {
		fixed[r.Hop(2).Fixed.From] = true
	}
	if len(fixed) != 1 {
		t.Errorf("one and the same flow met %v at hop 2", fixed)
	}
}

func TestEqualWaysAreNoChange(t *testing.T) {
	l := netns.Start(t, netns.Topology{Routers: 4, Twin: true, Equal: true})
	for i, r := range carryOut[*Result](t, l.Client(), order{Target: l.Target(false), Runs: 30, Memory: true}) {
		if r.Changed != nil || r.State != Open || r.PathLength != 5 {
			t.Fatalf("trace %d:\n%s", i, describe(r))
		}
	}
}

func TestKernelsBefore58TakeTheHopsOfUDP(t *testing.T) {
	for name, tt := range map[string]struct {
		fault *netns.Fault
		state State
		ends  int
	}{
		"open":     {state: Open, ends: 5},
		"a reset":  {fault: &netns.ResetByRouter, state: Refused, ends: 3},
		"a drop":   {fault: &netns.Drop, state: Filtered},
		"by errno": {fault: &netns.Prohibit, state: HostUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// With a delay, so that errors come when the kernel may report them.
			l := netns.Start(t, netns.Topology{Routers: 4, Links: map[int]netns.Link{0: {Delay: 2 * time.Millisecond}}})
			if tt.fault != nil {
				breakWith(t, l, *tt.fault)
			}
			r := trace(t, l, order{Target: l.Target(false), Old: true})
			if r.State != tt.state || r.EndsAt != tt.ends || !r.NoErrorQueue {
				t.Fatalf("want %s at %d\n%s", tt.state, tt.ends, describe(r))
			}
			// A router may be silent once: on a busy machine the control's probe is late.
			known := map[int]bool{}
			for range 5 {
				for ttl := 1; ttl < tt.ends; ttl++ {
					h := r.Hop(ttl)
					known[ttl] = known[ttl] || h != nil && h.From == l.Hop(ttl, false)
					if h != nil && h.From.IsValid() && h.From != l.Hop(ttl, false) {
						t.Errorf("hop %d is to be %s\n%s", ttl, l.Hop(ttl, false), describe(r))
					}
				}
				r = trace(t, l, order{Target: l.Target(false), Old: true})
			}
			for ttl := 1; ttl < tt.ends; ttl++ {
				if !known[ttl] {
					t.Errorf("hop %d stayed unknown in 5 traces\n%s", ttl, describe(r))
				}
			}
		})
	}
}

func TestRoundTripsAreTheKernels(t *testing.T) {
	const delay = 5 * time.Millisecond
	l := netns.Start(t, netns.Topology{Routers: 2, Links: map[int]netns.Link{0: {Delay: delay}, 1: {Delay: delay}}})
	for family, v6 := range families {
		results := carryOut[*Result](t, l.Client(), order{Target: l.Target(v6), Runs: 5})
		r := results[len(results)-1]
		want := []struct {
			clock Clock
			least time.Duration
		}{{KernelClock, 2 * delay}, {KernelClock, 4 * delay}, {TCPInfoClock, 4 * delay}}
		for i, h := range r.Hops {
			if h.Clock != want[i].clock || time.Duration(h.RTT) < want[i].least {
				t.Errorf("%s: hop %d: %s by %s, want at least %s by %s", family, h.TTL, h.RTT, h.Clock, want[i].least, want[i].clock)
			}
		}
	}
}

func TestPathMTU(t *testing.T) {
	for name, tt := range map[string]struct {
		faults     []netns.Fault
		blackHole  bool
		directions []Direction
		narrow     int // the size that passes, at most
		learned    int
	}{
		"wide":                 {narrow: 1500},
		"narrow and told":      {faults: []netns.Fault{netns.Narrow}, narrow: 1400, learned: 1400},
		"black hole":           {faults: []netns.Fault{netns.BlackHole}, blackHole: true, directions: []Direction{ToServer}, narrow: 1400},
		"black hole back":      {faults: []netns.Fault{netns.BlackHoleBack}, blackHole: true, directions: []Direction{FromServer}, narrow: 1400},
		"black hole, a tunnel": {faults: []netns.Fault{netns.BlackHoleTunnel}, blackHole: true, directions: []Direction{ToServer}, narrow: 1480},
		"black hole, at last":  {faults: []netns.Fault{netns.BlackHoleLast}, blackHole: true, directions: []Direction{ToServer}, narrow: 1400},
	} {
		for family, v6 := range families {
			t.Run(name+" "+family, func(t *testing.T) {
				t.Parallel()
				l := netns.Start(t, netns.Row())
				breakWith(t, l, tt.faults...)
				r := carryOut[*MTUResult](t, l.Client(), order{Target: l.Target(v6), MTU: "lab"})[0]
				if r.BlackHole != tt.blackHole || !slices.Equal(r.Directions, tt.directions) || r.PathMTU != tt.learned {
					t.Errorf("got %+v", r)
				}
				if tt.narrow > 0 && (r.Passing > tt.narrow || r.Passing < tt.narrow-8) {
					t.Errorf("passing %d, want %d or up to 8 less: %s", r.Passing, tt.narrow, r)
				}
				if tt.blackHole && (r.Vanishing <= tt.narrow || r.Vanishing > tt.narrow+8) {
					t.Errorf("vanishing %d, want %d or up to 8 more: %s", r.Vanishing, tt.narrow+1, r)
				}
			})
		}
	}
}

func TestLossIsNoBlackHole(t *testing.T) {
	runs := 5
	if nightly() {
		runs = 100
	}
	for family, v6 := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			breakWith(t, l, netns.Loss)
			for i, r := range carryOut[*MTUResult](t, l.Client(), order{Target: l.Target(v6), MTU: "lab", Runs: runs}) {
				if r.BlackHole {
					t.Errorf("sweep %d of %d: %+v", i+1, runs, r)
				}
			}
		})
	}
}
