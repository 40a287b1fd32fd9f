package followup

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/invoke"
)

// A case of the table of decisions: what the answer was, what was learned
// beside it, and what is left.
type decided struct {
	name     string
	family   invoke.Family
	via      probes.Via
	causes   string // of the answer alone
	key      bool   // an API key was sent
	method   string // GET by default
	readings map[string]Reading
	walked   map[probes.Via]Reading // what other name forms answered
	want     string                 // likely ones with a star, certain ones with two
}

const (
	apiCauses    = "api-key-rejected waf-blocked host-not-recognized default-endpoint-disabled stage-not-found public-api-captured api-not-found"
	ownCauses    = "api-key-rejected waf-blocked host-not-recognized strict-endpoint-access default-endpoint-disabled stage-not-found public-api-captured api-not-found"
	domainCauses = "api-key-rejected waf-blocked client-cert-distrusted base-path-unmapped"
	strangers    = "not-api-gateway proxy-in-the-way"
	pathCauses   = "request-unsigned path-not-found method-not-found not-redeployed stage-in-path"
)

func TestDecisions(t *testing.T) {
	t.Parallel()
	const dns, own, alias, domain = probes.ViaPrivateDNS, probes.ViaEndpoint, probes.ViaAlias, probes.ViaDomain
	type r = map[string]Reading
	type w = map[probes.Via]Reading
	for _, tt := range []decided{
		{name: "nothing asked", family: invoke.Forbidden, via: dns, causes: apiCauses, want: apiCauses},
		{name: "nonsense is not forbidden", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P2": Passed}, want: apiCauses},

		// The rows of the table, in their order.
		{name: "P1 finds the stage", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod}, want: "api-key-rejected waf-blocked"},
		{name: "P1 finds the stage, P8 alike", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P8-none": Forbidden, "P8-bogus": Forbidden, "P9": Forbidden}, want: "api-key-rejected* waf-blocked"},
		{name: "a greedy resource passes P1 on", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Backend}, want: "api-key-rejected waf-blocked"},
		{name: "anonymous callers are denied, P1", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Denied}, want: "api-key-rejected waf-blocked"},
		{name: "a greedy resource wants a key, the root does not", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P1-root": NoMethod, "P2": Forbidden}, key: true, want: "api-key-rejected waf-blocked"},
		{name: "an HTTP API's only route has an authorizer", family: invoke.Forbidden, via: domain, causes: "authorizer-denies client-cert-distrusted base-path-unmapped", readings: r{"P1": Forbidden},
			want: "authorizer-denies client-cert-distrusted base-path-unmapped"},
		{name: "plain passes", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P9": Passed}, want: "waf-blocked*"},
		{name: "plain passes where all else fails", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P9": Passed}, want: "waf-blocked*"},
		{name: "plain passes, but it is another method", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P9": Passed}, method: "POST", want: "api-key-rejected waf-blocked"},
		{name: "without the key it passes", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P8-none": Passed}, key: true, want: "waf-blocked*"},
		{name: "P3 works", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P3": NoMethod}, want: "host-not-recognized default-endpoint-disabled"},
		{name: "the endpoint's name works in the walk", family: invoke.Forbidden, via: dns, causes: apiCauses, walked: w{own: Passed}, want: "host-not-recognized default-endpoint-disabled"},
		{name: "only the alias works", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P5": NoMethod}, want: "host-not-recognized default-endpoint-disabled"},
		{name: "the alias fails, the endpoint's name works", family: invoke.Forbidden, via: alias, causes: apiCauses, walked: w{own: Passed}, want: "host-not-recognized default-endpoint-disabled"},
		{name: "P4 works, P13 too", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P4": NoMethod, "P13": NoMethod}, want: "host-not-recognized*"},
		{name: "P4 works, P13 does not", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P4": NoMethod, "P13": Forbidden}, want: "strict-endpoint-access"},
		{name: "P4 works, P13 is cut", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P4": NoMethod, "P13": Cut}, want: "strict-endpoint-access"},
		{name: "P4 works, P13 was not asked", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P4": NoMethod}, want: "host-not-recognized strict-endpoint-access"},
		{name: "only the alias fails", family: invoke.Forbidden, via: alias, causes: apiCauses, walked: w{dns: Passed}, want: "host-not-recognized*"},
		{name: "all fail, P5 finds no name", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P2": Forbidden, "P3": Forbidden, "P5": NoName},
			want: "api-key-rejected waf-blocked default-endpoint-disabled stage-not-found public-api-captured api-not-found"},
		{name: "all fail, P5 resolves", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P2": Forbidden, "P3": Forbidden, "P5": Forbidden},
			want: "api-key-rejected waf-blocked default-endpoint-disabled stage-not-found"},
		{name: "all fail, P5 resolves, a key was sent", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P1-root": Forbidden, "P3": Forbidden, "P5": Forbidden}, key: true,
			want: "api-key-rejected waf-blocked default-endpoint-disabled stage-not-found"},
		{name: "all fail, P5 resolves, the domain works", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P3": Forbidden, "P5": Forbidden}, walked: w{domain: Passed},
			want: "default-endpoint-disabled stage-not-found"},
		{name: "all fail, nothing else", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P2": Forbidden, "P3": Forbidden},
			want: "api-key-rejected waf-blocked default-endpoint-disabled stage-not-found public-api-captured api-not-found"},
		{name: "mutual TLS is on, an untrusted certificate fares alike", family: invoke.Forbidden, via: domain, causes: domainCauses, readings: r{"P1": Forbidden, "P10-none": Cut, "P10-control": Forbidden},
			want: "api-key-rejected waf-blocked client-cert-distrusted base-path-unmapped"},
		{name: "mutual TLS is off", family: invoke.Forbidden, via: domain, causes: domainCauses, readings: r{"P1": Forbidden, "P10-none": Forbidden}, want: "api-key-rejected waf-blocked base-path-unmapped"},
		{name: "own certificate refused, a foreign one is not", family: invoke.Forbidden, via: domain, causes: domainCauses, readings: r{"P1": Forbidden, "P10-none": Cut, "P10-control": NoMethod}, want: "api-key-rejected waf-blocked base-path-unmapped"},
		{name: "P1 finds a path to miss: not mutual TLS", family: invoke.Forbidden, via: domain, causes: domainCauses, readings: r{"P1": NoMethod, "P10-none": Cut, "P10-control": Forbidden}, want: "api-key-rejected waf-blocked"},
		{name: "the default endpoint works", family: invoke.Forbidden, via: domain, causes: "api-key-rejected waf-blocked base-path-unmapped", readings: r{"P1": Forbidden}, walked: w{dns: Passed}, want: "base-path-unmapped*"},

		// An HTTP API has neither keys nor a firewall.
		{name: "an HTTP API's other paths", family: invoke.Forbidden, via: domain, causes: "authorizer-denies client-cert-distrusted base-path-unmapped identity-policy-silent backend-denied", readings: r{"P1": Beyond}, want: "authorizer-denies identity-policy-silent backend-denied"},

		// By another name form there may be another cause.
		{name: "what another form's key does", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P1 private-dns": NoMethod, "P8-none private-dns": Forbidden, "P8-bogus private-dns": Forbidden, "P13": Forbidden},
			want: "strict-endpoint-access"},
		{name: "the other of the two", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": NoMethod, "P1 endpoint": Forbidden, "P13 endpoint": Forbidden}, want: "api-key-rejected waf-blocked"},
		{name: "both are answered alike", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": NoMethod, "P1 private-dns": NoMethod, "P8-none private-dns": Forbidden, "P8-bogus private-dns": Forbidden},
			want: "api-key-rejected* waf-blocked"},
		{name: "alike, but not at the root", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1": Forbidden, "P1-root": Forbidden, "P1 private-dns": Forbidden, "P1-root private-dns": NoMethod, "P9 private-dns": Passed},
			want: "host-not-recognized strict-endpoint-access"},
		{name: "nobody asked by this one", family: invoke.Forbidden, via: own, causes: ownCauses, readings: r{"P1 private-dns": NoMethod, "P8-none private-dns": Passed}, want: ownCauses},
		{name: "this one was silent", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Silent, "P1 endpoint": NoMethod}, want: apiCauses},
		{name: "this one was silent at the root", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden, "P1-root": Silent, "P1 endpoint": Forbidden, "P1-root endpoint": NoMethod}, want: apiCauses},

		{name: "the same name passes at another address", family: invoke.Forbidden, via: dns, causes: apiCauses, readings: r{"P1": Forbidden}, walked: w{dns: Passed, alias: Passed}, want: "api-key-rejected waf-blocked default-endpoint-disabled stage-not-found"},

		// Missing Authentication Token.
		{name: "without the stage it passes", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": Passed}, want: pathCauses + "*"},
		{name: "without the stage it is for the backend to answer", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": Backend}, want: pathCauses + "*"},
		{name: "without the stage it is denied", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": Denied}, want: pathCauses},
		{name: "without the stage the header is looked at", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": Malformed}, want: pathCauses},
		{name: "without the stage it is no better", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": NoMethod}, want: "request-unsigned path-not-found method-not-found not-redeployed"},
		{name: "without the stage and the key it is forbidden", family: invoke.MissingToken, via: domain, causes: pathCauses, readings: r{"P7": Forbidden}, key: true, want: pathCauses},
		{name: "GET finds the path", family: invoke.MissingToken, via: dns, causes: "path-not-found method-not-found not-redeployed", readings: r{"P9": Passed}, method: "DELETE", want: "method-not-found* not-redeployed"},

		{name: "without the header it passes", family: invoke.Malformed, via: dns, causes: "authorization-malformed path-not-found", readings: r{"P6": Beyond}, want: "authorization-malformed*"},
		{name: "without the header it is no better", family: invoke.Malformed, via: dns, causes: "authorization-malformed path-not-found", readings: r{"P6": NoMethod}, want: "authorization-malformed path-not-found"},
		{name: "signed callers come further", family: invoke.Anonymous, via: dns, causes: "resource-policy-silent caller-anonymous", readings: r{"P1": Denied, "P1-signed": NoMethod}, want: "resource-policy-silent caller-anonymous*"},
		{name: "anonymous callers come further", family: invoke.Named, via: dns, causes: "identity-policy-silent resource-policy-silent endpoint-policy-silent organization-policy-denies", readings: r{"P6": NoMethod}, want: "identity-policy-silent resource-policy-silent organization-policy-denies"},
		{name: "they do, but are not whom a policy denies", family: invoke.Named, via: dns, causes: "identity-policy-denies resource-policy-denies endpoint-policy-denies access-key-invalid", readings: r{"P6": NoMethod}, want: "identity-policy-denies resource-policy-denies endpoint-policy-denies access-key-invalid"},

		// An answer that bears nobody's marks.
		{name: "a stranger, and no control", family: invoke.Stranger, via: dns, causes: strangers, want: strangers},
		{name: "the control gets the same answer", family: invoke.Stranger, via: domain, causes: strangers, readings: r{"P14": Alike}, want: "proxy-in-the-way*"},
		{name: "a proxy answers for the control", family: invoke.Stranger, via: dns, causes: strangers, readings: r{"P14": Proxied}, want: "not-api-gateway proxy-in-the-way*"},
		{name: "the control answers", family: invoke.Stranger, via: dns, causes: strangers, readings: r{"P14": Passed}, want: strangers},
		{name: "no way to the control", family: invoke.Stranger, via: dns, causes: strangers, readings: r{"P14": Silent}, want: strangers},
		{name: "the control fails by itself", family: invoke.Stranger, via: dns, causes: strangers, readings: r{"P14": Other}, want: strangers},

		{name: "what was asked about another answer", family: invoke.Anonymous, via: dns, causes: "resource-policy-silent caller-anonymous", readings: r{"about": "forbidden", "P1": NoMethod}, want: "resource-policy-silent caller-anonymous"},
		{name: "a contradiction is not believed", family: invoke.Forbidden, via: dns, causes: "stage-not-found", readings: r{"P1": NoMethod}, want: "stage-not-found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seen, o := tt.evidence()
			v := judge(seen, o)
			var got []string
			for _, c := range v.causes {
				got = append(got, c+strings.Repeat("*", int(v.sure[c]-probes.Possible)))
			}
			want := strings.Fields(tt.want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func (d decided) evidence() (probes.Evidence, probes.Observation) {
	method := d.method
	if method == "" {
		method = "GET"
	}
	a := &invoke.Answer{Method: method, Status: 403, Who: invoke.RESTAPI, Family: d.family, Causes: strings.Fields(d.causes), Certainty: probes.Possible, KeySent: d.key}
	subject := probes.Observation{Via: d.via, Outcome: probes.Denied, Detail: a}
	walked := []probes.Observation{subject}
	for via := range d.walked {
		walked = append(walked, probes.Observation{Via: via, Outcome: probes.OK, Detail: &invoke.Answer{Status: 200}})
	}
	about := d.family
	if other, ok := d.readings["about"]; ok {
		about = invoke.Family(other)
	}
	var asked []probes.Observation
	for probe, reading := range d.readings {
		probe, by, ok := strings.Cut(probe, " ")
		via := d.via
		if ok {
			via = probes.Via(by)
		}
		asked = append(asked, probes.Observation{Via: via, Detail: &Detail{Probe: probe, Reading: reading, About: about}})
	}
	seen := probes.Evidence{Target: &probes.Target{Kind: probes.CustomDomain, Settings: &probes.Settings{}}}
	return seen.With("invoke", walked).With(name, asked), subject
}

// Each finding that a decision speaks of has a rule, and so has each cause of
// the table of denials.
func TestEveryCauseHasARule(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, r := range slices.Concat(invoke.Rules, Rules) {
		known[r.ID] = true
	}
	for _, d := range decisions {
		for _, c := range slices.Concat(d.keep, d.drop, d.who) {
			if !known[c] {
				t.Errorf("%q: no rule is called %s", d.why, c)
			}
		}
		if d.why == "" || len(d.when) == 0 {
			t.Errorf("a decision without a reason or a condition: %+v", d)
		}
	}
	for _, s := range settlers {
		for _, c := range s.causes {
			if !known[c] {
				t.Errorf("no rule is called %s", c)
			}
		}
	}
	for _, c := range invoke.Causes() {
		if !known[c] {
			t.Errorf("no rule is called %s", c)
		}
	}
}

// What API Gateway says by itself is not what lies behind it, whatever status it
// was given.
func TestReadings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answer invoke.Answer
		want   Reading
	}{
		{invoke.Answer{Status: 200, Who: invoke.RESTAPI}, Passed},
		{invoke.Answer{Status: 202, Who: invoke.RESTAPI, Denial: "waf", WAFAction: "challenge"}, Other},
		{invoke.Answer{Status: 405, Who: invoke.RESTAPI, Denial: "waf", WAFAction: "captcha"}, Other},
		{invoke.Answer{Status: 302, Who: invoke.RESTAPI, Family: invoke.MissingToken, ErrorType: "MissingAuthenticationTokenException"}, NoMethod},
		{invoke.Answer{Status: 404, Who: invoke.Backend}, Backend},
	} {
		if got := read(probes.Observation{Outcome: probes.Unexpected, Detail: &tt.answer}); got != tt.want {
			t.Errorf("%d %s: %s, want %s", tt.answer.Status, tt.answer.ErrorType+tt.answer.WAFAction, got, tt.want)
		}
	}
}

// Twelve requests and two silences are the most that one failure costs.
func TestBudget(t *testing.T) {
	t.Parallel()
	q := &inquiry{sent: maxRequests, ctx: t.Context()}
	if r := q.one("P1", "", probes.Lane{Addr: netip.AddrPort{}}, invoke.Request{}); r != "" || len(q.obs) > 0 {
		t.Errorf("the thirteenth request: %q", r)
	}
	q = &inquiry{silences: maxSilences, ctx: t.Context()}
	if r := q.one("P1", "", probes.Lane{}, invoke.Request{}); r != "" || len(q.obs) > 0 {
		t.Errorf("after two silences: %q", r)
	}
}

// judged is what identify says of a client certificate with one problem.
func judged(problem string) probes.Observation {
	return probes.Observation{Outcome: probes.Invalid, Detail: &identify.Report{Problems: []identify.Problem{{Finding: problem, Refuses: true}}}}
}

// What the files say of the certificate explains no denial where another
// address takes it, nor does its age.
func TestFilesThatAreRefuted(t *testing.T) {
	t.Parallel()
	lane := func(n byte) probes.Observation {
		return probes.Observation{Via: probes.ViaDomain, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 443), Outcome: probes.OK}
	}
	denied, shaken, taken := lane(1), lane(2), lane(2)
	denied.Outcome = probes.Denied
	denied.Detail = &invoke.Answer{Status: 403, Who: invoke.RESTAPI, Family: invoke.Forbidden, Causes: strings.Fields(domainCauses), Certainty: probes.Possible, CertAsked: true}
	shaken.Detail = &handshake.Detail{Asked: true, Sent: true}
	seen := probes.Evidence{Target: &probes.Target{Kind: probes.CustomDomain, Settings: &probes.Settings{}}}.
		With("identify", []probes.Observation{judged("client-cert-untrusted")}).With("handshake", []probes.Observation{shaken})
	if v := judge(seen.With("invoke", []probes.Observation{denied}), denied); len(v.causes) != 0 {
		t.Errorf("the files explain it, and %v are left", v.causes)
	}
	expired := seen.With("identify", []probes.Observation{judged("client-cert-expired")})
	if v := judge(expired.With("invoke", []probes.Observation{denied}), denied); !slices.Equal(v.causes, strings.Fields(domainCauses)) {
		t.Errorf("it has expired, and %v are left", v.causes)
	}
	if v := judge(seen.With("invoke", []probes.Observation{denied, taken}), denied); !slices.Contains(v.causes, "client-cert-distrusted") {
		t.Errorf("the files explain nothing, and %v are left", v.causes)
	}
}

// What is asked with another certificate, or of somebody else, shows nothing of
// the client's.
func TestPastCertificate(t *testing.T) {
	t.Parallel()
	for probe, want := range map[string]bool{"P0": true, "P1": true, "P1-root": true, "P10-none": false, "P10-control": false, "P13": true, "P14": false} {
		d := &Detail{Probe: probe, Answer: &invoke.Answer{Status: 200}}
		if got := d.PastCertificate(); got != want {
			t.Errorf("%s: %v", probe, got)
		}
	}
	if (&Detail{Probe: "P5"}).PastCertificate() {
		t.Error("no answer shows something")
	}
}

func TestWithoutFirst(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/prod/items": "/items", "/prod": "/", "/prod/": "/", "/a/b/c?d=/e": "/b/c?d=/e"} {
		if got, ok := withoutFirst(in); !ok || got != want {
			t.Errorf("%s: %s %v, want %s", in, got, ok, want)
		}
	}
	if _, ok := withoutFirst("/"); ok {
		t.Error("the root has no first segment")
	}
}
