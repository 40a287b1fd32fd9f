package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"vpcprobe/probes"
)

// A Round is what one walk of one target taught, and all that is known since.
// It is immutable.
type Round struct {
	Evidence probes.Evidence  // all that is known since
	Findings []probes.Finding // what it means, lowest layer first
	Verdict  Verdict
	Started  time.Time     // zero if the target was not walked yet
	Took     time.Duration // how long the walk lasted
	Since    time.Time     // since when the verdict has been the same

	// Paths counts the lanes that callers take, and of them those that work
	// and those that fail.
	Paths, Working, Failing int
}

// An Update is a round as its sinks are told of it. The round may be kept; it is
// the agent's own.
type Update struct {
	*Round
	Fresh []probes.Observation // what the walk added, lowest layer first, without what kinds remember of earlier ones
}

// A Verdict is the answer to the question whether the target can be reached.
type Verdict string

// The verdicts.
const (
	// Reachable: every name resolves, every lane that callers take went well
	// on all its steps, and there are no findings but notices.
	Reachable Verdict = "reachable"
	// Degraded: some lane or lookup fails while others work or could not be
	// tried, or callers succeed but there is something to mend.
	Degraded Verdict = "degraded"
	// Unreachable: something is to blame, and no lane that callers take works.
	Unreachable Verdict = "unreachable"
	// Unknown: nothing is to blame, but not everything went well either: a
	// fault of ours, an interruption, or no walk yet.
	Unknown Verdict = "unknown"
)

// Verdicts lists them all, best first.
var Verdicts = []Verdict{Reachable, Degraded, Unreachable, Unknown}

// A Step is told when a kind has run on all lanes of a target.
type Step struct {
	Target       *probes.Target
	Position     int // of the target among those that are checked, from 0
	Kind         string
	Observations []probes.Observation
	Lanes        []probes.Lane // the lanes walked, once they are known
	Last         bool          // no further step of the target follows
}

// Sentence says the verdict in a few words, such as "5 of 6 paths work".
func (r Round) Sentence() string {
	switch {
	case r.Started.IsZero():
		return "not walked yet"
	case r.refused() && r.Verdict != Unknown:
		return "refused, exactly as expected"
	case r.Paths == 0 && r.Verdict == Reachable:
		return "every name resolves"
	case r.Paths == 0 && r.Verdict == Degraded:
		return "not all is well with the names"
	case r.Paths == 0 && r.Verdict == Unknown:
		return "it could not be tried"
	case r.Paths == 0:
		return "no name leads to an address"
	case r.Paths == 1 && r.Working == 1:
		return "the path works"
	case r.Paths == 1 && r.Failing == 1:
		return "the path fails"
	case r.Paths == 1:
		return "the path could not be tried"
	case r.Working == r.Paths:
		return fmt.Sprintf("all %d paths work", r.Paths)
	case r.Failing == r.Paths:
		return fmt.Sprintf("none of %d paths works", r.Paths)
	case r.Working+r.Failing < r.Paths:
		return fmt.Sprintf("%d of %d paths work, %d could not be tried", r.Working, r.Paths, r.Paths-r.Working-r.Failing)
	}
	return fmt.Sprintf("%d of %d paths work", r.Working, r.Paths)
}

// refused reports whether the caller was refused as the configuration asks.
func (r Round) refused() bool {
	for _, f := range r.Findings {
		if f.Expected {
			return true
		}
	}
	return false
}

// Worst returns the finding to mend first: errors before warnings, then the
// lowest layer, then the most certain. It returns nil if there is none: what
// was expected and what is no more than a notice is not to be mended.
func (r Round) Worst() *probes.Finding {
	var worst *probes.Finding
	for i := range r.Findings {
		f := &r.Findings[i]
		if toMend(*f) && (worst == nil || rank(r, *f).before(rank(r, *worst))) {
			worst = f
		}
	}
	return worst
}

// toMend reports whether a finding is one that somebody should do something
// about.
func toMend(f probes.Finding) bool { return !f.Expected && f.Rule.Severity != probes.Notice }

// A standing says how important a finding is: what compares as less is mended
// first.
type standing struct {
	severity probes.Severity
	layer    int // the highest kind that the finding rests on
	doubt    probes.Certainty
}

func (a standing) before(b standing) bool {
	return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.layer, b.layer), cmp.Compare(a.doubt, b.doubt)) < 0
}

func rank(r Round, f probes.Finding) standing {
	s := standing{severity: f.Rule.Severity, doubt: -f.Certainty}
	for i, kind := range r.Evidence.Kinds() {
		if slices.ContainsFunc(f.Because, func(o probes.Observation) bool { return o.Kind == kind }) {
			s.layer = i
		}
	}
	return s
}
