package metrics

import (
	"net/netip"
	"slices"
	"sync"
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
type result int

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

// A state is what is kept of one target.
type state struct {
	target string

	mu          sync.Mutex
	round       agent.Round
	lastRun     time.Time
	lastSuccess time.Time // zero if the target was never reachable
	kinds       []kindState
	failures    []failures
	walks       [4]uint64                // by the order of agent.Verdicts
	took        [len(buckets) + 1]uint64 // walks by bucket, not cumulative
	sum         float64
	counters    []counter
	cleared     []cleared
}

// A kindState counts the probes of one kind.
type kindState struct {
	results [results]uint64
	latest  result
	known   bool // latest holds
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
	labels []string
	about  about
	sum    float64
}

// An about is whom a reading concerns: what labels are filled in from. There is
// one for each counter of each target, so it is no whole observation.
type about struct {
	kind, name, resolver string
	via                  probes.Via
	addr                 netip.AddrPort
}

func aboutOf(o *probes.Observation) about { return about{o.Kind, o.Name, o.Resolver, o.Via, o.Addr} }

// A cleared finding was there and is not any more.
type cleared struct {
	rule *probes.Rule
	at   time.Time
}

// record takes over a round.
func (s *state) record(kinds []probes.Kind, r agent.Round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear(r)
	s.round = r
	s.round.Fresh = nil
	s.lastRun = r.Started.Add(r.Took)
	if r.Verdict == agent.Reachable {
		s.lastSuccess = s.lastRun
	}
	if i := slices.Index(agent.Verdicts, r.Verdict); i >= 0 {
		s.walks[i]++
	}
	seconds := r.Took.Seconds()
	i, _ := slices.BinarySearch(buckets[:], seconds)
	s.took[i]++
	s.sum += seconds
	for _, o := range r.Fresh {
		s.count(kinds, o)
	}
	for i := range kinds {
		s.kinds[i].latest, s.kinds[i].known = latest(r.Evidence, kinds[i].Name)
	}
	s.forgetLanes(r.Evidence)
}

// count adds an observation to the counters.
func (s *state) count(kinds []probes.Kind, o probes.Observation) {
	i := kindIndex(kinds, o.Kind)
	if i < 0 || o.Outcome == probes.Aborted {
		return
	}
	s.kinds[i].results[resultOf(o.Outcome)]++
	if o.Outcome.Blames() {
		s.failed(o)
	}
	for _, v := range o.Values {
		if v.Metric.Type == probes.Counter {
			s.sumUp(o, v)
		}
	}
}

func (s *state) failed(o probes.Observation) {
	for i := range s.failures {
		if f := &s.failures[i]; f.kind == o.Kind && f.reason == o.Outcome {
			f.n++
			return
		}
	}
	s.failures = append(s.failures, failures{o.Kind, o.Outcome, 1})
}

func (s *state) sumUp(o probes.Observation, v probes.Value) {
	about := aboutOf(&o)
	for i := range s.counters {
		c := &s.counters[i]
		if c.metric == v.Metric && slices.Equal(c.labels, v.Labels) && sameLabels(v.Metric, c.about, about) {
			c.sum += v.V
			return
		}
	}
	s.counters = append(s.counters, counter{v.Metric, v.Labels, about, v.V})
}

// sameLabels reports whether the labels of m that observations fill in are the
// same for both.
func sameLabels(m *probes.Metric, o, p about) bool {
	for _, l := range m.Labels {
		switch {
		case l == "kind" && o.kind != p.kind, l == "via" && o.via != p.via, l == "name" && o.name != p.name,
			l == "resolver" && o.resolver != p.resolver, l == "address" && o.addr.Addr() != p.addr.Addr():
			return false
		}
	}
	return true
}

// forgetLanes drops counters of addresses that the evidence no longer knows.
func (s *state) forgetLanes(seen probes.Evidence) {
	s.counters = slices.DeleteFunc(s.counters, func(c counter) bool {
		if !slices.Contains(c.metric.Labels, "address") || !c.about.addr.IsValid() {
			return false
		}
		for o := range seen.All() {
			if o.Addr == c.about.addr {
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
func (s *state) clear(r agent.Round) {
	now := time.Now()
	for _, f := range s.round.Findings {
		if !f.Expected && !slices.ContainsFunc(s.cleared, func(c cleared) bool { return c.rule.ID == f.Rule.ID }) {
			s.cleared = append(s.cleared, cleared{f.Rule, now})
		}
	}
	s.cleared = slices.DeleteFunc(s.cleared, func(c cleared) bool {
		active := slices.ContainsFunc(r.Findings, func(f probes.Finding) bool { return !f.Expected && f.Rule.ID == c.rule.ID })
		return active || now.Sub(c.at) > remembered
	})
}
