package probes

import (
	"iter"
	"maps"
	"slices"
)

// Evidence is what is currently known about one target: for each kind, the
// observations of its latest run. It is immutable, so it passes to sinks and
// pages without locks. Its zero value, with a Target, is a target not yet
// walked.
type Evidence struct {
	Target *Target
	Lanes  []Lane // the lanes of the latest round

	latest map[string][]Observation
	order  []string
}

// With returns the evidence with the observations of kind replaced. Kinds keep
// the order in which they first came.
func (e Evidence) With(kind string, obs []Observation) Evidence {
	latest := maps.Clone(e.latest)
	if latest == nil {
		latest = map[string][]Observation{}
	}
	if _, ok := latest[kind]; !ok {
		e.order = append(slices.Clip(e.order), kind)
	}
	latest[kind] = obs
	e.latest = latest
	return e
}

// Of returns the latest observations of one kind. Callers must not change them.
func (e Evidence) Of(kind string) []Observation { return e.latest[kind] }

// Kinds returns the kinds that have been run, lowest layer first.
func (e Evidence) Kinds() []string { return slices.Clone(e.order) }

// All returns every observation, lowest layer first.
func (e Evidence) All() iter.Seq[Observation] {
	return func(yield func(Observation) bool) {
		for _, kind := range e.order {
			for _, o := range e.latest[kind] {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Ended returns the observations of a kind that ended in one of the outcomes.
func (e Evidence) Ended(kind string, outcomes ...Outcome) []Observation {
	return Filter(e.latest[kind], func(o Observation) bool { return slices.Contains(outcomes, o.Outcome) })
}

// On returns the kind's observation on a lane.
func (e Evidence) On(kind string, lane Lane) (Observation, bool) {
	for _, o := range e.latest[kind] {
		if o.On(lane) {
			return o, true
		}
	}
	return Observation{}, false
}

// Lane returns the lane on which an observation was made.
func (e Evidence) Lane(o Observation) (Lane, bool) {
	for _, lane := range e.Lanes {
		if o.On(lane) {
			return lane, true
		}
	}
	return Lane{}, false
}

// Filter returns the observations that keep accepts, in order.
func Filter(obs []Observation, keep func(Observation) bool) []Observation {
	var kept []Observation
	for _, o := range obs {
		if keep(o) {
			kept = append(kept, o)
		}
	}
	return kept
}
