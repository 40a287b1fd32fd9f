package handshake

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/resolve"
	"vpcprobe/probes/trace"
)

// Rules are the root causes found in handshakes. They look only at addresses
// that belong to the endpoint: where a wrong answer of the DNS leads to a
// stranger, the stranger's certificate is not what is broken.
var Rules = []*probes.Rule{
	notSpoken, versionRefused, cut, stalled, broken,
	untrusted, wrongName, expired, expiring,
	required, rejected, notAsked, refused, copyDiffers,
}

// The documents that the rules rest on.
const (
	mutualTLS     = "API Gateway Developer Guide, rest-api-mutual-tls"
	wrongDomain   = "AWS re:Post Knowledge Center, api-gateway-domain-certificate"
	connectPlain  = "AWS re:Post Knowledge Center, api-gateway-vpc-connections"
	securityRules = "API Gateway Developer Guide, apigateway-security-policies"
)

var notSpoken = &probes.Rule{
	ID:    "tls-not-spoken",
	Title: "What answers on the port does not speak TLS",
	Means: "The TCP connection was accepted, but the first bytes that came back are no TLS record. " +
		"Something else listens there: a plain HTTP listener, a proxy that wants a CONNECT first, another service, " +
		"or a load balancer's listener of protocol HTTP or TCP in front of a plain backend.",
	Fix: "Look at what answers: `curl -sv telnet://ADDRESS:443` and `openssl s_client -connect ADDRESS:443`. " +
		"Set the target's port, or the load balancer's listener, to HTTPS/TLS: `aws elbv2 describe-listeners --load-balancer-arn ARN`. " +
		"API Gateway answers on 443 with TLS only.",
	Source: "RFC 8446, section 5.1 (record layer)",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.NotTLS && d.Version == ""
		}))
	},
	Notes: perLane(func(_ probes.Evidence, _ probes.Observation, d *Detail) string {
		if d.Heard == "" {
			return ""
		}
		return fmt.Sprintf("it said %q", d.Heard)
	}),
}

var versionRefused = &probes.Rule{
	ID:    "tls-version-refused",
	Title: "The server speaks no TLS version that is still in use",
	Means: "The agent offers TLS 1.2 and 1.3, as current clients do, and the server refused both, or answered with an older one. " +
		"API Gateway speaks at least TLS 1.2 under every security policy that can still be chosen, so this is usually " +
		"a load balancer, proxy or appliance before it. A server that accepts TLS 1.3 only does not cause this.",
	Fix: "Raise the security policy: for a custom domain `aws apigateway update-domain-name --domain-name NAME " +
		"--patch-operations op=replace,path=/securityPolicy,value=TLS_1_2`, for a load balancer " +
		"`aws elbv2 modify-listener --listener-arn ARN --ssl-policy ELBSecurityPolicy-TLS13-1-2-2021-06`.",
	Source: securityRules + "; RFC 8446, section 6.2 (protocol_version)",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, wantsOtherVersion))
	},
	Notes: perLane(func(_ probes.Evidence, _ probes.Observation, d *Detail) string {
		if d.tooOld() {
			return "the server answered with " + tls.VersionName(d.hello)
		}
		return "the server sent the alert " + d.Alert
	}),
}

var cut = &probes.Rule{
	ID:    "connection-cut",
	Title: "The connection is accepted and then cut before TLS is established",
	Means: "TCP 443 opens, but during the TLS handshake the connection is reset or closed without an alert. Security groups and " +
		"network ACLs drop packets in silence, so this is something that answers for the server: a firewall or proxy that " +
		"filters by the name in the client hello (SNI), or a load balancer without a healthy target behind it.",
	Fix: "Find what sits in the path: see the trace, and compare with another name on the same address: " +
		"`openssl s_client -connect ADDRESS:443 -servername NAME`. Allow the name in the firewall's rules " +
		"(AWS Network Firewall: a stateful rule with tls.sni), and look at the load balancer's targets: " +
		"`aws elbv2 describe-target-health --target-group-arn ARN`.",
	Source: "RFC 8446, section 6 (a server that refuses sends an alert)",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		cutAtOnce := seen.Ended(connect.Kind.Name, probes.Reset, probes.Closed)
		return likely(find(seen, func(o probes.Observation, d *Detail) bool {
			same := func(c probes.Observation) bool { return c.Addr == o.Addr }
			return isCut(o) && !d.Asked && !(d.BytesRead == 0 && slices.ContainsFunc(cutAtOnce, same))
		}))
	},
	Notes: perLane(func(_ probes.Evidence, o probes.Observation, d *Detail) string {
		switch {
		case d.BytesRead > 0:
			return fmt.Sprintf("%s after %d bytes of the server's part", o.Outcome, d.BytesRead)
		case d.Unprompted:
			return fmt.Sprintf("%s, and the same when nothing is said: what accepts has nowhere to go, or does not want this host", o.Outcome)
		}
		return fmt.Sprintf("%s at the client hello, but not when nothing is said: something dislikes the name %s, or TLS", o.Outcome, d.ServerName)
	}),
}

var stalled = &probes.Rule{
	ID:    "handshake-stalled",
	Title: "The TLS handshake stalls: TCP connects, then nothing more comes",
	Means: "Small packets pass, as TCP connects, but the answer to the client hello does not arrive in time, or not all of it. " +
		"Either packets above some size are lost on the way, as where a VPN or peering has a smaller MTU and ICMP is blocked " +
		"(VPC endpoints never send fragmentation-needed messages), or what accepted the connection, a proxy or a load balancer, " +
		"gets no answer from behind it, or is overloaded.",
	Fix: "Lower the route's MTU for a test, since endpoints answer no ping: `ip route replace ADDRESS/32 via GATEWAY mtu 1280`. If that helps, allow ICMP type 3 code 4 in network ACLs and firewalls, or clamp " +
		"the MSS on the VPN device. Otherwise look at the proxy or load balancer: `aws elbv2 describe-target-health --target-group-arn ARN`.",
	Source: "AWS PrivateLink guide, vpc-limits-endpoints (MTU); measurement",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return likely(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.Timeout && !losesLargePackets(seen, o)
		}))
	},
	Notes: perLane(func(_ probes.Evidence, _ probes.Observation, d *Detail) string {
		if d.Segments != nil {
			if direction, ok := d.Segments.Missing(); ok {
				return fmt.Sprintf("full segments are lost in the direction %s while smaller ones pass (%s): the path loses large packets", direction, d.Segments)
			}
		}
		if d.BytesRead == 0 {
			return "not one byte came back"
		}
		return fmt.Sprintf("%d bytes came back, then nothing: typical of a path that loses large packets", d.BytesRead)
	}),
}

var broken = &probes.Rule{
	ID:    "handshake-broken",
	Title: "The server's part of the TLS handshake is broken",
	Means: "The server answered with a TLS hello, but what followed breaks the protocol, or its certificate cannot be parsed. " +
		"An appliance that intercepts TLS does that, or one that alters bytes on their way.",
	Fix: "Compare with another implementation: `openssl s_client -connect ADDRESS:443 -servername NAME -showcerts`. " +
		"Take the interception out of the path, or replace the certificate that it presents.",
	Source: "RFC 8446, section 6.2",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return likely(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.NotTLS && d.Version != ""
		}))
	},
	Notes: perLane(func(_ probes.Evidence, o probes.Observation, d *Detail) string { return o.Err.Error() }),
}

var untrusted = &probes.Rule{
	ID:    "server-cert-untrusted",
	Title: "No trusted authority vouches for the server's certificate",
	Means: "The chain that the server sent leads to no root certificate that this machine trusts. API Gateway's own certificates " +
		"are issued by Amazon, whose roots every system knows; so either something else answers in its place, such as a proxy " +
		"that intercepts TLS, or the name has a certificate of a private authority, or the server leaves out an intermediate. " +
		"The request was not sent.",
	Fix: "See who issued it: `openssl s_client -connect ADDRESS:443 -servername NAME -showcerts </dev/null`. " +
		"If it is your proxy's, exempt *.execute-api names from interception (NO_PROXY). If it is your own authority's, " +
		"add its root to trust.ca_file. In an image without roots, install ca-certificates.",
	Source: wrongDomain + "; API Gateway Developer Guide, apigateway-private-api-test-invoke-url",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, ended(probes.Untrusted)))
	},
	Notes: perLane(func(_ probes.Evidence, o probes.Observation, d *Detail) string {
		leaf := d.Chain[0]
		by := "issued by " + leaf.Issuer
		if leaf.Issuer == leaf.Subject {
			by = "self-signed by " + leaf.Subject
		}
		return fmt.Sprintf("%s, %d sent: %s", by, len(d.Chain), strings.Join(d.Flaws, "; "))
	}),
}

var wrongName = &probes.Rule{
	ID:    "server-cert-wrong-name",
	Title: "The server's certificate is for another name",
	Means: "The server has a trusted certificate, but not for the name that was asked for. A client stops here, and so did the agent: " +
		"the request was not sent. The name leads to a server that does not know it, or the certificate in use does not cover it.",
	Fix: "Compare the names: `openssl s_client -connect ADDRESS:443 -servername NAME </dev/null | openssl x509 -noout -ext subjectAltName`. " +
		"For a custom domain, look whether it exists in this account and region and which certificate it has: " +
		"`aws apigateway get-domain-name --domain-name NAME`, and point its DNS record at the regionalDomainName (or, for a private " +
		"custom domain, at the VPC endpoint) that it names. For a load balancer, add the certificate: `aws elbv2 add-listener-certificates`.",
	Source: wrongDomain,
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		regions := below(seen, "region-mismatch")
		return certain(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.WrongName && !(regions && slices.ContainsFunc(d.Chain[0].Names, isDefault))
		}))
	},
	Notes: perLane(notesWrongName),
}

// isDefault reports whether a name is that of API Gateway's own certificates,
// of which each region has one.
func isDefault(n string) bool { return strings.HasPrefix(n, "*.execute-api.") }

// below reports whether the lookups alone have shown a cause.
func below(seen probes.Evidence, id string) bool {
	return slices.ContainsFunc(resolve.Rules, func(r *probes.Rule) bool {
		if r.ID != id {
			return false
		}
		sure, _ := r.Match(seen)
		return sure != probes.No
	})
}

func notesWrongName(seen probes.Evidence, o probes.Observation, d *Detail) string {
	names := d.Chain[0].Names
	if len(names) == 0 {
		names = []string{"no name at all: " + d.Chain[0].Subject}
	}
	note := fmt.Sprintf("asked for %s; the certificate is for %s", d.ServerName, strings.Join(names[:min(len(names), 5)], ", "))
	if seen.Target.Kind == probes.CustomDomain && slices.ContainsFunc(names, isDefault) {
		note += ": this is API Gateway's default certificate, so the domain's DNS record points to the wrong place, " +
			"or the custom domain does not exist there"
	}
	return note
}

var expired = &probes.Rule{
	ID:    "server-cert-expired",
	Title: "The server's certificate has expired or is not yet valid",
	Means: "A certificate of the chain is not valid at this machine's time. Clients refuse it, and the agent did not send its request. " +
		"If several servers look expired at once, it is this machine's clock that is wrong.",
	Fix: "Renew it. In ACM see why it was not renewed by itself: `aws acm describe-certificate --certificate-arn ARN` " +
		"(RenewalSummary; a DNS validation record may be missing). An imported certificate must be imported anew: " +
		"`aws acm import-certificate --certificate-arn ARN --certificate fileb://cert.pem --private-key fileb://key.pem --certificate-chain fileb://chain.pem`. " +
		"Check the clock: `timedatectl` or `chronyc tracking`.",
	Source: "RFC 5280, section 4.1.2.5; AWS Certificate Manager User Guide, managed-renewal",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, ended(probes.Expired)))
	},
	Notes: perLane(func(_ probes.Evidence, o probes.Observation, d *Detail) string {
		for _, c := range d.Chain {
			switch {
			case o.Start.After(c.NotAfter):
				return fmt.Sprintf("%s expired on %s", c.Subject, c.NotAfter.Format(time.DateTime))
			case o.Start.Before(c.NotBefore):
				return fmt.Sprintf("%s is valid from %s only; this machine's clock says %s",
					c.Subject, c.NotBefore.Format(time.DateTime), o.Start.UTC().Format(time.DateTime))
			}
		}
		return strings.Join(d.Flaws, "; ")
	}),
}

// verySoon is the time before expiry at which a warning is an alarm.
const verySoon = 3 * 24 * time.Hour

// expiresSoon reports whether the chain ends soon: by the leaf's measure, if it
// is the leaf that ends it, else by that of certificates of years. ACM renews 45
// to 60 days before, so what has 30 left was not renewed by itself.
func expiresSoon(o probes.Observation, d *Detail) bool {
	leaf := d.Chain[0]
	margin := identify.Margin(leaf.NotBefore, leaf.NotAfter)
	if d.NotAfter.Before(leaf.NotAfter) {
		margin = identify.Margin(time.Time{}, leaf.NotAfter)
	}
	return d.NotAfter.Sub(o.Start) < margin
}

var expiring = &probes.Rule{
	ID:    "server-cert-expiring",
	Title: "The server's certificate expires within 30 days",
	Means: "ACM renews the certificates that it issued well before their last 30 days, so if it is ACM's, it was not renewed by itself: " +
		"it was imported, or its validation fails. Of other authorities, what renews it is late; one that lives for less than 120 days is warned of in the last quarter of its life only. " +
		"When it expires, every client stops.",
	Fix: "See why: `aws acm describe-certificate --certificate-arn ARN` (RenewalSummary, RenewalEligibility). Restore the DNS validation " +
		"record, or import the renewed certificate with `aws acm import-certificate --certificate-arn ARN ...`.",
	Source:   "AWS Certificate Manager User Guide, managed-renewal",
	Severity: probes.Warning,
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.OK && expiresSoon(o, d)
		}))
	},
	Notes: perLane(func(_ probes.Evidence, o probes.Observation, d *Detail) string {
		when := d.NotAfter.UTC().Format(time.DateTime)
		if rest := d.NotAfter.Sub(o.Start); rest < verySoon {
			return fmt.Sprintf("ACT NOW: only %s, until %s UTC; then every call fails", left(rest), when)
		}
		return fmt.Sprintf("%s, until %s UTC", left(d.NotAfter.Sub(o.Start)), when)
	}),
}

var notAsked = &probes.Rule{
	ID:    "client-cert-not-asked",
	Title: "A client certificate is configured, but the server never asks for one",
	Means: "The handshake went well without the server asking for a client certificate, so mutual TLS is not in force on this path: " +
		"whoever can reach the address needs no certificate. Private APIs do not support mutual TLS; on a custom domain it is not " +
		"switched on, or the name leads past the domain or load balancer that asks.",
	Fix: "Look at the domain: `aws apigateway get-domain-name --domain-name NAME --query mutualTlsAuthentication`, and switch it on with " +
		"`aws apigateway update-domain-name --domain-name NAME --patch-operations op=replace,path=/mutualTlsAuthentication/truststoreUri,value=s3://BUCKET/KEY`. " +
		"In front of a private API, end mutual TLS on an Application Load Balancer: `aws elbv2 modify-listener --listener-arn ARN " +
		"--mutual-authentication Mode=verify,TrustStoreArn=ARN`. If it is not meant to be, remove client_certificate from the target.",
	Source:   mutualTLS,
	Severity: probes.Warning,
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		if seen.Target.ClientCertificate.Certificate == "" {
			return probes.No, nil
		}
		return certain(find(seen, func(o probes.Observation, d *Detail) bool { return o.Outcome == probes.OK && !d.Asked }))
	},
}

var refused = &probes.Rule{
	ID:    "handshake-refused",
	Title: "The server refuses the TLS handshake",
	Means: "The server ended the handshake with an alert that concerns neither the TLS version nor a client certificate: it does not know " +
		"the name (unrecognized_name), shares no cipher or key exchange (handshake_failure), shares no HTTP version (no_application_protocol), " +
		"or is in trouble itself (internal_error).",
	Fix: "Read the alert in the notes and compare with another client: `openssl s_client -connect ADDRESS:443 -servername NAME`. " +
		"For a name that the server does not know, check the custom domain or the load balancer's certificates; for a failure to agree, " +
		"compare the security policy: `aws apigateway get-domain-name --domain-name NAME --query securityPolicy`.",
	Source: "RFC 8446, section 6.2",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return certain(find(seen, func(o probes.Observation, d *Detail) bool {
			return o.Outcome == probes.Rejected && !wantsOtherVersion(o, d) &&
				!missesCertificate(o, d) && !rejectsCertificate(o, d)
		}))
	},
	Notes: perLane(func(_ probes.Evidence, _ probes.Observation, d *Detail) string {
		return "the server sent the alert " + d.Alert
	}),
}

// wantsOtherVersion: the two sides have no TLS version in common.
func wantsOtherVersion(o probes.Observation, d *Detail) bool {
	return o.Outcome == probes.Rejected && (d.AlertCode == alertProtocolVersion || d.tooOld())
}

// isCut reports whether the connection ended without a word.
func isCut(o probes.Observation) bool {
	return o.Outcome == probes.Reset || o.Outcome == probes.Closed
}

// losesLargePackets reports whether the trace to the same address has shown
// already why a handshake stalls.
func losesLargePackets(seen probes.Evidence, o probes.Observation) bool {
	for _, t := range seen.Of(trace.Kind.Name) {
		if r := trace.Of(t); r != nil && t.Addr == o.Addr && r.MTU != nil && r.MTU.BlackHole {
			return true
		}
	}
	return false
}

func ended(outcome probes.Outcome) func(probes.Observation, *Detail) bool {
	return func(o probes.Observation, d *Detail) bool { return o.Outcome == outcome }
}

// find returns the handshakes, with addresses of the endpoint, that keep
// accepts. Observations of a dial of our own that failed have no detail: they
// are not handshakes.
func find(seen probes.Evidence, keep func(probes.Observation, *Detail) bool) []probes.Observation {
	return probes.Filter(seen.Of(name), func(o probes.Observation) bool {
		d := Of(o)
		return d != nil && keep(o, d) && resolve.Inside(seen, o.Addr.Addr())
	})
}

func certain(obs []probes.Observation) (probes.Certainty, []probes.Observation) {
	return graded(probes.Certain, obs)
}

func likely(obs []probes.Observation) (probes.Certainty, []probes.Observation) {
	return graded(probes.Likely, obs)
}

func graded(c probes.Certainty, obs []probes.Observation) (probes.Certainty, []probes.Observation) {
	if len(obs) == 0 {
		return probes.No, nil
	}
	return c, obs
}

// perLane says something about each lane; lanes of which there is the same to
// say share a line.
func perLane(say func(probes.Evidence, probes.Observation, *Detail) string) func(probes.Evidence, []probes.Observation) []string {
	return func(seen probes.Evidence, obs []probes.Observation) []string {
		var said []string
		where := map[string][]string{}
		for _, o := range obs {
			d := Of(o)
			if d == nil {
				continue
			}
			text := say(seen, o, d)
			if text == "" {
				continue
			}
			if where[text] == nil {
				said = append(said, text)
			}
			where[text] = append(where[text], o.Addr.Addr().String())
		}
		for i, text := range said {
			addrs := slices.Compact(slices.Sorted(slices.Values(where[text])))
			said[i] = strings.Join(addrs, ", ") + ": " + text
		}
		return said
	}
}
