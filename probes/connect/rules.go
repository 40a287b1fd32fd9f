package connect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"vpcprobe/probes"
	"vpcprobe/probes/resolve"
)

// The documents that the rules rest on.
const (
	docTimeout  = "AWS re:Post Knowledge Center, api-gateway-private-endpoint-connection (connection timed out)"
	docEndpoint = "AWS PrivateLink Guide, create-interface-endpoint (security groups: HTTPS from the resources that use the endpoint)"
	docAnalyzer = "Reachability Analyzer Guide, getting-started-cli"
)

// Rules are the root causes that connecting shows. Their words hold for an
// endpoint's addresses and for whatever a custom domain leads to. They blame
// only addresses that belong to the endpoint, if there is one: that others do
// not answer is no news, and the layer below has said why they are there. An
// address counts once, however many name forms lead to it. Different outcomes
// at different addresses are different findings, except that one rule at most
// speaks of silence.
var Rules = []*probes.Rule{
	{
		ID:    "traffic-dropped",
		Title: "No address answers: traffic is dropped",
		Means: "Every connection attempt stayed without any reply, neither accepted nor refused. That is what a security group, a network ACL or a missing route does. " +
			"From here these look alike, and so do a request that is dropped and a reply that is.",
		Fix: "In this order: (1) the security group of what has the addresses (the VPC endpoint; for a custom domain perhaps a load balancer) allows TCP 443 in from this host; (2) this host's security group allows TCP 443 out; " +
			"(3) the network ACLs of both subnets allow TCP 443 towards the addresses and TCP 1024-65535 back; (4) the route tables of both subnets lead to each other, if this host is in another VPC or on premises, and to a NAT or internet gateway, if a custom domain's addresses are public. " +
			"Within AWS, Reachability Analyzer names the component: `aws ec2 create-network-insights-path --source ENI --destination VPCE --protocol tcp --destination-port 443`, then `aws ec2 start-network-insights-analysis --network-insights-path-id NIP`.",
		Source: docTimeout + "; " + docEndpoint + "; " + docAnalyzer,
		Match:  silence(func(silent, others int) bool { return others == 0 }),
		Notes:  analyze,
	},
	{
		ID:    "subnet-dropped",
		Title: "Some addresses answer, others are silent",
		Means: "The interfaces of a VPC endpoint have the same security group, so what differs is the way there: the network ACL or the routes of the silent interfaces' subnets, or a firewall between. " +
			"Where a custom domain leads to something else, what has the silent address may be down as well. Callers fail or hang as often as DNS gives them a silent address.",
		Fix: "Find the interface and its subnet: `aws ec2 describe-network-interfaces --filters Name=addresses.private-ip-address,Values=ADDRESS --query 'NetworkInterfaces[].[NetworkInterfaceId,SubnetId,Groups[].GroupId]'`. " +
			"Compare its network ACL (`aws ec2 describe-network-acls --filters Name=association.subnet-id,Values=SUBNET`) and route table with those of a subnet that answers.",
		Source: docTimeout + "; " + docAnalyzer,
		Match:  silence(func(silent, others int) bool { return others > 0 }),
		Notes:  analyze,
	},
	{
		ID:     "connection-refused",
		Title:  "The connection is refused",
		Means:  "The attempt was answered with a reset: nothing listens on that port there, or a firewall on the way, or on this host, rejects with a reset. Interface endpoints accept TCP 443 and no other port: if it is no firewall, the port is another, or the address no longer belongs to a VPC endpoint.",
		Fix:    "Check port in the configuration (443 for API Gateway) and whose the address is: `aws ec2 describe-network-interfaces --filters Name=addresses.private-ip-address,Values=ADDRESS`. Then look for REJECT rules: `iptables-save | grep -i reject`, `nft list ruleset`.",
		Source: "RFC 9293, 3.5.2 (reset generation); " + docEndpoint,
		Match:  ended(probes.Likely, probes.Refused),
		Notes:  analyze,
	},
	{
		ID:     "connection-reset",
		Title:  "The connection is accepted, then cut at once",
		Means:  "The handshake of TCP succeeds, and before anything was said the connection is reset or closed. VPC endpoints do not do that: a proxy, load balancer or firewall, in a VPC endpoint's place or in front of a custom domain, accepts and has nowhere to go, or does not want this host.",
		Fix:    "Find what answers: compare the round trip time and the path trace with those of an address that works, and look for transparent proxies and inspection firewalls (AWS Network Firewall, Gateway Load Balancer) in the route tables of this subnet.",
		Source: "measured: 26 of 40 plain connects call such a port open",
		Match:  ended(probes.Likely, probes.Reset, probes.Closed),
		Notes:  analyze,
	},
	{
		ID:     "no-route",
		Title:  "There is no route to the address",
		Means:  "This host, or a router that said so, has no way to deliver to the address: the route is missing, or no machine has the address any more. Where the path was not traced, a firewall that rejects (on IPv4) and packets that circle look alike.",
		Fix:    "`ip route get ADDRESS` on this host; in a VPC every subnet has a local route, so look at peering, transit gateway and VPN routes, and for public addresses at those to NAT and internet gateways: `aws ec2 describe-route-tables --filters Name=association.subnet-id,Values=SUBNET`.",
		Source: "RFC 792, destination unreachable codes 0 and 1; connect(2), ENETUNREACH and EHOSTUNREACH",
		Match:  noRoute,
		Notes:  analyze,
	},
	{
		ID:     "traffic-prohibited",
		Title:  "A firewall rejects the connection and says so",
		Means:  "The attempt was rejected as administratively prohibited: by this host's own firewall or security module, a Kubernetes network policy, or a router. Security groups and network ACLs never do that; they drop in silence.",
		Fix:    "On this host: `iptables-save | grep -i reject`, `nft list ruleset`, `ausearch -m avc -ts recent`. In Kubernetes: `kubectl get networkpolicy -A`. The path trace names the router, if it was one.",
		Source: "RFC 1812, 5.2.7.1 (code 13); connect(2), EACCES and EPERM",
		Match:  ended(probes.Certain, probes.Prohibited),
		Notes:  analyze,
	},
	{
		ID:       "connection-intermittent",
		Title:    "The same address answers one attempt and fails another",
		Severity: probes.Warning,
		Means:    "Of attempts made at the same time to one address, some succeeded. Packets get lost, or a device on the way, or the security group's connection tracking, has no room for further connections.",
		Fix:      "Look for drops: `ethtool -S IFACE | grep -E 'conntrack_allowance_exceeded|pps_allowance_exceeded|bw_'` on this host, and the packet and connection metrics of NAT, firewall and load balancer on the way.",
		Source:   "Amazon EC2 User Guide, monitoring-network-performance-ena (allowance metrics)",
		Match:    intermittent,
		Notes:    analyze,
	},
}

// A Site is one address of the endpoint with the latest attempts to connect to
// it. Outcome is OK if any of them went well.
type Site struct {
	Addr     netip.AddrPort
	Outcome  probes.Outcome
	Attempts []probes.Observation
}

// Sites returns the addresses of the endpoint, in the order of lanes, that
// were tried with a result. Addresses to which only a DNS fault leads are left
// out, as are attempts that say nothing of the target.
func Sites(seen probes.Evidence) []Site {
	var sites []Site
	for _, o := range seen.Of(name) {
		if o.Outcome != probes.OK && !o.Outcome.Blames() || !resolve.Inside(seen, o.Addr.Addr()) {
			continue
		}
		i := slices.IndexFunc(sites, func(s Site) bool { return s.Addr == o.Addr })
		if i < 0 {
			i, sites = len(sites), append(sites, Site{Addr: o.Addr, Outcome: o.Outcome})
		}
		sites[i].Attempts = append(sites[i].Attempts, o)
		if o.Outcome == probes.OK {
			sites[i].Outcome = probes.OK
		}
	}
	return sites
}

// trouble reports whether any attempt failed. Most rounds are without, and then
// no rule needs the addresses sorted out.
func trouble(seen probes.Evidence) bool {
	return slices.ContainsFunc(seen.Of(name), func(o probes.Observation) bool { return o.Outcome.Blames() })
}

// ended matches the addresses at which every attempt failed, the first of them
// in one of the outcomes.
func ended(sure probes.Certainty, outcomes ...probes.Outcome) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		if !trouble(seen) {
			return probes.No, nil
		}
		var because []probes.Observation
		for _, s := range Sites(seen) {
			if slices.Contains(outcomes, s.Outcome) {
				because = append(because, s.Attempts...)
			}
		}
		if because == nil {
			return probes.No, nil
		}
		return sure, because
	}
}

// noRoute matches the addresses that cannot be delivered to. Of Linux's errors
// only ENETUNREACH on IPv6 means nothing else (net/ipv6/icmp.c). On IPv4 it may
// come of a prohibited network (code 9, net/ipv4/icmp.c); EHOSTUNREACH comes of
// packets that circle, and on IPv4 of a firewall. Package trace tells them apart.
func noRoute(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	sure, because := ended(probes.Likely, probes.Unreachable)(seen)
	ambiguous := func(o probes.Observation) bool {
		return o.Addr.Addr().Is4() || !errors.Is(o.Err, syscall.ENETUNREACH)
	}
	if because != nil && !slices.ContainsFunc(because, ambiguous) {
		sure = probes.Certain
	}
	return sure, because
}

// silence matches the silent addresses, if the numbers of silent and other
// addresses fit. If this machine could not try them all, it is a guess.
func silence(fit func(silent, others int) bool) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		if !trouble(seen) {
			return probes.No, nil
		}
		var because []probes.Observation
		silent, others := 0, 0
		for _, s := range Sites(seen) {
			if s.Outcome != probes.Timeout {
				others++
				continue
			}
			silent++
			because = append(because, s.Attempts...)
		}
		switch {
		case silent == 0 || !fit(silent, others):
			return probes.No, nil
		case len(seen.Ended(name, probes.Fault)) > 0:
			return probes.Possible, because
		}
		return probes.Likely, because
	}
}

// intermittent matches the failed attempts at addresses that answered others.
func intermittent(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	if !trouble(seen) {
		return probes.No, nil
	}
	var because []probes.Observation
	for _, s := range Sites(seen) {
		if s.Outcome != probes.OK {
			continue
		}
		because = append(because, probes.Filter(s.Attempts, func(o probes.Observation) bool { return o.Outcome.Blames() })...)
	}
	if because == nil {
		return probes.No, nil
	}
	return probes.Certain, because
}

// analyze names the addresses, and the commands for exactly this endpoint.
func analyze(seen probes.Evidence, because []probes.Observation) []string {
	var blamed []netip.AddrPort
	for _, o := range because {
		if !slices.Contains(blamed, o.Addr) {
			blamed = append(blamed, o.Addr)
		}
	}
	notes := []string{fmt.Sprintf("%s: %s", because[0].Outcome, join(blamed))}
	if open := opened(seen); len(open) > 0 {
		notes = append(notes, "open: "+join(open))
	}
	if note := otherFamily(blamed, opened(seen)); note != "" {
		notes = append(notes, note)
	}
	t := seen.Target
	if t.Endpoint.ID != "" && t.Region != "" {
		notes = append(notes, fmt.Sprintf("aws ec2 create-network-insights-path --region %s --source ENI-OF-THIS-HOST --destination %s --protocol tcp --destination-port %d",
			t.Region, t.Endpoint.ID, blamed[0].Port()))
	}
	return notes
}

// otherFamily says so if the failure is one of an address family, for which
// security groups, network ACLs and routes have entries of their own.
func otherFamily(blamed, open []netip.AddrPort) string {
	is4 := func(a netip.AddrPort) bool { return a.Addr().Is4() }
	is6 := func(a netip.AddrPort) bool { return a.Addr().Is6() }
	switch {
	case len(open) == 0:
	case !slices.ContainsFunc(blamed, is4) && !slices.ContainsFunc(open, is6):
		return "only the IPv6 addresses fail: rules and routes for IPv6 (::/0) are separate from those for IPv4"
	case !slices.ContainsFunc(blamed, is6) && !slices.ContainsFunc(open, is4):
		return "only the IPv4 addresses fail: rules and routes for IPv4 (0.0.0.0/0) are separate from those for IPv6"
	}
	return ""
}

func opened(seen probes.Evidence) []netip.AddrPort {
	var open []netip.AddrPort
	for _, s := range Sites(seen) {
		if s.Outcome == probes.OK {
			open = append(open, s.Addr)
		}
	}
	return open
}

func join(addrs []netip.AddrPort) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}
