package probes

// A Rule recognizes one root cause: a pure function of the evidence, with its
// prose. The prose is printed in reports, served on the page, shown by
// `vpcprobe explain` and rendered into docs/findings.md.
//
// A rule lives in the folder of the highest layer that it reads. It stays
// silent where a lower layer already explains what it sees, and it never names
// something that works.
type Rule struct {
	ID       string // kebab-case words, stable for ever: a label value and a documentation anchor
	Title    string // what is wrong, in a line without a full stop
	Means    string // how that leads to what was observed
	Fix      string // what to do about it, with the command or setting to change
	Source   string // document and section that says so, or the measurement
	Severity Severity

	// Match reports how sure the evidence makes us, and which observations
	// say so. [No] means that the rule does not apply.
	Match func(Evidence) (Certainty, []Observation)

	// Notes, if set, says what this evidence adds to the prose: the hop where
	// silence starts, the request id, the command that would settle it. One
	// line each.
	Notes func(Evidence, []Observation) []string
}

// Certainty is how strongly the evidence points to a cause.
type Certainty int

// The degrees of certainty. The zero value means that the rule does not apply.
const (
	No       Certainty = iota
	Possible           // one of several causes that the evidence leaves open
	Likely             // the evidence points here, though others cannot be ruled out
	Certain            // nothing else known produces this evidence
)

func (c Certainty) String() string { return [...]string{"no", "possible", "likely", "certain"}[c] }

// Severity says whether a finding breaks the target or will do so.
type Severity int

// The severities.
const (
	Error   Severity = iota // callers fail, or some do
	Warning                 // callers succeed, but not for long, or not as meant: there is something to mend
	Notice                  // nothing is wrong by itself, but it is worth knowing: no verdict depends on it
)

func (s Severity) String() string { return [...]string{"error", "warning", "notice"}[s] }

// A Finding is a rule that matched: a named root cause, or one of several that
// the evidence leaves open.
type Finding struct {
	Rule      *Rule
	Certainty Certainty
	Because   []Observation
	Notes     []string

	// Expected says that the target's configuration asks for exactly this
	// refusal (expect.finding), so it is good news. The agent sets it.
	Expected bool
}

// Breaks reports whether the finding is one that keeps callers from what they
// want: an error, and not the refusal that the configuration asks for.
func (f Finding) Breaks() bool { return f.Rule.Severity == Error && !f.Expected }

// Diagnose applies the rules in order and returns what they found.
func Diagnose(rules []*Rule, seen Evidence) []Finding {
	var found []Finding
	for _, r := range rules {
		sure, because := r.Match(seen)
		if sure == No {
			continue
		}
		f := Finding{Rule: r, Certainty: sure, Because: because}
		if r.Notes != nil {
			f.Notes = r.Notes(seen, because)
		}
		found = append(found, f)
	}
	return found
}

// Refine lets each kind that can correct what the rules found, lowest layer
// first.
func Refine(kinds []Kind, seen Evidence, found []Finding) []Finding {
	for i := range kinds {
		if k := &kinds[i]; k.Refine != nil {
			found = k.Refine(seen, found)
		}
	}
	return found
}
