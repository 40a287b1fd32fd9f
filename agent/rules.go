package agent

import (
	"fmt"
	"slices"
	"strings"

	"vpcprobe/probes"
)

// Rules returns the rules of the kinds, lowest layer first, and then the
// agent's own: what concerns all layers.
func Rules(kinds []probes.Kind) []*probes.Rule {
	var rules []*probes.Rule
	for _, k := range kinds {
		rules = append(rules, k.Rules...)
	}
	return append(rules, ownRules(newJudge(kinds))...)
}

// ownRules are refusal-missing and unexplained, in this order. The first is
// applied only where a refusal is expected, the second only where all others
// leave something to blame unexplained.
func ownRules(j judge) []*probes.Rule {
	return []*probes.Rule{{
		ID:       "refusal-missing",
		Title:    "a caller that must be refused is let in",
		Means:    "The configuration says under expect.finding that this caller must be refused, and for which reason. The call succeeded instead, so what is meant to protect the API does not: a policy, an authorizer, an API key or a truststore is missing or too wide.",
		Fix:      "Look at what should have refused the call: the API's resource policy (aws apigateway get-rest-api --rest-api-id API --query policy), the method's authorization (aws apigateway get-method) and the endpoint policy (aws ec2 describe-vpc-endpoints). A changed policy takes effect only after the API is deployed again. If the caller is meant to get in by now, remove expect.finding from the target.",
		Source:   "The target's own configuration (expect.finding); API Gateway Developer Guide, apigateway-authorization-flow",
		Severity: probes.Error,
		Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
			if let := j.succeeded(seen); len(seen.Target.Expect.Finding) > 0 && len(let) > 0 {
				return probes.Certain, let
			}
			return probes.No, nil
		},
		Notes: func(seen probes.Evidence, let []probes.Observation) []string {
			want := strings.Join(seen.Target.Expect.Finding, " or ")
			return []string{fmt.Sprintf("expected the finding %s; the call succeeded on %s", want, count(len(let), "path"))}
		},
	}, {
		ID:       "unexplained",
		Title:    "something fails, and the evidence fits no known cause",
		Means:    "The observations below went wrong, but no rule recognizes them. The failure is real; its cause is one that vpcprobe does not know, or the evidence for it was not collected.",
		Fix:      "Start with the lowest layer that failed: the layers above it depend on it. Run vpcprobe check -o json for everything that was seen, and report it, so that the cause gets a rule.",
		Source:   "None: this finding says that no source covers the observations",
		Severity: probes.Error,
		Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
			if blamed := j.blamed(seen); len(blamed) > 0 {
				return probes.Possible, blamed
			}
			return probes.No, nil
		},
		Notes: func(_ probes.Evidence, blamed []probes.Observation) []string {
			return firstFew(blamed, 5)
		},
	}}
}

// firstFew tells the observations in a line each, the first few of them.
func firstFew(obs []probes.Observation, few int) []string {
	var lines []string
	for _, o := range obs[:min(few, len(obs))] {
		lines = append(lines, line(o))
	}
	if more := len(obs) - few; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// line tells an observation in a line.
func line(o probes.Observation) string {
	words := []any{o.Kind, o.Name}
	if o.Addr.IsValid() {
		words = append(words, o.Addr)
	}
	if o.Resolver != "" {
		words = append(words, "by", o.Resolver)
	}
	words = slices.DeleteFunc(words, func(w any) bool { return w == "" })
	text := fmt.Sprintln(append(words, string(o.Outcome))...)
	text = text[:len(text)-1]
	if o.Err != nil {
		text += ": " + o.Err.Error()
	}
	return text
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
