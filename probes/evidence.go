package probes

import (
	"iter"
	"slices"
)

// Evidence is what is currently known about one target: for each kind, the
// observations of its latest run. It is immutable, so it passes to sinks and
// pages without locks. Its zero value, with a Target, is a target not yet
// walked.
type Evidence struct {
	Target *Target
	Lanes  []Lane // the lanes of the latest round

	latest []run // in the order in which the kinds first came; a handful, so that no map is quicker
}

// A run is the latest one of a kind.
type run struct {
	kind string
	obs  []Observation
}

// With returns the evidence with the observations of kind replaced. Kinds keep
// the order in which they first came.
func (e Evidence) With(kind string, obs []Observation) Evidence {
	i := slices.IndexFunc(e.latest, func(r run) bool { return r.kind == kind })
	if i < 0 {
		i = len(e.latest)
	}
	latest := make([]run, max(len(e.latest), i+1)) // not a byte more: each target keeps one
	copy(latest, e.latest)
	latest[i] = run{kind, obs}
	e.latest = latest
	return e
}

// Of returns the latest observations of one kind. Callers must not change them.
func (e Evidence) Of(kind string) []Observation {
	for i := range e.latest {
		if e.latest[i].kind == kind {
			return e.latest[i].obs
		}
	}
	return nil
}

// Kinds returns the kinds that have been run, lowest layer first.
func (e Evidence) Kinds() []string {
	var kinds []string
	for _, r := range e.latest {
		kinds = append(kinds, r.kind)
	}
	return kinds
}

// All returns every observation, lowest layer first.
func (e Evidence) All() iter.Seq[Observation] {
	return func(yield func(Observation) bool) {
		for _, r := range e.latest {
			for _, o := range r.obs {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Ended returns the observations of a kind that ended in one of the outcomes.
func (e Evidence) Ended(kind string, outcomes ...Outcome) []Observation {
	return Filter(e.Of(kind), func(o Observation) bool { return slices.Contains(outcomes, o.Outcome) })
}

// On returns the kind's observation on a lane.
func (e Evidence) On(kind string, lane Lane) (Observation, bool) {
	for _, o := range e.Of(kind) {
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
