package followup

import (
	"slices"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/invoke"
	"vpcprobe/probes/resolve"
)

// A decision is a row of the table of decisions: what follows for the causes of
// an answer when all of its facts hold.
type decision struct {
	about invoke.Family
	when  []fact
	keep  []string // if any, only these remain
	drop  []string // these do not
	sure  probes.Certainty
	who   []string // what remains of these is as sure as that
	stop  bool     // nothing more follows
	why   string
}

// A fact is a follow-up, or something known beside them, and its readings.
// Beside the follow-ups there are
//
//	via        the name form of the answer
//	method     of the request
//	elsewhere  works, if by another name this request, or one for a path that
//	           does not exist, is past these checks
//	domain     works, if it is by a custom domain
//	key        sent, if an API key was
//	files      bad, if they show what is wrong with the client certificate
type fact struct {
	what     string
	readings []Reading
}

func is(what string, readings ...Reading) fact { return fact{what, readings} }

// What is known beside follow-ups.
const (
	works Reading = "works"
	sent  Reading = "sent"
	bad   Reading = "bad"
)

// ofRoutes are the causes of an HTTP API's Forbidden that lie behind the search
// for the route.
var ofRoutes = []string{"authorizer-denies", "request-unsigned", "identity-policy-silent", "identity-policy-denies", "access-key-invalid", "signature-mismatch", "backend-denied"}

// decisions are applied in order, each to what those before it have left.
var decisions = []decision{
	// The control: an answer to nonsense must be Forbidden, or the readings mean nothing.
	{about: invoke.Forbidden, when: []fact{is("P2", found...)}, stop: true,
		why: "a stage that does not exist is not Forbidden here: nothing can be concluded"},

	// Requests come as far as the search for the method.
	{about: invoke.Forbidden, when: []fact{is("P1", found...)},
		keep: append([]string{"api-key-rejected", "waf-blocked"}, ofRoutes...),
		why:  "API, host, stage, client certificate and default endpoint are fine: another path of the stage was looked for"},
	{about: invoke.Forbidden, when: []fact{is("P1-root", found...)},
		keep: []string{"api-key-rejected", "waf-blocked", "authorizer-denies"},
		why:  "API, host, stage and default endpoint are fine: the stage's root was looked for"},
	{about: invoke.Forbidden, when: []fact{is("P9", Passed), is("method", "GET")},
		keep: []string{"waf-blocked"}, sure: probes.Likely, who: []string{"waf-blocked"},
		why: "a plain request without API key passes: a rule reacts to what the request holds"},
	{about: invoke.Forbidden, when: []fact{is("P8-none", Passed)},
		keep: []string{"waf-blocked"}, sure: probes.Likely, who: []string{"waf-blocked"},
		why: "without the API key the request passes"},
	{about: invoke.Forbidden, when: []fact{is("P8-none", Forbidden), is("P8-bogus", Forbidden)},
		sure: probes.Likely, who: []string{"api-key-rejected"},
		why: "with, without and with a bogus API key the answer is the same, while other paths are looked for"},

	// That P1 is Forbidden as well rules out neither key nor authorizer: a
	// greedy resource, or a route for everything, asks the same of every path.

	// By another name they do.
	{about: invoke.Forbidden, when: []fact{is("elsewhere", works)},
		keep: []string{"host-not-recognized", "strict-endpoint-access", "default-endpoint-disabled", "base-path-unmapped", "client-cert-distrusted", "domain-not-associated"},
		why:  "by another name at the same endpoint requests come as far as the API and its stage: these are fine, the name is not"},
	{about: invoke.Forbidden, when: []fact{is("elsewhere", works), is("P4", found...)},
		drop: []string{"default-endpoint-disabled"},
		why:  "by the API's own name they come further, so the default endpoint is enabled"},
	{about: invoke.Forbidden, when: []fact{is("elsewhere", works), is("P4", found...), is("via", "alias")},
		sure: probes.Likely, who: []string{"host-not-recognized"},
		why: "only the host name differs"},
	{about: invoke.Forbidden, when: []fact{is("P13", found...)},
		drop: []string{"strict-endpoint-access"}, sure: probes.Likely, who: []string{"host-not-recognized"},
		why: "SNI and Host may differ, so the access mode is not STRICT"},
	{about: invoke.Forbidden, when: []fact{is("elsewhere", works), is("P13", Forbidden, Cut)},
		drop: []string{"host-not-recognized"},
		why:  "only where SNI equals Host do they come further"},
	{about: invoke.Forbidden, when: []fact{is("P3", Forbidden), is("via", "private-dns", "alias")},
		drop: []string{"host-not-recognized"},
		why:  "the endpoint's own name fails alike: the API's side"},
	{about: invoke.Forbidden, when: []fact{is("P4", Forbidden), is("via", "endpoint")},
		drop: []string{"host-not-recognized", "strict-endpoint-access"},
		why:  "the API's own name fails alike at the same address: the API's side"},
	{about: invoke.Forbidden, when: []fact{is("domain", works)},
		keep: []string{"default-endpoint-disabled", "stage-not-found", "host-not-recognized", "strict-endpoint-access"},
		why:  "by the custom domain the request passes, so the API exists and no firewall blocks the caller"},
	{about: invoke.Forbidden, when: []fact{is("P5", append([]Reading{Forbidden}, found...)...), is("elsewhere", "")},
		drop: []string{"public-api-captured", "api-not-found", "host-not-recognized"},
		why:  "the alias resolves: the API exists, is private and associated with the endpoint"},
	{about: invoke.Forbidden, when: []fact{is("P5", NoName)},
		sure: probes.Possible, who: []string{"public-api-captured", "api-not-found"},
		why: "the alias does not resolve: the API is no private one, or not there, or it was never associated with the endpoint, which it need not be"},

	// Custom domains.
	{about: invoke.Forbidden, when: []fact{is("P10-none", append([]Reading{Forbidden}, found...)...)},
		drop: []string{"client-cert-distrusted"},
		why:  "without a client certificate there is an answer, so mutual TLS is not on"},
	{about: invoke.Forbidden, when: []fact{is("P10-control", found...)},
		drop: []string{"client-cert-distrusted"},
		why:  "a certificate that nobody trusts passes"},

	// That one is refused alike shows nothing: it always is, and so is the
	// client's, trusted or not, if its path is not mapped.

	// Missing Authentication Token. That P7 comes further is no proof: the
	// segment may be one base path of the domain, with a path missing from its
	// API, and what is found without it another API's. So the others remain. A
	// denial is not further: policies and headers are looked at before the method.
	{about: invoke.MissingToken, when: []fact{is("P7", Passed, Backend, Beyond)},
		sure: probes.Likely, who: []string{"stage-in-path"},
		why: "without the first segment of the path the request comes further"},
	{about: invoke.MissingToken, when: []fact{is("P7", NoMethod)},
		drop: []string{"stage-in-path"},
		why:  "without the first segment of the path it is no better"},
	{about: invoke.MissingToken, when: []fact{is("P7", Forbidden), is("key", "")},
		drop: []string{"stage-in-path"},
		why:  "without the first segment of the path it is worse"},
	{about: invoke.MissingToken, when: []fact{is("P9", Passed, Backend, Beyond)},
		keep: []string{"method-not-found", "not-redeployed", "request-unsigned"}, sure: probes.Likely, who: []string{"method-not-found"},
		why: "the path exists for GET"},

	// An Authorization header that is no signature.
	{about: invoke.Malformed, when: []fact{is("P6", Passed, Backend, Beyond)},
		keep: []string{"authorization-malformed"}, sure: probes.Likely, who: []string{"authorization-malformed"},
		why: "without the header the method is found"},

	// Denials.
	{about: invoke.Anonymous, when: []fact{is("P1", Denied), is("P1-signed", NoMethod, Passed, Backend, Beyond)},
		sure: probes.Likely, who: []string{"caller-anonymous"},
		why: "the policy lets the signed caller come further than an anonymous one"},
	{about: invoke.Named, when: []fact{is("P6", NoMethod)},
		drop: []string{"endpoint-policy-silent", "authorizer-denies", "authorizer-policy-narrow", "caller-anonymous"},
		why:  "an anonymous caller gets past the endpoint's policy, which comes first, and learns that the method wants a signature"},

	// An answer that bears nobody's marks. What answers for a stranger, too, is
	// on the way; that the stranger can be reached shows nothing: egress by
	// name is common.
	{about: invoke.Stranger, when: []fact{is("P14", Alike)},
		keep: []string{"proxy-in-the-way"}, sure: probes.Likely, who: []string{"proxy-in-the-way"},
		why: "the control, which is somebody else's, gets the very same answer: something on the way answers for both"},
	{about: invoke.Stranger, when: []fact{is("P14", Proxied)},
		sure: probes.Likely, who: []string{"proxy-in-the-way"},
		why: "a proxy answers in place of the control; whether it answers here as well, nothing says"},
	{about: invoke.Stranger, when: []fact{is("P14", Passed)},
		sure: probes.Possible, who: []string{"not-api-gateway", "proxy-in-the-way"},
		why: "the control answers as it is known to: nothing answers in place of everything, though a proxy may refuse this name alone"},
	{about: invoke.Stranger, when: []fact{is("P14", Silent, Cut, NoName, Other)},
		sure: probes.Possible, who: []string{"not-api-gateway", "proxy-in-the-way"},
		why: "the control gave no answer that says anything: there may be no way out to it from here"},
}

// A verdict is what is left of an answer's causes.
type verdict struct {
	of     probes.Observation // the answer
	causes []string
	sure   map[string]probes.Certainty
	why    []string
	asked  []probes.Observation // the follow-ups that decided
}

// judge narrows the causes of one blamed answer.
func judge(seen probes.Evidence, o probes.Observation) verdict {
	a := invoke.Of(o)
	v := verdict{of: o, causes: slices.Clone(a.Causes), sure: map[string]probes.Certainty{}}
	for _, c := range v.causes {
		v.sure[c] = a.Certainty
	}
	if a.Family == "" {
		return v
	}
	known := facts(seen, o)
	for _, d := range decisions {
		if d.about != a.Family || !known.hold(d.when) {
			continue
		}
		v.apply(d, known)
		if d.stop {
			break
		}
	}
	if len(v.causes) == 1 && v.sure[v.causes[0]] == probes.Possible && len(a.Causes) > 1 && !slices.Contains(unproven, v.causes[0]) {
		v.sure[v.causes[0]] = probes.Likely // all others are ruled out
	}
	// The files on disk already name what is wrong with the certificate:
	// package identify has the finding.
	if slices.Contains(v.causes, "client-cert-distrusted") && known.values["files"] == bad {
		return verdict{of: o}
	}
	return v
}

// unproven are causes of which nobody has published what API Gateway answers.
var unproven = []string{"default-endpoint-disabled", "strict-endpoint-access", "domain-not-associated", "api-not-found"}

// apply narrows by one decision. One that would leave nothing contradicts the
// others, and is not believed.
func (v *verdict) apply(d decision, known knowledge) {
	left := slices.DeleteFunc(slices.Clone(v.causes), func(c string) bool {
		return len(d.keep) > 0 && !slices.Contains(d.keep, c) || slices.Contains(d.drop, c)
	})
	if len(left) == 0 {
		return
	}
	graded := false
	for _, c := range d.who {
		if d.sure != probes.No && slices.Contains(left, c) {
			v.sure[c], graded = d.sure, true
		}
	}
	if len(left) == len(v.causes) && !graded {
		return
	}
	v.causes = left
	v.why = append(v.why, d.why)
	for _, f := range d.when {
		if o, ok := known.from[f.what]; ok {
			v.asked = append(v.asked, o)
		}
	}
}

// Knowledge is what is known about an answer: readings by what was asked, and
// the follow-ups that they come from.
type knowledge struct {
	values map[string]Reading
	from   map[string]probes.Observation
}

func (k knowledge) hold(facts []fact) bool {
	for _, f := range facts {
		if !slices.Contains(f.readings, k.values[f.what]) {
			return false
		}
	}
	return true
}

// facts gathers what is known about one answer.
func facts(seen probes.Evidence, o probes.Observation) knowledge {
	a := invoke.Of(o)
	k := knowledge{map[string]Reading{"via": Reading(o.Via), "method": Reading(a.Method)}, map[string]probes.Observation{}}
	about := probes.Filter(seen.Of(name), func(f probes.Observation) bool { d := Of(f); return d != nil && d.About == a.Family })
	for _, f := range about {
		d, i := Of(f), slices.Index(deep, Of(f).Probe)
		if slices.Contains(general, d.Probe) || f.Via == o.Via || i < 0 && alike(about, f.Via, o.Via) {
			k.values[d.Probe], k.from[d.Probe] = d.Reading, f
		}
		// What is found by another name, and Forbidden by this one, is found elsewhere.
		if id := byName[f.Via]; id != "" && i >= 0 && f.Via != o.Via && slices.Contains(found, d.Reading) && depth(about, o.Via)[i] == Forbidden {
			k.values[id], k.from[id] = d.Reading, f
		}
	}
	k.walked(seen, o)
	if a.KeySent {
		k.values["key"] = sent
	}
	if handshake.FilesExplain(seen) {
		k.values["files"] = bad
	}
	return k
}

// general are the follow-ups that do not depend on the name form of the answer.
var general = []string{"P3", "P4", "P5", "P14"}

// deep are the follow-ups that tell how far requests come by a name form. They
// are asked by each that got the answer Forbidden.
var deep = []string{"P1", "P1-root"}

// depth is how they read, "" for those that were not asked.
func depth(asked []probes.Observation, via probes.Via) (readings [2]Reading) {
	for _, f := range asked {
		if i := slices.Index(deep, Of(f).Probe); i >= 0 && f.Via == via {
			readings[i] = Of(f).Reading
		}
	}
	return readings
}

// alike reports whether what was asked about an answer by one name form tells of
// the same answer by another: if requests come as far by both. Other answers
// than Forbidden do not depend on the name.
func alike(asked []probes.Observation, v, w probes.Via) bool {
	return Of(asked[0]).About != invoke.Forbidden || depth(asked, v) == depth(asked, w) && depth(asked, v)[0] != ""
}

// byName are the follow-ups that the walk itself answers where it has lanes by
// that name form.
var byName = map[probes.Via]string{probes.ViaEndpoint: "P3", probes.ViaPrivateDNS: "P4", probes.ViaAlias: "P5"}

// walked adds what the walk saw by other name forms.
func (k knowledge) walked(seen probes.Evidence, subject probes.Observation) {
	partly := false // the name works, at another address
	for _, o := range seen.Of("invoke") {
		a := invoke.Of(o)
		if a == nil || a.Status == 0 || o.Addr.IsValid() && !resolve.Inside(seen, o.Addr.Addr()) {
			continue
		}
		reading := read(o)
		passes := slices.Contains(found, reading)
		if !passes && !resolves(seen, o) {
			continue
		}
		partly = partly || passes && o.Via == subject.Via
		if id, ok := byName[o.Via]; ok && (passes || k.values[id] == "") {
			k.values[id] = reading
		}
		if passes && o.Via == probes.ViaDomain && subject.Via != probes.ViaDomain {
			k.values["domain"] = works
		}
	}
	for via, id := range byName {
		if !partly && via != subject.Via && slices.Contains(found, k.values[id]) {
			k.values["elsewhere"] = works
		}
	}
}

// resolves reports whether an answer by the alias says that the alias resolves:
// where it does not, the walk tries it at the endpoint's addresses all the same.
func resolves(seen probes.Evidence, o probes.Observation) bool {
	lane, ok := seen.Lane(o)
	return o.Via != probes.ViaAlias || !ok || lane.Answered
}
