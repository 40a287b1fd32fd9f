package netns

import (
	"errors"
	"fmt"
)

// A Fault is one way in which a network breaks. Most of them expect the four
// routers of [Row].
type Fault struct {
	Name  string // kebab-case words
	Doc   string // what is broken
	Break func(*Lab) error
}

// Row is the usual topology: client, four routers, server, five hops in all.
func Row() Topology { return Topology{Routers: 4} }

// The faults of single devices on the way, by name.
var (
	Drop = Fault{"drop", "router 2 drops everything to TCP port 443 (DROP, a network ACL)", func(l *Lab) error {
		return l.forward(2, "tcp dport 443 drop")
	}}
	ResetByRouter = Fault{"reset-by-router", "router 2 answers SYNs to port 443 with a reset (REJECT with tcp-reset)", func(l *Lab) error {
		return l.forward(2, "tcp dport 443 reject with tcp reset")
	}}
	Prohibit = Fault{"prohibit", "router 2 answers with ICMP administratively prohibited (REJECT)", func(l *Lab) error {
		return l.forward(2, "tcp dport 443 reject with icmpx type admin-prohibited")
	}}
	Reject = Fault{"reject", "router 2 answers with ICMP port unreachable (the default REJECT)", func(l *Lab) error {
		return l.forward(2, "tcp dport 443 reject with icmpx type port-unreachable")
	}}
	NoRoute = Fault{"no-route", "router 3 has no route to the server", func(l *Lab) error {
		return l.Router(3).IP("route del default", "route del ::/0")
	}}
	TargetGone = Fault{"target-gone", "nobody has the server's addresses: router 4 gets no answer to ARP", func(l *Lab) error {
		return errors.Join(
			l.Server().IP("addr del 10.77.4.2/24 dev w4", "addr del fd77:4::2/64 dev w4"),
			l.Router(4).IP("neigh del 10.77.4.2 dev e4", "neigh del fd77:4::2 dev e4"))
	}}
	SecurityGroup = Fault{"security-group", "the server silently drops all that is sent to it (a security group)", func(l *Lab) error {
		return l.Server().NFT(`table inet fault { chain in { type filter hook input priority 0; meta l4proto { tcp, udp } drop; }; }`)
	}}
	ReturnDropped = Fault{"return-dropped", "router 3 drops what comes back from port 443 (a network ACL without ephemeral ports)", func(l *Lab) error {
		return l.forward(3, "tcp sport 443 drop")
	}}
	SilentRouter = Fault{"silent-router", "router 2 sends no time exceeded", func(l *Lab) error {
		return l.Router(2).NFT(`table inet fault { chain out { type filter hook output priority 0; icmp type time-exceeded drop; icmpv6 type time-exceeded drop; }; }`)
	}}
	NoICMP = Fault{"no-icmp", "router 1 neither sends nor forwards ICMP errors", func(l *Lab) error {
		return l.Router(1).NFT(`table inet fault {
			chain out { type filter hook output priority 0; icmp type time-exceeded drop; icmpv6 type time-exceeded drop; }
			chain forward { type filter hook forward priority 0; meta l4proto icmp drop; icmpv6 type { time-exceeded, destination-unreachable, packet-too-big } drop; }
		}`)
	}}
	RoutingLoop = Fault{"routing-loop", "router 3 sends what is for the server back to router 2", func(l *Lab) error {
		return l.Router(3).IP("route replace default via 10.77.2.1", "route replace ::/0 via fd77:2::1")
	}}
	Proxy = Fault{"proxy", "router 2 is a transparent proxy: it accepts connections to port 443 itself", func(l *Lab) error {
		proxy, err := serveTLS(l.Router(2), ":8443")
		if err != nil {
			return err
		}
		l.other = append(l.other, proxy)
		return l.Router(2).NFT(`table inet fault { chain pre { type nat hook prerouting priority -100; tcp dport 443 redirect to :8443; }; }`)
	}}
	ClampMSS = Fault{"clamp-mss", "router 2 lowers the MSS option of SYNs to 1200", func(l *Lab) error {
		return l.forward(2, "tcp flags syn tcp option maxseg size set 1200")
	}}
	RaiseMSS = Fault{"raise-mss", "router 2 raises the MSS option of SYNs to 8460", func(l *Lab) error {
		return l.forward(2, "tcp flags syn @th,160,16 0x0204 @th,176,16 set 8460")
	}}
	LocalReject = Fault{"local-reject", "the client's own packet filter rejects (OUTPUT, REJECT)", func(l *Lab) error {
		return l.Client().NFT(`table inet fault { chain out { type filter hook output priority 0; tcp dport 443 reject with icmpx type admin-prohibited; }; }`)
	}}
	LocalDrop = Fault{"local-drop", "the client's own packet filter drops (OUTPUT, DROP)", func(l *Lab) error {
		return l.Client().NFT(`table inet fault { chain out { type filter hook output priority 0; tcp dport 443 drop; }; }`)
	}}
	LocalNoRoute = Fault{"local-no-route", "the client itself has no route", func(l *Lab) error {
		return l.Client().IP("route del default", "route del ::/0")
	}}
	NAT = Fault{"nat", "router 2 translates the client's address", func(l *Lab) error {
		return l.Router(2).NFT(`table inet fault { chain post { type nat hook postrouting priority 100; oifname "e2" masquerade; }; }`)
	}}
	Loss = Fault{"loss", "router 2 loses one packet in five, each way", func(l *Lab) error {
		return l.forward(2, "numgen random mod 100 < 20 drop")
	}}
	Detour = Fault{"detour", "router 1 sends everything through router 2's twin", func(l *Lab) error {
		return l.Router(1).IP("route replace default via " + right(twinIn, false).String())
	}}
)

// The faults of packet sizes.
var (
	BlackHole = Fault{"black-hole", "the link between routers 3 and 4 carries 1400 bytes, and neither says so", func(l *Lab) error {
		return errors.Join(narrow(l, 3, "e3"), narrow(l, 4, "w3"), untold(l, 3), untold(l, 4))
	}}
	BlackHoleBack = Fault{"black-hole-back", "the same, for packets from the server only", func(l *Lab) error {
		return errors.Join(narrow(l, 4, "w3"), untold(l, 4))
	}}
	BlackHoleLast = Fault{"black-hole-last", "the same, for packets to the server, on the last link", func(l *Lab) error {
		return errors.Join(narrow(l, 4, "e4"), untold(l, 4))
	}}
	BlackHoleTunnel = Fault{"black-hole-tunnel", "the link between routers 3 and 4 carries 1480 bytes, as IP in IP does, and neither says so", func(l *Lab) error {
		return errors.Join(squeeze(l, 3, "e3", 1480), squeeze(l, 4, "w3", 1480), untold(l, 3), untold(l, 4))
	}}
	Narrow = Fault{"narrow", "the link between routers 3 and 4 carries 1400 bytes, and they say so", func(l *Lab) error {
		return errors.Join(narrow(l, 3, "e3"), narrow(l, 4, "w3"))
	}}
)

// Faults lists them all.
var Faults = []Fault{
	Drop, ResetByRouter, Prohibit, Reject, NoRoute, TargetGone, SecurityGroup, ReturnDropped, SilentRouter, NoICMP, RoutingLoop, Proxy,
	ClampMSS, RaiseMSS, LocalReject, LocalDrop, LocalNoRoute, NAT, Loss, Detour, BlackHole, BlackHoleBack, BlackHoleLast, BlackHoleTunnel, Narrow,
}

// forward adds a rule for what a router forwards.
func (l *Lab) forward(router int, rule string) error {
	return l.Router(router).NFT(fmt.Sprintf("table inet fault { chain forward { type filter hook forward priority 0; %s; }; }", rule))
}

func narrow(l *Lab, router int, device string) error { return squeeze(l, router, device, 1400) }

// squeeze lets a device of a router carry so many bytes only.
func squeeze(l *Lab, router int, device string, mtu int) error {
	return l.Router(router).IP(fmt.Sprintf("link set %s mtu %d", device, mtu))
}

// untold keeps a router from saying that a packet was too big.
func untold(l *Lab, router int) error {
	return l.Router(router).NFT(`table inet fault { chain out { type filter hook output priority 0; icmp type destination-unreachable icmp code frag-needed drop; icmpv6 type packet-too-big drop; }; }`)
}
