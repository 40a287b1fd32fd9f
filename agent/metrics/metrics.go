// Package metrics shows rounds to Prometheus.
//
// What the targets are like is read from their latest rounds, so an address
// that leaves the DNS leaves /metrics with it; only counters and histograms
// keep state. The families that every target has are rendered by an encoder of
// this package, because there may be hundreds of thousands of series; the rest
// is in a client_golang registry beside it.
//
// Raw error text is no label, here or anywhere: labels come from closed sets
// or from the configuration.
package metrics

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// Options say what is shown beside the rounds.
type Options struct {
	Version string
	Stats   func() agent.Stats // the agent's, for the scheduler's families; may be nil

	// Native adds native histograms of the phases. They are exact at any
	// scale and cost some 7 kB for each phase of a target.
	Native bool
}

// Metrics is an [agent.Sink] and a [prometheus.Gatherer] of what it records.
type Metrics struct {
	// Own says how the exporters and the endpoint are doing. It may be set
	// before metrics are served.
	Own Own

	kinds    []probes.Kind
	stats    func() agent.Stats
	version  string
	families []*family
	registry registry
	encoders sync.Pool

	recording sync.RWMutex // guards what is in the states

	mu         sync.Mutex
	states     map[string]*state // by target
	sorted     []*state          // the same by name; nil if it must be made anew
	reloadOK   bool
	reloadedAt time.Time
}

// New returns the metrics of rounds of the kinds.
func New(kinds []probes.Kind, o Options) *Metrics {
	m := &Metrics{
		kinds: kinds, stats: o.Stats, version: cmp.Or(o.Version, "unknown"), registry: newRegistry(o),
		reloadOK: true, reloadedAt: time.Now(), states: map[string]*state{},
	}
	m.families = m.allFamilies()
	m.encoders.New = func() any { return newEncoder(&m.recording) }
	return m
}

// Reloaded notes whether the configuration could be loaded again.
func (m *Metrics) Reloaded(ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reloadOK = ok
	if ok {
		m.reloadedAt = time.Now()
	}
}

// Record implements [agent.Sink].
func (m *Metrics) Record(u agent.Update) {
	m.record(u)
	for _, o := range u.Fresh {
		if !m.timed(o) {
			continue
		}
		for _, p := range o.Phases {
			m.registry.observe(u.Evidence.Target.Name, p)
		}
	}
}

func (m *Metrics) record(r agent.Update) {
	s := m.state(r.Evidence.Target)
	m.recording.Lock()
	defer m.recording.Unlock()
	s.record(m.kinds, r)
}

// Forget implements [agent.Forgetter].
func (m *Metrics) Forget(target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, target)
	m.sorted = nil
	m.registry.forget(target)
}

// state returns what is kept of a target.
func (m *Metrics) state(target *probes.Target) *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.states[target.Name]
	if s == nil {
		s = newState(target, m.kinds)
		m.states[target.Name], m.sorted = s, nil
	}
	return s
}

// shown returns the families that may have samples: those of kinds that no
// target runs have none, and looking into each target would show no more.
func (m *Metrics) shown(states []*state) []*family {
	run := make([]bool, len(m.kinds))
	for _, s := range states {
		for i := range s.kinds {
			run[s.kinds[i].kind] = true // which never changes; the rest of it is guarded
		}
	}
	of := func(kind string) bool { return run[kindIndex(m.kinds, kind)] }
	return slices.DeleteFunc(slices.Clone(m.families), func(f *family) bool {
		return len(f.kinds) > 0 && !slices.ContainsFunc(f.kinds, of)
	})
}

// all returns the states by name. The list is never changed in place: a scrape
// may be reading it.
func (m *Metrics) all() []*state {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sorted == nil {
		m.sorted = slices.SortedFunc(maps.Values(m.states), func(a, b *state) int { return cmp.Compare(a.target.Name, b.target.Name) })
	}
	return m.sorted
}

// timed reports whether an observation's phases are those of callers: of
// lookups and of steps on lanes.
func (m *Metrics) timed(o probes.Observation) bool {
	if o.Resolver != "" {
		return true
	}
	i := kindIndex(m.kinds, o.Kind)
	return i >= 0 && m.kinds[i].Per == probes.PerLane
}

func kindIndex(kinds []probes.Kind, name string) int {
	for i := range kinds {
		if kinds[i].Name == name {
			return i
		}
	}
	return -1
}

func goVersion() string { return runtime.Version() }
