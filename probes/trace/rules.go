package trace

import (
	"fmt"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/resolve"
)

// measured is the source of what no document says.
const measured = "measured in network namespaces on Linux 6.18 (package lab/netns)"

// minIPv6MSS is what the smallest packet that every IPv6 link must carry leaves
// for a segment: 1280 bytes less the headers.
const minIPv6MSS = 1220

// Rules are the root causes that the path shows. Silence, resets and ICMP
// errors that connecting meets as well are found by package connect, and said
// more exactly by [Refine].
var Rules = []*probes.Rule{
	{
		ID:    "refused-by-middlebox",
		Title: "A device on the way refuses the connection",
		Means: "The refusal comes from nearer than the address that it was sent to: a reset from a distance behind which UDP still meets routers, or an ICMP port unreachable, which no open or closed port sends. " +
			"Security groups and network ACLs drop in silence, so this is a firewall, a proxy or a load balancer on the way.",
		Fix:      "Find the device at the hop named below, and its rule for TCP 443 from this host to the address: on Linux `nft list ruleset | grep -i reject` or `iptables-save | grep -i reject`; in AWS the stateful rule groups of AWS Network Firewall with the action reject.",
		Source:   "RFC 1122, 4.1.3.1 (port unreachable is for UDP); " + measured,
		Severity: probes.Error,
		Match: matching(func(seen probes.Evidence, o probes.Observation, r *Result) probes.Certainty {
			switch {
			case !r.Between || !failing(seen, o):
				return probes.No
			case r.State == PortUnreachable:
				return probes.Certain
			case r.State == Refused:
				return probes.Likely // UDP may go another way than TCP
			}
			return probes.No
		}),
		Notes: tell,
	},
	{
		ID:       "routing-loop",
		Title:    "Packets circle between routers",
		Means:    "A packet that may cross 64 routers was discarded because it had crossed them all: two or more routers each believe that the other is nearer to the address. Nothing that is sent arrives.",
		Fix:      "Compare the routes to the address on both routers named below; in AWS those are the route tables of the transit gateway, virtual private gateway or firewall subnets (`aws ec2 search-transit-gateway-routes`, `aws ec2 describe-route-tables`). One of them sends it back.",
		Source:   "RFC 792, time exceeded; " + measured,
		Severity: probes.Error,
		Match: matching(func(seen probes.Evidence, o probes.Observation, r *Result) probes.Certainty {
			if r.State == Loop && failing(seen, o) {
				return probes.Certain
			}
			return probes.No
		}),
		Notes: tell,
	},
	{
		ID:    "tcp-terminated-early",
		Title: "A device on the way completes the TCP handshake",
		Means: "The handshake is completed at a hop behind which UDP still meets routers. A transparent proxy or inspecting firewall therefore speaks TCP in place of what has the address: " +
			"that the port opens says nothing about that, and TLS may be intercepted as well.",
		Fix:      "If it is meant to be there, let it pass connections to the target's addresses untouched. Find it at the hop named below; in AWS look for Gateway Load Balancer endpoints and firewall endpoints in the route table of this subnet: `aws ec2 describe-route-tables --filters Name=association.subnet-id,Values=SUBNET`.",
		Source:   measured,
		Severity: probes.Warning,
		Match: matching(func(_ probes.Evidence, _ probes.Observation, r *Result) probes.Certainty {
			if r.State == Open && r.Between {
				return probes.Likely // UDP may go another way than TCP
			}
			return probes.No
		}),
		Notes: tell,
	},
	{
		ID:    "mss-rewritten",
		Title: "A device on the way rewrites the TCP segment size to one that cannot be meant",
		Means: "Routers quote our SYN with another MSS option than it was sent with. That a VPN lowers it a little is good practice and not reported; but here it was raised, which makes peers send packets that this path may not carry, " +
			"or lowered below 1220 bytes, less than every IPv6 link must carry, which costs throughput.",
		Fix:      "Look for the clamping rule on the device before the hop named below: on Linux `iptables-save | grep TCPMSS`, `nft list ruleset | grep maxseg`; on routers `ip tcp adjust-mss`. For AWS Site-to-Site VPN 1379 bytes or a little less is right, and --clamp-mss-to-pmtu never wrong.",
		Source:   "RFC 8200, 5 (1280 bytes); AWS Site-to-Site VPN User Guide, cgw-best-practice (MSS); " + measured,
		Severity: probes.Warning,
		Match: matching(func(_ probes.Evidence, _ probes.Observation, r *Result) probes.Certainty {
			if r.MSS != nil && (r.MSS.To > r.MSS.From || r.MSS.To < minIPv6MSS) {
				return probes.Certain
			}
			return probes.No
		}),
		Notes: tell,
	},
	{
		ID:       "path-changed",
		Title:    "The path to an address has changed a short while ago",
		Means:    "Packets of one and the same flow meet another router than before, or the handshake completes at another distance. By itself that is no fault, but what began at the same moment has its cause there: a failover, a new route, traffic that now leaves the VPC.",
		Fix:      "Compare with what was changed in route tables, peering, transit gateway, VPN and Direct Connect at that time: `aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventName,AttributeValue=ReplaceRoute` (also CreateRoute, DeleteRoute). If it was meant, there is nothing to do; this finding goes away by itself.",
		Source:   "Augustin et al., Avoiding traceroute anomalies with Paris traceroute, 2006; " + measured,
		Severity: probes.Notice,
		Match: matching(func(_ probes.Evidence, _ probes.Observation, r *Result) probes.Certainty {
			if r.Changed != nil {
				return probes.Certain
			}
			return probes.No
		}),
		Notes: tell,
	},
	{
		ID:    "mtu-black-hole",
		Title: "Large packets vanish on the way, and nobody says so",
		Means: "TCP connects and small packets pass, but full ones are lost however often they are sent, and no ICMP message says that they were too big. TLS handshakes hang when the certificate or the client hello fills a packet. " +
			"VPC endpoints never send that message: they drop what is larger than 8500 bytes; VPN, Direct Connect and peering links carry less than that.",
		Fix: "At once, on this host: `ip route change SUBNET via GATEWAY advmss MSS mtu lock MTU`, with an MTU that passes (below). Then let ICMP type 3 code 4 (IPv6: type 2) through every network ACL, security group and firewall on the way, " +
			"and clamp the MSS on VPN devices: `iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`.",
		Source:   "AWS PrivateLink Guide, vpc-limits-endpoints (MTU); Amazon VPC User Guide, path_mtu_discovery; RFC 2923, 2.1; " + measured,
		Severity: probes.Error,
		Match: matching(func(_ probes.Evidence, _ probes.Observation, r *Result) probes.Certainty {
			if r.MTU != nil && r.MTU.BlackHole {
				return probes.Certain
			}
			return probes.No
		}),
		Notes: tell,
	},
}

// matching applies a condition to each trace of an address of the endpoint. The
// certainty is that of the surest.
func matching(condition func(probes.Evidence, probes.Observation, *Result) probes.Certainty) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		sure := probes.No
		var because []probes.Observation
		for _, o := range seen.Of(name) {
			r := Of(o)
			if r == nil || !resolve.Inside(seen, o.Addr.Addr()) {
				continue
			}
			if c := condition(seen, o, r); c != probes.No {
				sure, because = max(sure, c), append(because, o)
			}
		}
		return sure, because
	}
}

// failing reports whether the address of a trace still cannot be connected to:
// the trace may be older than the latest connection.
func failing(seen probes.Evidence, o probes.Observation) bool {
	tried := false
	for _, c := range seen.Of(connect.Kind.Name) {
		if c.Addr != o.Addr {
			continue
		}
		if c.Outcome == probes.OK {
			return false
		}
		tried = true
	}
	return tried
}

// tell says what was seen on the way to each address.
func tell(_ probes.Evidence, because []probes.Observation) []string {
	var notes []string
	for _, o := range because {
		r := Of(o)
		notes = append(notes, pathNote(o, r))
		if r.Changed != nil {
			notes = append(notes, fmt.Sprintf("%s: %s", o.Addr, r.Changed))
		}
		if r.MTU != nil {
			notes = append(notes, fmt.Sprintf("%s: %s", o.Addr, r.MTU))
		}
	}
	return notes
}

// pathNote is the path to an address in a line.
func pathNote(o probes.Observation, r *Result) string {
	return fmt.Sprintf("the path to %s: %s", o.Addr, strings.TrimSpace(r.String()))
}
