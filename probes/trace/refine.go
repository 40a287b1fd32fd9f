package trace

import (
	"slices"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
)

// fabric says what silence without any hop means in a VPC.
const fabric = "silence at every hop is the normal picture in a VPC, whose routers never answer: the security group there (in), this host's (out), a network ACL of either subnet (TCP 443 there, 1024-65535 back) " +
	"and a missing route, there or back, cannot be told apart from here; Reachability Analyzer (create-network-insights-path) can"

const noRoute = "no-route" // the rule of package connect

// belongs says under which rule of package connect a failure belongs that the
// path explains. The error of a connection cannot say it: Linux has one and the
// same (EHOSTUNREACH) for a host that is not there, for a router that prohibits
// and for packets that circle. The finding of a loop is this package's own.
var belongs = map[State]string{
	Prohibited:      "traffic-prohibited",
	PortUnreachable: "connection-refused",
	Refused:         "connection-refused",
	HostUnreachable: noRoute,
	NetUnreachable:  noRoute,
	Loop:            "",
}

// Refine says more exactly what package connect found: it moves failures whose
// cause the path names to the rule for that cause, and adds the hop where
// silence begins and the device that answered. See [probes.Kind].
func Refine(seen probes.Evidence, found []probes.Finding) []probes.Finding {
	var refined []probes.Finding
	for _, f := range found {
		if !fromConnect(f) {
			refined = append(refined, f)
			continue
		}
		for _, rule := range rulesOf(seen, f) {
			because := probes.Filter(f.Because, func(o probes.Observation) bool { return ruleFor(seen, f, o) == rule })
			refined = join(seen, refined, f, rule, because)
		}
	}
	for i := range refined {
		if fromConnect(refined[i]) {
			refined[i].Notes = slices.Concat(refined[i].Notes, notes(seen, refined[i].Because))
		}
	}
	return refined
}

// fromConnect reports whether a finding is one of package connect.
func fromConnect(f probes.Finding) bool { return slices.Contains(connect.Rules, f.Rule) }

// rulesOf lists the rules under which a finding's observations belong.
func rulesOf(seen probes.Evidence, f probes.Finding) []*probes.Rule {
	var rules []*probes.Rule
	for _, o := range f.Because {
		if r := ruleFor(seen, f, o); r != nil && !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	return rules
}

// ruleFor is the rule under which one observation of a finding belongs: that
// of the finding unless the path knows better; nil for none.
func ruleFor(seen probes.Evidence, f probes.Finding, o probes.Observation) *probes.Rule {
	_, r := On(seen, o.Addr)
	if r == nil || o.Outcome == probes.OK || f.Rule.Severity != probes.Error {
		return f.Rule
	}
	id, ok := belongs[r.State]
	if !ok || id == noRoute && !r.unroutable() {
		return f.Rule
	}
	if r.Between && id == "connection-refused" {
		return nil
	}
	i := slices.IndexFunc(connect.Rules, func(rule *probes.Rule) bool { return rule.ID == id })
	if i < 0 {
		return nil
	}
	return connect.Rules[i]
}

// join adds the observations of a finding to the refined finding of a rule.
func join(seen probes.Evidence, refined []probes.Finding, f probes.Finding, rule *probes.Rule, because []probes.Observation) []probes.Finding {
	if rule != f.Rule || rule.ID == noRoute && unroutable(seen, because) {
		f.Certainty = probes.Certain // an ICMP error, a reset or this host names it
	}
	if i := slices.IndexFunc(refined, func(r probes.Finding) bool { return r.Rule == rule }); i >= 0 {
		because = slices.Concat(refined[i].Because, because)
		f.Certainty = min(f.Certainty, refined[i].Certainty)
		refined = slices.Delete(refined, i, i+1)
	}
	f.Rule, f.Because = rule, because
	if rule.Notes != nil {
		f.Notes = rule.Notes(seen, because)
	}
	return append(refined, f)
}

// unroutable reports whether the path says of each address that there is no
// route, or no host: a router did, or this host itself.
func unroutable(seen probes.Evidence, because []probes.Observation) bool {
	return !slices.ContainsFunc(because, func(o probes.Observation) bool {
		_, r := On(seen, o.Addr)
		return r == nil || !r.unroutable()
	})
}

func (r *Result) unroutable() bool {
	switch r.State {
	case HostUnreachable, NetUnreachable:
		return r.RejectedBy.IsValid() // else only errno said so
	case Local:
		return probes.Classify(r.err) == probes.Unreachable
	}
	return false
}

// notes says what the path adds, for each address once.
func notes(seen probes.Evidence, because []probes.Observation) []string {
	var lines []string
	silent := false
	for i, c := range because {
		if slices.ContainsFunc(because[:i], func(earlier probes.Observation) bool { return earlier.Addr == c.Addr }) {
			continue
		}
		o, r := On(seen, c.Addr)
		if r == nil {
			continue
		}
		lines = append(lines, pathNote(o, r))
		silent = silent || r.State == Filtered && r.LastHop == 0
	}
	if silent {
		lines = append(lines, fabric)
	}
	return lines
}
