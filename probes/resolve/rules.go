package resolve

import (
	"fmt"
	"slices"

	"vpcprobe/probes"
)

// The ids of the rules. Each lookup that did not go well is attributed to one
// of them (see causeOf).
const (
	resolverSilent      = "resolver-silent"
	resolverUnreachable = "resolver-unreachable"
	resolverTCPBlocked  = "resolver-tcp-blocked"
	resolverFailing     = "resolver-failing"
	resolverRefuses     = "resolver-refuses"
	resolverBadReply    = "resolver-bad-reply"
	hostsOverride       = "hosts-override"
	resolversDisagree   = "resolvers-disagree"
	regionMismatch      = "region-mismatch"
	endpointNotFound    = "endpoint-not-found"
	nameNotFound        = "name-not-found"
	nameWithoutAddress  = "name-without-address"
	aliasNotAssociated  = "alias-not-associated"
	privateDNSOff       = "private-dns-off"
	wrongAddresses      = "wrong-addresses"
	namesDisagree       = "names-disagree"
	addressesOutdated   = "addresses-outdated"
	nameserverFailing   = "nameserver-failing"
	oneFamilyFailing    = "one-family-failing"
)

// The documents that the rules rest on.
const (
	docInvoke    = "API Gateway Developer Guide, apigateway-private-api-test-invoke-url"
	docEndpoints = "AWS re:Post Knowledge Center, api-gateway-private-endpoint-connection"
	docPublic    = "AWS re:Post Knowledge Center, api-gateway-vpc-connections"
	docPPS       = "AWS Whitepaper, Hybrid Cloud DNS Options for Amazon VPC, Constraints"
)

// Rules are the root causes that lookups alone show: first those of the
// resolver, then those of the names, then those of the addresses.
var Rules = []*probes.Rule{
	attributed(probes.Rule{
		ID:    resolverSilent,
		Title: "A resolver does not answer",
		Means: "Questions to the resolver, each sent three times, the first time with EDNS0, stayed without reply. Programs that ask it wait for seconds and then report a name error. " +
			"Either it is down, or UDP port 53 is filtered on the way there or back, or it drops what it has no capacity for.",
		Fix: "Run `dig @SERVER NAME` from this host. For the VPC's own resolver: `aws ec2 describe-vpc-attribute --vpc-id VPC --attribute enableDnsSupport` must say true, " +
			"and a network interface may send it no more than 1024 packets a second (`ip_family: ipv4` halves what this agent sends). For a resolver of yours or a Route 53 Resolver endpoint: allow UDP and TCP 53 " +
			"from this host in its security group, in the network ACLs of both subnets and in the routes.",
		Source: "RFC 1035, 4.2.1; " + docPPS,
	}),
	attributed(probes.Rule{
		ID:     resolverUnreachable,
		Title:  "Nothing answers DNS at a resolver's address",
		Means:  "Instead of an answer came word that the question could not be delivered: no process listens on port 53, there is no route, or a firewall rejects it.",
		Fix:    "Compare the address with the DHCP options set of the VPC (`aws ec2 describe-dhcp-options`) and with /etc/resolv.conf; start the resolver if it is one of this host (127.0.0.53, 127.0.0.1).",
		Source: "RFC 1122, 4.1.3.3 (ICMP errors reach the asker)",
	}),
	attributed(probes.Rule{
		ID:     resolverTCPBlocked,
		Title:  "A resolver's answer needs TCP port 53, which is closed",
		Means:  "The answer does not fit into a datagram, so the resolver asked us to come back over TCP, and that failed. Names with short answers keep working.",
		Fix:    "Allow TCP 53 beside UDP 53 from this host to the resolver: in security groups, network ACLs and firewalls.",
		Source: "RFC 7766, 5 (TCP is required of resolvers)",
	}),
	attributed(probes.Rule{
		ID:     resolverFailing,
		Title:  "A resolver answers with an error",
		Means:  "The resolver is there, but could not find out: it says SERVFAIL or the like. A forwarder has lost its upstream, a conditional forwarding rule points nowhere, or DNSSEC validation failed.",
		Fix:    "Read the resolver's log for the name. With Route 53 Resolver: `aws route53resolver list-resolver-rules` and `list-resolver-rule-associations` show where the name is forwarded to.",
		Source: "RFC 1035, 4.1.1 (RCODE 2)",
	}),
	attributed(probes.Rule{
		ID:     resolverRefuses,
		Title:  "A resolver refuses to answer this host",
		Means:  "The resolver says REFUSED: by its policy it does not look up this name for this client. It is often an authoritative server taken for a resolver, or an access list that lacks this subnet.",
		Fix:    "Add this host's subnet to the resolver's access list (BIND: allow-query and allow-recursion; Unbound: access-control), or configure another resolver.",
		Source: "RFC 1035, 4.1.1 (RCODE 5)",
	}),
	attributed(probes.Rule{
		ID:     resolverBadReply,
		Title:  "What a resolver sends is no answer to the question",
		Means:  "Replies came, but with a wrong id or for another question, or they were not DNS at all. Programs discard them and wait in vain. Something other than a resolver listens there, or a device rewrites DNS on the way.",
		Fix:    "Capture the exchange with `tcpdump -ni any port 53` and look at who replies and what.",
		Source: "RFC 5452, 9 (replies must match id and question)",
	}),
	attributed(probes.Rule{
		ID:     hostsOverride,
		Title:  "The hosts file leads the name away from the endpoint",
		Means:  "An entry in this host's hosts file precedes the DNS. Programs here connect to the address it gives, whatever the DNS says, and nslookup and dig, which do not read it, show nothing wrong.",
		Fix:    "Remove or correct the line (`grep -n NAME /etc/hosts`; in Kubernetes: hostAliases of the pod).",
		Source: "hosts(5), nsswitch.conf(5)",
	}),
	attributed(probes.Rule{
		ID:    resolversDisagree,
		Title: "One resolver leads the name to the endpoint, another does not",
		Means: "The name, the endpoint and its private DNS are all right, as the one resolver shows. Callers that ask the other fail: it belongs to another network or VPC, has stale records, or does not forward the zone. " +
			"Which one is right, endpoint.addresses decides, if it is configured: where that is out of date, it may be the other.",
		Fix: "Make the odd one forward execute-api names to the resolver of the endpoint's VPC: a Route 53 Resolver inbound endpoint there and a conditional forwarder here, or in AWS an outbound rule " +
			"(`aws route53resolver create-resolver-rule --rule-type FORWARD`). Or have its callers use the endpoint's own name.",
		Source: docInvoke,
	}),
	attributed(probes.Rule{
		ID:     regionMismatch,
		Title:  "The API and the endpoint are in two regions",
		Means:  "The region in the API's name is not the one in the endpoint's name. An endpoint's private DNS covers the execute-api names of its own region only, so the API's name does not lead to it.",
		Fix:    "Correct region or endpoint.dns_name in the configuration; or create an execute-api endpoint in the API's region: `aws ec2 create-vpc-endpoint --vpc-endpoint-type Interface --vpc-id VPC --subnet-ids SUBNET --security-group-ids SG --service-name com.amazonaws.REGION.execute-api`.",
		Source: docEndpoints + " (the endpoint must be in the private API's region)",
	}),
	attributed(probes.Rule{
		ID:    endpointNotFound,
		Title: "The endpoint's own name does not exist",
		Means: "AWS publishes the name of every interface endpoint in the public DNS. The configured one is not there: the endpoint was deleted or created anew, or its name or id is mistyped. " +
			"A resolver that does not forward to the public DNS lacks the name, too.",
		Fix:    "`aws ec2 describe-vpc-endpoints --filters Name=service-name,Values=com.amazonaws.REGION.execute-api --query 'VpcEndpoints[].[VpcEndpointId,State,DnsEntries[0].DnsName]'` lists the endpoints there are; correct the configuration and the callers.",
		Source: docInvoke,
	}),
	attributed(probes.Rule{
		ID:    nameNotFound,
		Title: "The name does not exist",
		Means: "The resolver says so with authority (NXDOMAIN): the API id, region or domain is mistyped, the API or the record was deleted, or the resolver knows neither the endpoint's private zone nor the public DNS. " +
			"A private hosted zone that covers the name but lacks the record has the same effect, because it hides the public one.",
		Fix: "Compare with `aws apigateway get-rest-apis --query 'items[].[id,name]'` or with the domain's hosted zone; look for an overlapping zone with " +
			"`aws route53 list-hosted-zones-by-vpc --vpc-id VPC --vpc-region REGION`.",
		Source: docEndpoints,
	}),
	attributed(probes.Rule{
		ID:    nameWithoutAddress,
		Title: "The name exists, but the answer has no address",
		Means: "The resolver knows the name but has no record of the types that were asked for: A and AAAA, or only one of them if the target's ip_family or no-aaaa in resolv.conf says so (noted below; there may be records of the other type then). " +
			"The record is of another type, or it is an alias for something without such an address. " +
			"The endpoint's own name and the alias have private addresses in the public DNS, which resolvers outside AWS take out of answers where they protect against DNS rebinding.",
		Fix: "Ask another resolver (`dig @SERVER NAME`). If that one knows the addresses, exempt amazonaws.com from the rebinding protection: dnsmasq `rebind-domain-ok=/amazonaws.com/`, Unbound `private-domain: \"amazonaws.com\"`. Otherwise see which records there are: `aws route53 list-resource-record-sets --hosted-zone-id ZONE --start-record-name NAME --max-items 5`. A private custom domain needs an alias record of type A (and AAAA) for the endpoint's own name. " +
			"If only one type was asked for: correct ip_family, if callers use the other, too (`dig @SERVER NAME AAAA`); if they do not, the endpoint needs addresses and records of that type: `aws ec2 modify-vpc-endpoint --vpc-endpoint-id VPCE --ip-address-type dualstack --dns-options DnsRecordIpType=dualstack`.",
		Source: "RFC 2308, 2.2 (NODATA); dnsmasq(8), stop-dns-rebind; unbound.conf(5), private-address; API Gateway Developer Guide, apigateway-private-custom-domains; Amazon EC2 API Reference, ModifyVpcEndpoint",
	}),
	attributed(probes.Rule{
		ID:     aliasNotAssociated,
		Title:  "The endpoint is not associated with the API",
		Means:  "The alias {api}-{vpce} exists only for endpoints that are listed in the API's endpoint configuration, and only once the API has been deployed since. It is also missing if the API is not a private one.",
		Fix:    "`aws apigateway update-rest-api --rest-api-id API --patch-operations op=add,path=/endpointConfiguration/vpcEndpointIds,value=VPCE`, then `aws apigateway create-deployment --rest-api-id API --stage-name STAGE`.",
		Source: docInvoke + "; API Gateway Developer Guide, associate-private-api-with-vpc-endpoint",
	}),
	attributed(probes.Rule{
		ID:    privateDNSOff,
		Title: "The API's name leads to the internet: private DNS is off where this host asks",
		Means: "The API's name resolves to public addresses instead of the endpoint's, so requests leave the VPC or die on the way, and a private API refuses them. " +
			"Either private DNS names are not enabled for the endpoint, or DNS support or host names are off for the VPC, or the resolver asked is not the one of the endpoint's VPC.",
		Fix: "`aws ec2 modify-vpc-endpoint --vpc-endpoint-id VPCE --private-dns-enabled`; both `aws ec2 describe-vpc-attribute --vpc-id VPC --attribute enableDnsSupport` and `… enableDnsHostnames` must say true. " +
			"Before that: with private DNS on, public APIs of the region can no longer be called by their default names from that VPC. Without it, call the endpoint's own name with the header x-apigw-api-id.",
		Source: docInvoke + "; " + docEndpoints + "; " + docPublic,
	}),
	attributed(probes.Rule{
		ID:    wrongAddresses,
		Title: "The name leads to addresses that are not the endpoint's",
		Means: "Some resolver answers with an address that is none of the endpoint's interfaces: a private zone still points at an endpoint that was replaced, a record was copied by hand, or the name belongs to something else.",
		Fix: "Compare with the interfaces: `aws ec2 describe-network-interfaces --filters Name=interface-type,Values=vpc_endpoint --query 'NetworkInterfaces[].[PrivateIpAddress,Description]'`. " +
			"Replace hand-made A records by an alias for the endpoint's own name.",
		Source: docEndpoints + " (compare the addresses of both names)",
	}),
	attributed(probes.Rule{
		ID:     namesDisagree,
		Title:  "The API's name and the endpoint's name lead to different addresses",
		Means:  "AWS keeps the endpoint's own name up to date, so the other name is the wrong one: it leads to another endpoint or to something left over. That answers rotate, each showing only some interfaces, is no reason: both names were asked for several times. A cache on the way that keeps such an answer for a while can still look like this.",
		Fix:    "If the addresses may all be the endpoint's, list them under endpoint.addresses in the target: `aws ec2 describe-network-interfaces --filters Name=interface-type,Values=vpc_endpoint --query 'NetworkInterfaces[].[PrivateIpAddress,Description]'`. Otherwise find the zone that answers for the name (`aws route53 list-hosted-zones-by-vpc --vpc-id VPC --vpc-region REGION`) and point it at the endpoint's own name. If this VPC has two execute-api endpoints, only one can have private DNS on: check that it is the configured one.",
		Source: docEndpoints + " (compare the addresses of both names)",
	}),
	attributed(probes.Rule{
		ID:       addressesOutdated,
		Title:    "The configured addresses of the endpoint are out of date",
		Severity: probes.Warning,
		Means:    "The endpoint's own name, which AWS keeps up to date, leads to addresses that endpoint.addresses does not list. Probably the endpoint was created anew or got another subnet. Callers are not affected; what this target compares with is.",
		Fix:      "Set endpoint.addresses to what `dig +short ENDPOINT-NAME` says, or remove it: then that is what answers are compared with.",
		Source:   docInvoke,
	}),
	{
		ID:       nameserverFailing,
		Title:    "The first nameserver of resolv.conf does not work",
		Severity: probes.Warning,
		Means:    "Names resolve, but only after a server that comes earlier in resolv.conf has failed. Every lookup of every program on this host waits for it first, five seconds unless configured otherwise; some give up before. Where the target's timeout leaves it less, a server that is merely slow looks the same (noted below).",
		Fix:      "Remove the dead server from resolv.conf, or from where it comes: the VPC's DHCP options set (`aws ec2 describe-dhcp-options`), systemd-resolved, or the pod's dnsConfig.",
		Source:   "resolv.conf(5): servers are asked in the order listed",
		Match:    failedOver,
		Notes:    sayAll,
	},
	{
		ID:       oneFamilyFailing,
		Title:    "A resolver answers for IPv4 or IPv6, and fails for the other",
		Severity: probes.Warning,
		Means:    "Programs ask for A and AAAA records at once. Some treat the failure of either as the failure of the lookup, others wait for it for seconds. A name without addresses of one family should get an empty answer, not an error or silence.",
		Fix:      "Repair or replace the resolver or load balancer that answers for the zone. Until then `options no-aaaa` in resolv.conf (glibc 2.36 and later) avoids the question.",
		Source:   "RFC 4074 (common misbehavior against queries for IPv6 addresses)",
		Match:    halfFailed,
		Notes:    sayAll,
	},
}

// attributed completes a rule that matches the lookups attributed to it. Inlined,
// what it makes would be in the binary once for each rule.
//
//go:noinline
func attributed(r probes.Rule) *probes.Rule {
	id := r.ID
	r.Match = func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		sure := probes.No
		var because []probes.Observation
		obs := seen.Of(name)
		for i := range obs {
			if !obs[i].Outcome.Blames() { // all rules ask, and mostly all is well
				continue
			}
			if cause, s := causeOf(seen, obs[i]); cause == id {
				sure, because = max(sure, s), append(because, obs[i])
			}
		}
		return sure, because
	}
	r.Notes = func(seen probes.Evidence, because []probes.Observation) []string {
		return append(sayAll(seen, because), sayOpen(id, seen, because)...)
	}
	return &r
}

// failedOver matches lookups of the system's resolver that the server listed
// first did not answer. If it answered others, it is not down, but not well; if
// it had less time than programs give it, it may only be slow.
func failedOver(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	sure := probes.Certain
	var because []probes.Observation
	for _, o := range seen.Of(name) {
		d := Of(o)
		if d == nil || o.Resolver != System || d.Transport == OverHosts || d.Rcode == "" || failed(o.Outcome) {
			continue
		}
		tried := d.course().Tried
		if len(tried) == 0 || slices.ContainsFunc(tried, func(f Failure) bool { return f.Hurried }) {
			sure = probes.Likely
		}
		if len(tried) > 0 {
			because = append(because, o)
		}
	}
	if len(because) == 0 {
		return probes.No, nil
	}
	return sure, because
}

// halfFailed matches lookups of which one family failed. Where it is IPv4, and
// there are no addresses of the other, that is the failure of the lookup, which
// has a cause of its own.
func halfFailed(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
	because := probes.Filter(seen.Of(name), func(o probes.Observation) bool {
		d := Of(o)
		return d != nil && (d.course().failed("AAAA") || len(d.Answers) > 0 && d.course().failed("A"))
	})
	if len(because) == 0 {
		return probes.No, nil
	}
	return probes.Certain, because
}

// sayAll says what each lookup answered, and which endpoint is meant.
func sayAll(seen probes.Evidence, because []probes.Observation) []string {
	var notes []string
	for _, o := range because {
		notes = append(notes, fmt.Sprintf("%s at resolver %s: %v", o.Name, o.Resolver, Of(o)))
	}
	notes = append(notes, sayHalfAsked(seen.Target, because)...)
	if expected := Expected(seen); len(expected) > 0 && slices.ContainsFunc(because, leadsElsewhere) {
		notes = append(notes, "the endpoint's addresses: "+list(expected))
	}
	return notes
}

// sayOpen says what else may be the cause of what was attributed to a rule.
func sayOpen(id string, seen probes.Evidence, because []probes.Observation) []string {
	for _, o := range because {
		if note := otherCause(id, seen, o); note != "" {
			return []string{note}
		}
	}
	return nil
}

// otherCause says what else may be the cause of one lookup: that TCP or each of
// several servers had little time, or that its addresses are the endpoint's all
// the same.
func otherCause(id string, seen probes.Evidence, o probes.Observation) string {
	switch {
	case hurried(o):
		return "or it is slow: its replies over UDP left little time for TCP"
	case shared(id, Of(o)):
		return "or its servers are slow: they shared the time there was, and programs give each more; a longer timeout would tell"
	case id != hostsOverride && id != resolversDisagree && id != wrongAddresses,
		!leadsElsewhere(o), impossible(seen, Of(o)):
		return ""
	case len(configuredOf(seen.Target)) > 0:
		return "or endpoint.addresses is out of date or lacks some: answers that rotate do not tell, since each shows only some"
	}
	return "or the endpoint has addresses that its own name has not shown: endpoint.addresses would tell"
}

func leadsElsewhere(o probes.Observation) bool { return o.Outcome == probes.Elsewhere }
