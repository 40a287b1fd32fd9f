package metrics

import (
	"slices"
	"strings"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

const prefix = "vpcprobe_"

const phaseHistogramHelp = "How long the phases of probes took, in seconds; a native histogram, shown if metrics.native_histograms is set."

// The types of family.
type familyType int

const (
	gauge familyType = iota
	counterType
	histogram
)

func (t familyType) String() string { return [...]string{"gauge", "counter", "histogram"}[t] }

// A family is a metric with a name, as /metrics knows it. Exactly one of
// ofTarget and ofAgent adds its samples.
type family struct {
	name   string // with the prefix
	help   string
	typ    familyType
	labels []string
	sorted []int    // the positions of labels in the order of their names
	leads  []string // what is written before their values, in that order
	end    string   // what is written after them
	kinds  []string // the kinds whose declaration it is, if any

	ofTarget func(*state, *samples)
	ofAgent  func(*samples)
}

// allFamilies are those of the agent, those of targets, and those that the
// kinds declare.
func (m *Metrics) allFamilies() []*family {
	families := slices.Concat(m.agentFamilies(), m.ownFamilies(), m.targetFamilies())
	for _, k := range m.kinds {
		for _, metric := range k.Metrics {
			name := prefix + metric.Name
			i := slices.IndexFunc(families, func(f *family) bool { return f.name == name })
			if i >= 0 { // kinds may share a metric
				families[i].kinds = append(families[i].kinds, k.Name)
				continue
			}
			families = append(families, declared(metric, k.Name))
		}
	}
	slices.SortFunc(families, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		for i := range f.labels {
			f.sorted = append(f.sorted, i)
		}
		slices.SortFunc(f.sorted, func(i, j int) int { return strings.Compare(f.labels[i], f.labels[j]) })
		f.end = " "
		for n, i := range f.sorted {
			lead := `",`
			if n == 0 {
				lead = "{"
			}
			f.leads = append(f.leads, lead+f.labels[i]+`="`)
			f.end = `"} `
		}
	}
	return families
}

// declared is the family of a kind's own metric.
func declared(m *probes.Metric, kind string) *family {
	f := &family{
		name: prefix + m.Name, help: m.Help, typ: gauge, kinds: []string{kind},
		labels: slices.Concat([]string{"target"}, m.Labels),
	}
	if m.Type == probes.Counter {
		f.typ = counterType
		f.ofTarget = func(s *state, out *samples) {
			for i := range s.counters {
				if c := &s.counters[i]; c.metric == m {
					out.counter(s.target.Name, c)
				}
			}
		}
		return f
	}
	f.ofTarget = func(s *state, out *samples) {
		for _, kind := range f.kinds {
			obs := s.latest.Evidence.Of(kind)
			for i := range obs {
				for j := range obs[i].Values {
					if v := &obs[i].Values[j]; v.Metric == m {
						out.reading(s.target.Name, &obs[i], v)
					}
				}
			}
		}
	}
	return f
}

// targetFamilies are those that every target has.
func (m *Metrics) targetFamilies() []*family {
	return slices.Concat(m.walkFamilies(), m.probeFamilies(), m.findingFamilies())
}

// walkFamilies tell of whole walks.
func (m *Metrics) walkFamilies() []*family {
	return []*family{{
		name: prefix + "verdict", labels: []string{"target", "verdict"},
		help: "The verdict of the target's latest walk: reachable, degraded, unreachable or unknown. The value is always 1; there is one series per target.",
		ofTarget: func(s *state, out *samples) {
			if s.latest.Verdict != "" {
				out.add(1, s.target.Name, string(s.latest.Verdict))
			}
		},
	}, {
		name: prefix + "walks_total", typ: counterType, labels: []string{"target", "verdict"},
		help: "Walks of the target, by their verdict. A verdict appears at its first occurrence, but unreachable with the first walk, so that the first outage is not lost to rates.",
		ofTarget: func(s *state, out *samples) {
			for i, n := range s.walks {
				if v := agent.Verdicts[i]; n > 0 || v == agent.Unreachable {
					out.add(float64(n), s.target.Name, string(v))
				}
			}
		},
	}, {
		name: prefix + "walk_duration_seconds", typ: histogram, labels: []string{"target"},
		help:     "How long walks of the target took from the first to the last step, in seconds.",
		ofTarget: func(s *state, out *samples) { out.histogram(s.took[:], s.sum, s.target.Name) },
	}, {
		name: prefix + "last_run_timestamp_seconds", labels: []string{"target"},
		help:     "When the latest walk of the target ended, in Unix time.",
		ofTarget: func(s *state, out *samples) { out.milliseconds(s.lastRun(), s.target.Name) },
	}, {
		name: prefix + "last_success_timestamp_seconds", labels: []string{"target"},
		help:     "When the target was last found reachable, in Unix time. Absent if it never was.",
		ofTarget: func(s *state, out *samples) { out.milliseconds(s.lastSuccess, s.target.Name) },
	}}
}

// probeFamilies tell of the kinds of probe.
func (m *Metrics) probeFamilies() []*family {
	return []*family{{
		name: prefix + "success", labels: []string{"target", "kind"},
		help: "Whether the latest run of the kind of probe went well everywhere that callers go (1) or not (0). Absent if there was nothing to try: what a lower layer broke is not held against a higher one.",
		ofTarget: func(s *state, out *samples) {
			for _, k := range s.kinds {
				if k.known {
					out.add(float64(failure-k.latest), s.target.Name, m.kinds[k.kind].Name)
				}
			}
		},
	}, {
		name: prefix + "probes_total", typ: counterType, labels: []string{"target", "kind", "result"},
		help: "Observations by kind of probe and result: success, failure, skipped (a lower layer gave nothing to work on) or fault (the agent's own trouble). A result appears at its first occurrence.",
		ofTarget: func(s *state, out *samples) {
			for _, k := range s.kinds {
				for r, n := range k.results {
					if n > 0 {
						out.add(float64(n), s.target.Name, m.kinds[k.kind].Name, resultNames[r])
					}
				}
			}
		},
	}, {
		name: prefix + "failures_total", typ: counterType, labels: []string{"target", "kind", "reason"},
		help: "Observations that failed, by kind of probe and outcome. A reason appears at its first occurrence.",
		ofTarget: func(s *state, out *samples) {
			for _, f := range s.past().failures {
				out.add(float64(f.n), s.target.Name, f.kind, string(f.reason))
			}
		},
	}, {
		name: prefix + "phase_seconds", labels: []string{"target", "via", "address", "phase"},
		help:     "How long each phase lasted in the latest walk, in seconds, by name form and address: resolve (without an address; the slowest lookup), connect, credentials, tls, processing, transfer.",
		ofTarget: m.phaseSeconds,
	}}
}

// findingFamilies tell what it means.
func (m *Metrics) findingFamilies() []*family {
	return []*family{{
		name: prefix + "finding", labels: []string{"target", "finding", "severity"},
		help: "A root cause that the evidence points to: 3 certain, 2 likely, 1 possible. 0 for an hour after it cleared, then absent. A refusal that the configuration expects is not shown.",
		ofTarget: func(s *state, out *samples) {
			for _, f := range s.latest.Findings {
				if !f.Expected {
					out.add(float64(f.Certainty), s.target.Name, f.Rule.ID, f.Rule.Severity.String())
				}
			}
			for _, c := range s.past().cleared {
				out.add(0, s.target.Name, c.rule.ID, c.rule.Severity.String())
			}
		},
	}}
}

// phaseSeconds adds the phases of lookups and of the steps on lanes. Where two
// steps report the same phase of a lane, or two resolvers were asked, the
// slower counts.
func (m *Metrics) phaseSeconds(s *state, out *samples) {
	for _, k := range m.kinds {
		obs := s.latest.Evidence.Of(k.Name)
		for i := range obs {
			o := &obs[i]
			if o.Resolver == "" && k.Per != probes.PerLane {
				continue
			}
			address := ""
			if o.Resolver == "" {
				address = addressText(o.Addr)
			}
			for _, p := range o.Phases {
				out.most(p.Took.Seconds(), s.target.Name, string(o.Via), address, p.Name)
			}
		}
	}
}

// agentFamilies are those of the agent itself.
func (m *Metrics) agentFamilies() []*family {
	families := []*family{{
		name: prefix + "build_info", labels: []string{"version", "goversion"},
		help:    "The version of vpcprobe and of the Go that built it. The value is always 1.",
		ofAgent: func(out *samples) { out.add(1, m.version, goVersion()) },
	}, {
		name:    prefix + "config_last_reload_successful",
		help:    "Whether the latest attempt to load the configuration was successful (1) or not (0), in which case the one before stays in force.",
		ofAgent: func(out *samples) { m.reload(func(ok bool, _ time.Time) { out.add(b2f(ok)) }) },
	}, {
		name:    prefix + "config_last_reload_success_timestamp_seconds",
		help:    "When the configuration in force was loaded, in Unix time.",
		ofAgent: func(out *samples) { m.reload(func(_ bool, at time.Time) { out.timestamp(at) }) },
	}}
	for _, f := range []struct {
		name, help string
		typ        familyType
		of         func(agent.Stats) float64
	}{
		{"targets", "How many targets are configured.", gauge, func(s agent.Stats) float64 { return float64(s.Targets) }},
		{"in_flight", "How many targets are being walked.", gauge, func(s agent.Stats) float64 { return float64(s.InFlight) }},
		{"scheduler_waiting", "How many targets are due and wait: for CPU time, or for one of the places, of which there are as many as concurrency says.", gauge, func(s agent.Stats) float64 { return float64(s.Waiting) }},
		{"scheduler_lag_seconds", "The longest that a walk began after it fell due, in the last minute, in seconds.", gauge, func(s agent.Stats) float64 { return s.Lag.Seconds() }},
		{"scheduler_runs_total", "Walks that were begun.", counterType, func(s agent.Stats) float64 { return float64(s.Runs) }},
		{"scheduler_late_runs_total", "Walks that were begun more than 25 ms after they fell due.", counterType, func(s agent.Stats) float64 { return float64(s.Late) }},
		{"scheduler_missed_runs_total", "Walks that were left out because the one before was still under way. They are not made up for.", counterType, func(s agent.Stats) float64 { return float64(s.Missed) }},
	} {
		families = append(families, &family{name: prefix + f.name, help: f.help, typ: f.typ, ofAgent: func(out *samples) {
			if m.stats != nil {
				out.add(f.of(m.stats()))
			}
		}})
	}
	return families
}

func (m *Metrics) reload(tell func(ok bool, at time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tell(m.reloadOK, m.reloadedAt)
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
