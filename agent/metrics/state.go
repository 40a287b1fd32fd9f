package metrics

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// remembered is how long a finding that cleared is still shown as 0, so that
// an alert on it resolves rather than dangles.
const remembered = time.Hour

// buckets are the upper bounds of the histogram of walks, in seconds. Inside a
// VPC a connection takes a quarter of a millisecond, a walk a few of them.
var buckets = [...]float64{0.00025, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10}

// How the observations of a probe are counted.
type result uint8

const (
	success result = iota
	failure
	skipped // nothing could be tried, because a lower layer gave nothing to work on
	fault   // our own trouble
	results
)

var resultNames = [results]string{"success", "failure", "skipped", "fault"}

func resultOf(o probes.Outcome) result {
	switch {
	case o == probes.OK:
		return success
	case o.Blames():
		return failure
	case o == probes.Fault:
		return fault
	}
	return skipped
}

// A state is what is kept of one target. There may be tens of thousands, so it
// is small: numbers that no agent lives long enough to overflow have 32 bits.
type state struct {
	target *probes.Target

	since       int64        // when the first walk began, in Unix time in milliseconds: counters count from then on
	latest      *agent.Round // the agent's own, which is not a copy more
	lastSuccess int64        // Unix time in milliseconds, 0 if the target was never reachable
	kinds       []kindState
	walks       [4]uint32                // by the order of agent.Verdicts
	took        [len(buckets) + 1]uint32 // walks by bucket, not cumulative
	sum         float64
	counters    []counter
	trouble     *trouble // nil if there was none
}

// A trouble is what went wrong in the past.
type trouble struct {
	failures []failures
	cleared  []cleared
}

// none is what is read where there is no trouble. Nobody writes to it.
var none = new(trouble)

func (s *state) past() *trouble { return cmp.Or(s.trouble, none) }

// A kindState counts the probes of one kind that the target runs.
type kindState struct {
	results [results]uint32 // of ten observations a second they wrap after 13 years, which Prometheus takes for a restart
	kind    uint8           // by its position
	latest  result
	known   bool // latest holds
}

func newState(t *probes.Target, kinds []probes.Kind) *state {
	s := &state{target: t, latest: new(agent.Round)}
	runs := 0
	for i := range kinds {
		if t.Runs(kinds[i].Name) {
			runs++
		}
	}
	s.kinds = make([]kindState, 0, runs)
	for i := range kinds {
		if t.Runs(kinds[i].Name) {
			s.kinds = append(s.kinds, kindState{kind: uint8(i)})
		}
	}
	return s
}

// failures counts the failures of a kind for one reason.
type failures struct {
	kind   string
	reason probes.Outcome
	n      uint64
}

// A counter is the sum of a kind's own metric for one set of labels.
type counter struct {
	metric *probes.Metric
	labels probes.Labels // the values of all labels of the metric
	since  int64         // when the walk began from which on it counts, in Unix time in milliseconds
	sum    float64
}

// A cleared finding was there and is not any more.
type cleared struct {
	rule *probes.Rule
	at   time.Time
}

// record takes over a round.
func (s *state) record(kinds []probes.Kind, r agent.Update) {
	s.clear(r.Round)
	s.latest = r.Round
	if s.since == 0 {
		s.since = r.Started.UnixMilli()
	}
	if r.Verdict == agent.Reachable {
		s.lastSuccess = s.lastRun()
	}
	if i := slices.Index(agent.Verdicts, r.Verdict); i >= 0 {
		s.walks[i]++
	}
	seconds := r.Took.Seconds()
	i, _ := slices.BinarySearch(buckets[:], seconds)
	s.took[i]++
	s.sum += seconds
	for i := range s.kinds {
		k := &s.kinds[i]
		name := kinds[k.kind].Name
		for j := range r.Fresh {
			if r.Fresh[j].Kind == name {
				s.count(k, &r.Fresh[j])
			}
		}
		k.latest, k.known = latest(r.Evidence, name)
	}
	s.forgetLanes(r.Evidence)
}

// lastRun is when the latest walk ended, in Unix time in milliseconds; 0 if
// there was none.
func (s *state) lastRun() int64 {
	if s.latest.Started.IsZero() {
		return 0
	}
	return s.latest.Started.Add(s.latest.Took).UnixMilli()
}

// count adds an observation to the counters.
func (s *state) count(k *kindState, o *probes.Observation) {
	if o.Outcome == probes.Aborted {
		return
	}
	k.results[resultOf(o.Outcome)]++
	if o.Outcome.Blames() {
		s.failed(o)
	}
	for i := range o.Values {
		if o.Values[i].Metric.Type == probes.Counter {
			s.sumUp(o, &o.Values[i])
		}
	}
}

func (s *state) failed(o *probes.Observation) {
	t := s.troubled()
	for i := range t.failures {
		if f := &t.failures[i]; f.kind == o.Kind && f.reason == o.Outcome {
			f.n++
			return
		}
	}
	t.failures = append(t.failures, failures{o.Kind, o.Outcome, 1})
}

// troubled returns the trouble for writing.
func (s *state) troubled() *trouble {
	if s.trouble == nil {
		s.trouble = new(trouble)
	}
	return s.trouble
}

func (s *state) sumUp(o *probes.Observation, v *probes.Value) {
	var array [widest]string
	labels := probes.LabelsOf(appendLabels(array[:0], o, v)...)
	for i := range s.counters {
		if c := &s.counters[i]; c.metric == v.Metric && c.labels == labels {
			c.sum += v.V
			return
		}
	}
	s.counters = slices.Concat(s.counters, []counter{{v.Metric, labels, s.latest.Started.UnixMilli(), v.V}}) // without room for more
}

// forgetLanes drops counters of addresses that the evidence no longer knows.
func (s *state) forgetLanes(seen probes.Evidence) {
	s.counters = slices.DeleteFunc(s.counters, func(c counter) bool {
		i := slices.Index(c.metric.Labels, "address")
		if i < 0 {
			return false
		}
		label := c.labels.Append(nil)[i]
		if label == "" {
			return false
		}
		addr, err := netip.ParseAddr(label)
		for o := range seen.All() {
			if err == nil && o.Addr.Addr() == addr {
				return false
			}
		}
		return true
	})
}

// latest says how the latest run of a kind went, on the lanes that callers
// take; false if that cannot be said, because nothing was tried.
func latest(seen probes.Evidence, kind string) (result, bool) {
	ok := false
	for _, o := range seen.Of(kind) {
		if lane, on := seen.Lane(o); on && !lane.Answered {
			continue
		}
		switch resultOf(o.Outcome) {
		case failure:
			return failure, true
		case success:
			ok = true
		}
	}
	return success, ok
}

// clear notes which findings the round no longer has, and drops those that
// cleared long ago.
func (s *state) clear(r *agent.Round) {
	if len(s.latest.Findings)+len(s.past().cleared) == 0 {
		return
	}
	t, now := s.troubled(), time.Now()
	for _, f := range s.latest.Findings {
		if !f.Expected && !slices.ContainsFunc(t.cleared, func(c cleared) bool { return c.rule.ID == f.Rule.ID }) {
			t.cleared = append(t.cleared, cleared{f.Rule, now})
		}
	}
	t.cleared = slices.DeleteFunc(t.cleared, func(c cleared) bool {
		active := slices.ContainsFunc(r.Findings, func(f probes.Finding) bool { return !f.Expected && f.Rule.ID == c.rule.ID })
		return active || now.Sub(c.at) > remembered
	})
}
