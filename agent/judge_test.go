package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpcprobe/probes"
)

// rule finds whatever a kind blames.
func rule(id, kind string, s probes.Severity) *probes.Rule {
	return &probes.Rule{ID: id, Severity: s, Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		because := probes.Filter(seen.Of(kind), func(o probes.Observation) bool { return o.Outcome.Blames() })
		if len(because) == 0 {
			return probes.No, nil
		}
		return probes.Certain, because
	}}
}

// always finds something, and rests on nothing.
func alwaysFinds(id string, s probes.Severity) *probes.Rule {
	return &probes.Rule{ID: id, Severity: s, Match: func(probes.Evidence) (probes.Certainty, []probes.Observation) { return probes.Likely, nil }}
}

func TestVerdict(t *testing.T) {
	const ok, refused, fault = probes.OK, probes.Refused, probes.Fault
	type outcomes = []probes.Outcome
	connectRefused := rule("connect-refused", "connect", probes.Error)
	expiring := alwaysFinds("expiring", probes.Warning)
	mismatch := alwaysFinds("mismatch", probes.Error)
	moved := alwaysFinds("moved", probes.Notice)
	nxdomain := rule("nxdomain", "resolve", probes.Error)
	for _, tt := range []struct {
		name       string
		lookups    outcomes
		answered   outcomes // of the lanes that callers take
		unanswered outcomes
		rules      []*probes.Rule
		expect     string
		want       string // verdict: findings, expected ones in parentheses
		sentence   string
	}{
		{"all well", outcomes{ok}, outcomes{ok, ok}, nil, nil, "", "reachable:", "all 2 paths work"},
		{"one lane", outcomes{ok}, outcomes{ok}, nil, nil, "", "reachable:", "the path works"},
		{"a lane fails", outcomes{ok}, outcomes{ok, refused}, nil, []*probes.Rule{connectRefused}, "", "degraded: connect-refused", "1 of 2 paths work"},
		{"all lanes fail", outcomes{ok}, outcomes{refused, refused}, nil, []*probes.Rule{connectRefused}, "", "unreachable: connect-refused", "none of 2 paths works"},
		{"the only lane fails", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused}, "", "unreachable: connect-refused", "the path fails"},
		{"nothing resolves", outcomes{probes.NoSuchName}, nil, nil, []*probes.Rule{nxdomain}, "", "unreachable: nxdomain", "no name leads to an address"},
		{"nothing resolves, the endpoint works", outcomes{probes.NoSuchName}, nil, outcomes{ok}, []*probes.Rule{nxdomain}, "", "unreachable: nxdomain", "no name leads to an address"},
		{"a resolver fails", outcomes{ok, probes.Timeout}, outcomes{ok}, nil, []*probes.Rule{nxdomain}, "", "degraded: nxdomain", "the path works"},
		{"an address that no caller uses fails", outcomes{ok}, outcomes{ok}, outcomes{refused}, nil, "", "reachable:", "the path works"},
		{"a warning", outcomes{ok}, outcomes{ok}, nil, []*probes.Rule{expiring}, "", "degraded: expiring", "the path works"},
		{"a notice", outcomes{ok}, outcomes{ok}, nil, []*probes.Rule{moved}, "", "reachable: moved", "the path works"},
		{"a notice while a lane fails", outcomes{ok}, outcomes{ok, refused}, nil, []*probes.Rule{connectRefused, moved}, "", "degraded: connect-refused moved", "1 of 2 paths work"},
		{"a notice explains nothing", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{rule("moved", "connect", probes.Notice)}, "", "unreachable: moved unexplained", "the path fails"},
		{"a fault of ours and a notice", outcomes{ok}, outcomes{fault}, nil, []*probes.Rule{moved}, "", "unknown: moved", "the path could not be tried"},
		{"an error though all lanes work", outcomes{ok}, outcomes{ok}, nil, []*probes.Rule{mismatch}, "", "degraded: mismatch", "the path works"},
		{"a fault of ours", outcomes{ok}, outcomes{ok, fault}, nil, nil, "", "unknown:", "1 of 2 paths work, 1 could not be tried"},
		{"a fault of ours and a warning", outcomes{ok}, outcomes{fault}, nil, []*probes.Rule{expiring}, "", "unknown: expiring", "the path could not be tried"},
		{"an address of a family that this machine does not speak", outcomes{ok}, outcomes{ok, probes.Skipped}, nil, nil, "", "reachable:", "the path works"},
		{"no address of a family that this machine speaks", outcomes{ok}, outcomes{probes.Skipped}, nil, nil, "", "unknown:", "it could not be tried"},
		{"no lookup could be made", outcomes{fault}, nil, nil, nil, "", "unknown:", "it could not be tried"},
		{"one fails and one is a fault", outcomes{ok}, outcomes{refused, fault}, nil, []*probes.Rule{connectRefused}, "", "degraded: connect-refused", "0 of 2 paths work, 1 could not be tried"},
		{"no rule knows it", outcomes{ok}, outcomes{refused}, nil, nil, "", "unreachable: unexplained", "the path fails"},
		{"a warning does not explain it", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{expiring}, "", "unreachable: expiring unexplained", "the path fails"},
		{"a warning explains it", outcomes{ok, probes.Elsewhere}, outcomes{ok}, nil, []*probes.Rule{rule("hosts-file", "resolve", probes.Warning)}, "", "degraded: hosts-file", "the path works"},
		{"refused as expected", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused}, "connect-refused", "reachable: (connect-refused)", "refused, exactly as expected"},
		{"refused as expected, with a warning", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused, expiring}, "connect-refused", "degraded: (connect-refused) expiring", "refused, exactly as expected"},
		{"refused as expected, with a notice", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused, moved}, "connect-refused", "reachable: (connect-refused) moved", "refused, exactly as expected"},
		{"refused as expected, and more", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused, mismatch}, "connect-refused", "unreachable: connect-refused mismatch", "the path fails"},
		{"refused for another reason", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused}, "denied", "unreachable: connect-refused", "the path fails"},
		{"refused for one of several reasons", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused}, "denied connect-refused", "reachable: (connect-refused)", "refused, exactly as expected"},
		{"refused for a set of reasons", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused, mismatch}, "mismatch connect-refused", "reachable: (connect-refused) (mismatch)", "refused, exactly as expected"},
		{"refused for reasons of which one is not wanted", outcomes{ok}, outcomes{refused}, nil, []*probes.Rule{connectRefused, mismatch}, "denied connect-refused", "unreachable: connect-refused mismatch", "the path fails"},
		{"not refused, for none of several reasons", outcomes{ok}, outcomes{ok}, nil, nil, "denied connect-refused", "degraded: refusal-missing", "the path works"},
		{"not refused", outcomes{ok}, outcomes{ok, ok}, nil, nil, "connect-refused", "degraded: refusal-missing", "all 2 paths work"},
		{"refused as expected, and one is a fault of ours", outcomes{ok}, outcomes{refused, fault}, nil, []*probes.Rule{connectRefused}, "connect-refused", "unknown: (connect-refused)", "0 of 2 paths work, 1 could not be tried"},
		{"nobody was refused, though there is what is expected", outcomes{ok}, outcomes{fault}, nil, []*probes.Rule{mismatch}, "mismatch", "unknown: mismatch", "the path could not be tried"},
		{"refused on one lane only", outcomes{ok}, outcomes{ok, refused}, nil, []*probes.Rule{connectRefused}, "connect-refused", "degraded: connect-refused refusal-missing", "1 of 2 paths work"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			byAddr := map[byte]probes.Outcome{}
			var l []probes.Lane
			for i, o := range slices.Concat(tt.answered, tt.unanswered) {
				x := lane(byte(i))
				x.Answered = i < len(tt.answered)
				byAddr[byte(i)] = o
				l = append(l, x)
			}
			lookup := opens(func(context.Context, probes.Evidence, *probes.Line) (obs []probes.Observation) {
				for i, o := range tt.lookups {
					obs = append(obs, probes.Observation{Resolver: fmt.Sprint(i), Outcome: o})
				}
				return obs
			}, func() []probes.Lane { return l })
			connect := kind("connect", probes.PerLane, func(_ context.Context, _ probes.Evidence, line *probes.Line) []probes.Observation {
				return []probes.Observation{{Outcome: byAddr[line.Addr.Addr().As4()[3]]}}
			})
			connect.Rules = tt.rules
			orders := target("orders")
			orders.Expect.Finding = strings.Fields(tt.expect)
			// What a trace sees on the way is evidence, not an experience of callers.
			r := checkTarget(t, orders, lookup, connect, kind("trace", probes.PerTarget, ends(probes.Timeout)))
			if got := verdictAndFindings(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := r.Sentence(); got != tt.sentence {
				t.Errorf("%q, want %q", got, tt.sentence)
			}
		})
	}
}

// A target may name the kinds to run. The verdict covers these and says so.
func TestKinds(t *testing.T) {
	const ok, refused = probes.OK, probes.Refused
	for _, tt := range []struct {
		name     string
		kinds    []string
		lookups  []probes.Outcome
		want     string // verdict: kinds that ran
		sentence string
	}{
		{"all", nil, []probes.Outcome{ok}, "unreachable: resolve connect trace handshake", "the path fails"},
		{"none above connect", []string{"resolve", "connect"}, []probes.Outcome{ok}, "reachable: resolve connect", "the path works"},
		{"one beside the lanes", []string{"resolve", "trace"}, []probes.Outcome{ok}, "reachable: resolve trace", "every name resolves"},
		{"lookups", []string{"resolve"}, []probes.Outcome{ok, ok}, "reachable: resolve", "every name resolves"},
		{"lookups, one fails", []string{"resolve"}, []probes.Outcome{ok, refused}, "degraded: resolve", "not all is well with the names"},
		{"lookups, all fail", []string{"resolve"}, []probes.Outcome{refused, refused}, "unreachable: resolve", "no name leads to an address"},
		{"lookups, none could be made", []string{"resolve"}, []probes.Outcome{probes.Fault}, "unknown: resolve", "it could not be tried"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lookup := func(context.Context, probes.Evidence, *probes.Line) (obs []probes.Observation) {
				for i, o := range tt.lookups {
					obs = append(obs, probes.Observation{Resolver: fmt.Sprint(i), Outcome: o})
				}
				return obs
			}
			orders := target("orders")
			orders.Kinds = tt.kinds
			r := checkTarget(t, orders, opens(lookup, lanes(1)), kind("connect", probes.PerLane, ends(ok)),
				kind("trace", probes.PerTarget, ends(ok)), kind("handshake", probes.PerLane, ends(refused)))
			if got := string(r.Verdict) + ": " + strings.Join(r.Evidence.Kinds(), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := r.Sentence(); got != tt.sentence {
				t.Errorf("%q, want %q", got, tt.sentence)
			}
		})
	}
}

// Where nothing but names are looked up, and a warning says what is odd about
// the answers, callers get somewhere all the same.
func TestLookupsThatOnlyWarn(t *testing.T) {
	orders := target("orders")
	orders.Kinds = []string{"resolve"}
	lookup := opens(ends(probes.Elsewhere), lanes(1))
	lookup.Rules = []*probes.Rule{rule("outdated", "resolve", probes.Warning)}
	r := checkTarget(t, orders, lookup, kind("connect", probes.PerLane, ends(probes.OK)))
	if got := verdictAndFindings(r); got != "degraded: outdated" {
		t.Error(got)
	}
}

// A kind that stands on others is of no use without them.
func TestKindsStandOnOthers(t *testing.T) {
	kinds := []probes.Kind{
		opens(ends(probes.OK), lanes(1)), kind("connect", probes.PerLane, ends(probes.OK)),
		kind("trace", probes.PerTarget, ends(probes.OK)), kind("handshake", probes.PerLane, ends(probes.OK)),
	}
	for listed, want := range map[string]string{
		"handshake":                 `target "orders": kinds: those listed stand on resolve, connect: list them too`,
		"resolve handshake":         `target "orders": kinds: those listed stand on connect: list them too`,
		"trace":                     `target "orders": kinds: those listed stand on resolve: list them too`,
		"connect resolve handshake": "",
	} {
		orders := target("orders")
		orders.Kinds = strings.Fields(listed)
		_, err := New([]*probes.Target{orders}, kinds, probes.System{}, Options{})
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s: %s, want %s", listed, got, want)
		}
	}
}

func verdictAndFindings(r Round) string {
	text := string(r.Verdict) + ":"
	for _, f := range r.Findings {
		if f.Expected {
			text += " (" + f.Rule.ID + ")"
		} else {
			text += " " + f.Rule.ID
		}
	}
	return text
}

// A failure that no rule knows shows what was seen.
func TestUnexplainedShowsTheObservations(t *testing.T) {
	r := check(t,
		opens(ends(probes.OK), lanes(1, 2, 3, 4, 5, 6, 7)),
		kind("connect", probes.PerLane, ends(probes.Refused)),
	)
	f := r.Findings[0]
	if len(f.Because) != 7 || len(f.Notes) != 6 || f.Certainty != probes.Possible {
		t.Errorf("%+v", f)
	}
	if got := f.Notes[0] + "\n" + f.Notes[5]; got != "connect api.test 10.0.0.1:443 refused\nand 2 more" {
		t.Error(got)
	}
}

// The finding to mend first: errors before warnings, then the lowest layer,
// then the most certain. A notice is not to be mended.
func TestWorst(t *testing.T) {
	resolve, connect := probes.Observation{Kind: "resolve"}, probes.Observation{Kind: "connect"}
	seen := probes.Evidence{Target: target("orders")}.With("resolve", []probes.Observation{resolve}).With("connect", []probes.Observation{connect})
	finding := func(id string, s probes.Severity, c probes.Certainty, because ...probes.Observation) probes.Finding {
		return probes.Finding{Rule: &probes.Rule{ID: id, Severity: s}, Certainty: c, Because: because}
	}
	r := Round{Evidence: seen, Findings: []probes.Finding{
		finding("warning", probes.Warning, probes.Certain, resolve),
		finding("expected", probes.Error, probes.Certain, resolve),
		finding("possible", probes.Error, probes.Possible, connect),
		finding("high", probes.Error, probes.Likely, connect),
		finding("low", probes.Error, probes.Possible, resolve),
		finding("notice", probes.Notice, probes.Certain, resolve),
	}}
	r.Findings[1].Expected = true
	var order []string
	for f := r.Worst(); f != nil; f = r.Worst() {
		order = append(order, f.Rule.ID)
		r.Findings = slices.DeleteFunc(slices.Clone(r.Findings), func(g probes.Finding) bool { return g.Rule == f.Rule })
	}
	if got := strings.Join(order, " "); got != "low high possible warning" {
		t.Error(got)
	}
}

// The agent's own rules come last, once.
func TestRules(t *testing.T) {
	k := kind("connect", probes.PerLane, ends(probes.OK))
	k.Rules = []*probes.Rule{alwaysFinds("a", probes.Error)}
	var ids []string
	for _, r := range Rules([]probes.Kind{k}) {
		ids = append(ids, r.ID)
	}
	if got := strings.Join(ids, " "); got != "a refusal-missing unexplained" {
		t.Error(got)
	}
	for _, r := range ownRules(judge{}) {
		if r.Title == "" || r.Means == "" || r.Fix == "" || r.Source == "" {
			t.Errorf("%s lacks prose", r.ID)
		}
	}
}
