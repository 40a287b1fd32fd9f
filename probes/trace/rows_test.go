//go:build linux

package trace

import (
	"strings"
	"testing"
	"time"

	"vpcprobe/lab/netns"
)

// rows are the situations that a path can be in, with exactly what the trace
// says about each. In the verdicts hop N stands for the address of that hop.
var rows = []struct {
	name    string
	fault   netns.Fault
	control bool
	closed  bool          // trace to a port on which nothing listens
	nobody  bool          // trace to an address that no host has
	patient time.Duration // wait for routers that find no neighbor
	state   State
	ends    int
	silent  int
	verdict string
}{
	{name: "open", control: true, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5"},
	{name: "closed port", control: true, closed: true, state: Refused, ends: 5,
		verdict: "the target itself, at hop 5, resets: nothing listens on the port, or its own firewall rejects"},
	{name: "reset by a router", fault: netns.ResetByRouter, control: true, state: Refused, ends: 3,
		verdict: "a reset came back for SYNs that go 3 hops, but UDP goes on to hop 5: a device at or behind hop 2 (HOP2) resets, not the target"},
	{name: "reset by a router, without the control", fault: netns.ResetByRouter, state: Refused, ends: 3,
		verdict: "a reset came back for SYNs that go 3 hops: from the target, or a device behind hop 2 (HOP2)"},
	{name: "prohibited by a router", fault: netns.Prohibit, state: Prohibited, ends: 3,
		verdict: "ICMP PROHIBITED (administratively prohibited) from HOP2 (hop 2)"},
	{name: "rejected by a router", fault: netns.Reject, state: PortUnreachable, ends: 3,
		verdict: "ICMP REJECTED (port unreachable: a packet filter rejects) from HOP2 (hop 2)"},
	{name: "no route", fault: netns.NoRoute, state: NetUnreachable, ends: 3,
		verdict: "ICMP NOROUTE (no route to the network) from HOP3 (first seen at hop 3)"},
	{name: "target gone", fault: netns.TargetGone, state: Filtered, silent: 5,
		verdict: "last answer from hop 4 (HOP4), silence from hop 5"},
	{name: "target gone, with patience", fault: netns.TargetGone, patient: 3600 * time.Millisecond, state: HostUnreachable,
		verdict: "ICMP GONE (host unreachable) from HOP4 (hop 4)"},
	{name: "nobody on this link", nobody: true, state: HostUnreachable,
		verdict: "the target is on this link, and nobody answers ARP or neighbor discovery for it"},
	{name: "nobody on this link, with patience", nobody: true, patient: 3600 * time.Millisecond, state: HostUnreachable, ends: 0,
		verdict: "ICMP GONE (host unreachable) from this host itself: nobody answers ARP or neighbor discovery for the next hop"},
	{name: "dropped by a router", fault: netns.Drop, control: true, state: Filtered, silent: 3,
		verdict: "last answer from hop 2 (HOP2), silence from hop 3; UDP reaches the target at hop 5: the path is up, TCP 443 is filtered"},
	{name: "dropped by the target's security group", fault: netns.SecurityGroup, control: true, state: Filtered, silent: 5,
		verdict: "last answer from hop 4 (HOP4), silence from hop 5; UDP stops there too"},
	{name: "dropped on the way back", fault: netns.ReturnDropped, state: Filtered, silent: 5,
		verdict: "last answer from hop 4 (HOP4), silence from hop 5"},
	{name: "a silent router", fault: netns.SilentRouter, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5"},
	{name: "no ICMP at all", fault: netns.NoICMP, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5"},
	{name: "routing loop", fault: netns.RoutingLoop, state: Loop,
		verdict: "packets circle between LOOP"},
	{name: "transparent proxy", fault: netns.Proxy, control: true, state: Open, ends: 2,
		verdict: "the handshake completes at hop 2, but UDP reaches the target at hop 5: something on the way terminates TCP"},
	{name: "MSS lowered", fault: netns.ClampMSS, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5; MSS rewritten from OURMSS to 1200 before hop 3"},
	{name: "MSS raised", fault: netns.RaiseMSS, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5; MSS rewritten from OURMSS to 8460 before hop 3"},
	{name: "rejected by this host", fault: netns.LocalReject, state: Prohibited, ends: 1,
		verdict: "ICMP PROHIBITED (administratively prohibited) from this host itself"},
	{name: "dropped by this host", fault: netns.LocalDrop, state: Filtered, silent: 1,
		verdict: "no answer at any TTL: dropped on this host or on the way, where no router answers (in a VPC none does)"},
	{name: "no route on this host", fault: netns.LocalNoRoute, state: Local,
		verdict: "this host refuses to send: network is unreachable"},
	{name: "address translation", fault: netns.NAT, state: Open, ends: 5,
		verdict: "the handshake completes at hop 5"},
}

func TestEverySituationGetsItsVerdict(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			if row.fault.Break != nil {
				if err := row.fault.Break(l); err != nil {
					t.Fatal(err)
				}
			}
			for family, v6 := range families {
				t.Run(family, func(t *testing.T) {
					target := l.Target(v6)
					switch {
					case row.closed:
						target = l.ClosedPort(v6)
					case row.nobody:
						target = l.Nobody(v6)
					}
					r := trace(t, l, order{Target: target, Options: Options{Control: row.control, Patience: row.patient}})
					want := expand(row.verdict, l, v6)
					if r.State != row.state || r.Verdict != want || r.EndsAt != row.ends || r.SilentFrom != row.silent {
						t.Errorf("got  %s: %s (ends at %d, silent from %d)\nwant %s: %s (ends at %d, silent from %d)\n%s",
							r.State, r.Verdict, r.EndsAt, r.SilentFrom, row.state, want, row.ends, row.silent, describe(r))
					}
				})
			}
		})
	}
}

// expand puts the lab's addresses and the family's codes into a verdict.
func expand(verdict string, l *netns.Lab, v6 bool) string {
	// Over IPv6 a router answers from the address of the device that the packet
	// came in by, so router 2 has another one at hop 4.
	circle := "hop 2 (HOP2) and hop 3 (HOP3)"
	if v6 {
		circle = "hop 3 (HOP3) and hop 4 (fd77:2::1)"
	}
	verdict = strings.ReplaceAll(verdict, "LOOP", circle)
	codes := []string{"PROHIBITED", "3/13", "REJECTED", "3/3", "NOROUTE", "3/0", "GONE", "3/1", "OURMSS", "1460"}
	if v6 {
		codes = []string{"PROHIBITED", "1/1", "REJECTED", "1/4", "NOROUTE", "1/0", "GONE", "1/3", "OURMSS", "1440"}
	}
	for n, word := range []string{"HOP1", "HOP2", "HOP3", "HOP4", "HOP5"} {
		codes = append(codes, word, l.Hop(n+1, v6).String())
	}
	return strings.NewReplacer(codes...).Replace(verdict)
}
