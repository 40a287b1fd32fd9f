package agent

import (
	"cmp"
	"slices"

	"vpcprobe/probes"
)

// A judge knows which kinds' observations tell how callers fare: the lookups,
// and what is done on the lanes that callers take. Traces, files and follow-up
// requests are evidence for rules, not experiences of callers.
type judge struct {
	lookup string   // the kind that opens lanes
	onLane []string // the kinds that run once per lane
}

func newJudge(kinds []probes.Kind) judge {
	var j judge
	for _, k := range kinds {
		if k.Lanes != nil {
			j.lookup = k.Name
		}
		if k.Per == probes.PerLane {
			j.onLane = append(j.onLane, k.Name)
		}
	}
	return j
}

// How a lane that callers take fares.
type state int

const (
	works   state = iota // all its steps went well
	fails                // a step is to blame
	unclear              // a step could not be made, through nobody's fault
	untried              // no step was made, as of an address family that this machine does not speak
)

// lane says how a lane fares.
func (j judge) lane(seen probes.Evidence, lane probes.Lane) state {
	s, tried := works, false
	for _, kind := range j.onLane {
		for _, o := range seen.Of(kind) {
			if !o.On(lane) {
				continue
			}
			tried = tried || o.Outcome != probes.Skipped
			switch {
			case o.Outcome == probes.OK:
			case o.Outcome.Blames():
				return fails
			default:
				s = unclear
			}
		}
	}
	if s == unclear && !tried {
		return untried
	}
	return s
}

// blamed returns what callers ran into: the lookups and the steps on the lanes
// they take that are to blame.
func (j judge) blamed(seen probes.Evidence) []probes.Observation {
	blames := func(o probes.Observation) bool { return o.Outcome.Blames() }
	found := probes.Filter(seen.Of(j.lookup), blames)
	for _, kind := range j.onLane {
		found = append(found, probes.Filter(seen.Of(kind), func(o probes.Observation) bool {
			lane, ok := seen.Lane(o)
			return blames(o) && (!ok || lane.Answered)
		})...)
	}
	return found
}

// succeeded returns the last step of each lane that callers take and that
// works.
func (j judge) succeeded(seen probes.Evidence) []probes.Observation {
	if len(j.onLane) == 0 {
		return nil
	}
	var found []probes.Observation
	for _, lane := range seen.Lanes {
		o, ok := seen.On(j.onLane[len(j.onLane)-1], lane)
		if ok && lane.Answered && o.Outcome == probes.OK && j.lane(seen, lane) == works {
			found = append(found, o)
		}
	}
	return found
}

// walks reports whether the target's lanes are walked at all, or only looked
// up.
func (j judge) walks(t *probes.Target) bool { return slices.ContainsFunc(j.onLane, t.Runs) }

// verdict fills in the round's verdict from its evidence and findings. Lanes on
// which nothing is tried are not counted: that they work could not be said.
func (j judge) verdict(r *Round) {
	if !j.walks(r.Evidence.Target) {
		r.Verdict = j.weigh(r)
		return
	}
	for _, lane := range r.Evidence.Lanes {
		how := j.lane(r.Evidence, lane)
		if !lane.Answered || how == untried {
			continue
		}
		r.Paths++
		switch how {
		case works:
			r.Working++
		case fails:
			r.Failing++
		}
	}
	r.Verdict = j.weigh(r)
}

func (j judge) weigh(r *Round) Verdict {
	surplus, refused := slices.ContainsFunc(r.Findings, toMend), r.refused()
	blamed := len(j.blamed(r.Evidence)) > 0
	switch {
	case refused && surplus:
		return Degraded
	case refused && r.Failing < r.Paths:
		return Unknown
	case refused:
		return Reachable
	case blamed && j.nothingWorks(r):
		return Unreachable
	case blamed:
		return Degraded
	case !j.allWell(r):
		return Unknown
	case surplus:
		return Degraded
	}
	return Reachable
}

// nothingWorks reports whether no lane that callers take works or could; where
// no lane is walked, whether no lookup went well, and that by an error.
func (j judge) nothingWorks(r *Round) bool {
	if j.walks(r.Evidence.Target) {
		return r.Working == 0 && r.Failing == r.Paths
	}
	wrong := slices.ContainsFunc(r.Findings, func(f probes.Finding) bool { return f.Rule.Severity == probes.Error })
	return wrong && len(r.Evidence.Ended(j.lookup, probes.OK)) == 0
}

// allWell reports whether all lookups and all lanes that callers take, of
// which there must be one, went well.
func (j judge) allWell(r *Round) bool {
	lookups := r.Evidence.Of(j.lookup)
	bad := slices.ContainsFunc(lookups, func(o probes.Observation) bool { return o.Outcome != probes.OK })
	return len(lookups) > 0 && !bad && (r.Working == r.Paths && r.Paths > 0 || !j.walks(r.Evidence.Target))
}

// diagnose applies all rules to the evidence, and the agent's own to what they
// leave open, unless the walk was interrupted and the evidence has gaps.
func (a *Agent) diagnose(seen probes.Evidence, interrupted bool) []probes.Finding {
	found := a.rules(seen)
	a.contain("refining the findings", func() { found = probes.Refine(a.kinds, seen, found) })
	blamed := a.judge.blamed(seen)
	if want := seen.Target.Expect.Finding; len(want) > 0 {
		missing := a.apply(a.own[:1], seen)
		if len(missing) == 0 && len(blamed) > 0 { // files alone refuse nobody
			expect(found, want)
		}
		found = append(found, missing...)
	}
	if !interrupted && !explained(found, blamed) {
		found = append(found, a.apply(a.own[1:], seen)...)
	}
	return found
}

// rules applies those of the kinds, lowest layer first. Of the kinds that a
// target does not run, it applies none.
func (a *Agent) rules(seen probes.Evidence) (found []probes.Finding) {
	for i := range a.kinds {
		k := &a.kinds[i]
		if len(seen.Of(cmp.Or(k.Reads, k.Name))) > 0 {
			found = append(found, a.apply(k.Rules, seen)...)
		}
	}
	return found
}

// apply applies rules in order. A rule that panics says nothing; those after it
// are applied all the same.
func (a *Agent) apply(rules []*probes.Rule, seen probes.Evidence) (found []probes.Finding) {
	for next := 0; next < len(rules); next++ {
		what := func() string { return "finding " + rules[next].ID }
		a.containIn(what, func() {
			for ; next < len(rules); next++ {
				found = append(found, probes.Diagnose(rules[next:next+1], seen)...)
			}
		})
	}
	return found
}

// expect marks the findings that the configuration asks for, if there is no
// other error: the caller was refused, and for no other reason than these. A
// cause beside them that the evidence leaves open may be the true one, so then
// nothing is as expected.
func expect(found []probes.Finding, want []string) {
	wanted := func(f probes.Finding) bool { return slices.Contains(want, f.Rule.ID) }
	for _, f := range found {
		if f.Rule.Severity == probes.Error && !wanted(f) {
			return
		}
	}
	for i, f := range found {
		found[i].Expected = wanted(f)
	}
}

// explained reports whether the findings account for what is to blame: one of
// them is an error, or they rest on every observation that blames. A notice
// names no cause.
func explained(found []probes.Finding, blamed []probes.Observation) bool {
	if slices.ContainsFunc(found, func(f probes.Finding) bool { return f.Rule.Severity == probes.Error }) {
		return true
	}
	for _, o := range blamed {
		cited := slices.ContainsFunc(found, func(f probes.Finding) bool {
			return f.Rule.Severity != probes.Notice && slices.ContainsFunc(f.Because, func(p probes.Observation) bool { return same(o, p) })
		})
		if !cited {
			return false
		}
	}
	return true
}

// same reports whether two values are one observation.
func same(o, p probes.Observation) bool { return o.Agrees(p) && o.Start.Equal(p.Start) }
