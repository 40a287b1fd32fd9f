package agent

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vpcprobe/probes"
)

const (
	maxKinds = 64 // the width of a set of kinds

	// Kinds bound each operation by the target's timeout themselves. The agent
	// bounds a whole step, which may be several operations: on a lane it dials,
	// shakes hands, fetches credentials and asks; once per target it may do more.
	lanePatience   = 4
	targetPatience = 20
)

// A walk is a target bound to the kinds. While it is idle, it is all that the
// agent keeps of the target beside its latest round.
type walk struct {
	target *probes.Target
	steps  []step // by kind
	latest atomic.Pointer[Round]
	wake   int64 // when its next step falls due
	gone   bool  // taken out of the configuration

	failing bool // after the latest walk
}

// A step is a kind bound to a target, and when it falls due. Times are those
// of [Agent.now]; never is the due time of a kind that has nothing to do.
type step struct {
	probe probes.Probe
	due   int64
}

const never = math.MaxInt64

// round returns the latest round of the target.
func (w *walk) round() *Round {
	if r := w.latest.Load(); r != nil {
		return r
	}
	return &Round{Evidence: probes.Evidence{Target: w.target}, Verdict: Unknown}
}

// once returns a copy of the walk, of which nothing is known and all is due.
func (w *walk) once() *walk {
	c := &walk{target: w.target, steps: slices.Clone(w.steps)}
	for i := range c.steps {
		c.steps[i].due = 0
	}
	return c
}

// A set is a set of kinds, by their position.
type set uint64

func (s set) has(i int) bool { return s&(1<<i) != 0 }
func (s *set) add(i int)     { *s |= 1 << i }

// below reports whether the set has a kind below i.
func (s set) below(i int) bool { return s&(1<<i-1) != 0 }

// A stride is a walk in progress, and then another: each goroutine that walks has
// one. What its mutex guards is shared by the goroutines of the lanes and the one
// of the kinds that run once per target.
type stride struct {
	*Agent
	*walk
	ctx    context.Context
	tell   func(Step)      // may be nil
	before probes.Evidence // what was known, with the lanes of this round

	mu      sync.Mutex
	moved   sync.Cond              // settled has grown
	settled set                    // the kinds that have run, or will not run
	ran     set                    // the kinds that have run
	changed set                    // those whose observations differ from the ones before
	obs     [][]probes.Observation // by kind
	told    int                    // the kinds whose step was told
}

func (a *Agent) stride(ctx context.Context, tell func(Step)) *stride {
	s := &stride{Agent: a, ctx: ctx, tell: tell, obs: make([][]probes.Observation, len(a.kinds))}
	s.moved.L = &s.mu
	return s
}

// begin takes a walk, of which nothing has been done yet.
func (s *stride) begin(w *walk) {
	s.walk, s.before = w, w.round().Evidence
	s.settled, s.ran, s.changed, s.told = 0, 0, 0, 0
	clear(s.obs)
	for i := range w.steps {
		if w.steps[i].probe == nil {
			s.settled.add(i)
		}
	}
}

// walkAll runs the steps that are due by the walk's wake time, lowest layer
// first, and those above a step whose observations changed.
func (s *stride) walkAll(w *walk) Round {
	s.begin(w)
	probes.InStep()
	last := s.round()
	r := Round{Started: time.Now(), Since: last.Since}
	s.run()
	r.Evidence = s.view(len(s.obs))
	r.Findings = s.diagnose(r.Evidence, s.ctx.Err() != nil)
	s.judge.verdict(&r)
	if r.Verdict != last.Verdict || r.Since.IsZero() {
		r.Since = r.Started
	}
	r.Took = time.Since(r.Started)
	return r
}

// run walks up to the kind that opens lanes, and then the lanes and the kinds
// that run once per target side by side.
func (s *stride) run() {
	s.targetSteps(0, s.lanes+1)
	s.open()
	rest := s.lanes + 1
	if !s.hasTargetSteps(rest) {
		s.laneSteps(rest)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.targetSteps(rest, len(s.steps)) })
	s.laneSteps(rest)
	wg.Wait()
}

func (s *stride) hasTargetSteps(from int) bool {
	for i := from; i < len(s.steps); i++ {
		if s.kinds[i].Per == probes.PerTarget && s.steps[i].probe != nil {
			return true
		}
	}
	return false
}

// targetSteps runs the kinds that run once per target, one after the other,
// each when all kinds below it are done.
func (s *stride) targetSteps(from, to int) {
	for i := from; i < to; i++ {
		if s.kinds[i].Per != probes.PerTarget || s.steps[i].probe == nil {
			continue
		}
		if changed := s.await(i); !s.due(i, changed) {
			s.settle(i, false, nil)
			continue
		}
		s.settle(i, true, s.probe(i, s.view(i), nil))
	}
}

// open asks which lanes there are. Other lanes are other ground, as if the
// observations of the kind that opens them had changed.
func (s *stride) open() {
	if s.lanes < 0 || !s.ran.has(s.lanes) {
		return
	}
	var lanes []probes.Lane
	s.containIn(func() string { return "lanes of " + s.kinds[s.lanes].Name }, func() { lanes = s.kinds[s.lanes].Lanes(s.view(s.lanes + 1)) })
	if !alike(lanes, s.before.Lanes, func(a, b probes.Lane) bool { return a == b }) {
		s.changed.add(s.lanes)
	}
	s.before.Lanes = lanes
}

// laneSteps runs the kinds that run once per lane, in groups of neighbors that
// are due. Between groups all lanes meet, because what one of them saw may
// make the next kinds due on all.
func (s *stride) laneSteps(from int) {
	for i := from; i < len(s.steps); i++ {
		if s.kinds[i].Per != probes.PerLane || s.steps[i].probe == nil {
			continue
		}
		group := s.group(i)
		if len(group) == 0 {
			s.settle(i, false, nil)
			continue
		}
		s.walkLanes(group)
		i = group[len(group)-1]
	}
}

// group returns the kinds from i on that lanes walk together, on one
// connection: up to the first that is not due.
func (s *stride) group(i int) (group []int) {
	s.mu.Lock()
	changed := s.changed
	s.mu.Unlock()
	for j := range s.kinds { // a trace that runs beside has no say in what is due now
		if j > s.lanes && s.kinds[j].Per == probes.PerTarget {
			changed &^= 1 << j
		}
	}
	for ; i < len(s.steps); i++ {
		if s.kinds[i].Per != probes.PerLane || s.steps[i].probe == nil {
			continue
		}
		if !s.due(i, changed) {
			break
		}
		group = append(group, i)
	}
	return group
}

// due reports whether a step is due, or stands on ground that has changed.
func (s *stride) due(i int, changed set) bool {
	return s.steps[i].due <= s.wake || changed.below(i)
}

// walkLanes runs a group of kinds on all lanes, side by side.
func (s *stride) walkLanes(group []int) {
	lanes := s.before.Lanes
	if len(lanes) == 0 {
		for _, i := range group {
			s.settle(i, true, complete(s.kinds[i].Name, probes.Skip(""), nil, time.Now()))
		}
		return
	}
	base := s.view(group[0])
	t := &tally{left: make([]int, len(group)), obs: make([][][]probes.Observation, len(group))}
	for n := range group {
		t.left[n] = len(lanes)
		t.obs[n] = make([][]probes.Observation, len(lanes))
	}
	var wg sync.WaitGroup
	for l, lane := range lanes[1:] {
		wg.Go(func() { s.walkLane(group, base, t, l+1, lane) })
	}
	s.walkLane(group, base, t, 0, lanes[0])
	wg.Wait()
}

// A tally collects the observations of a group of kinds, by kind and lane.
type tally struct {
	sync.Mutex
	left []int
	obs  [][][]probes.Observation
}

// add returns true when the kind has run on all lanes.
func (t *tally) add(n, lane int, obs []probes.Observation) bool {
	t.Lock()
	defer t.Unlock()
	t.obs[n][lane] = obs
	t.left[n]--
	return t.left[n] == 0
}

// joined makes one list of several, without a copy if there is but one.
func joined(lists [][]probes.Observation) []probes.Observation {
	for i, l := range lists {
		if len(l) == 0 {
			continue
		}
		for _, m := range lists[i+1:] {
			if len(m) > 0 {
				return slices.Concat(lists...)
			}
		}
		return l
	}
	return nil
}

// fresh are the observations that began in a walk. Kinds may repeat what they
// remember of earlier ones, which was counted then. Mostly there is no such, and
// no copy is made.
func fresh(obs []probes.Observation, started time.Time) []probes.Observation {
	for i := range obs {
		if obs[i].Start.Before(started) {
			return probes.Filter(obs, func(o probes.Observation) bool { return !o.Start.Before(started) })
		}
	}
	return obs
}

// walkLane runs a group of kinds on one lane. Of the other lanes each step
// sees only what was known before the group began: what it sees does not
// depend on which lane is faster.
func (s *stride) walkLane(group []int, seen probes.Evidence, t *tally, l int, lane probes.Lane) {
	line := &probes.Line{Lane: lane}
	defer s.contain("closing a connection", line.Close)
	for n, i := range group {
		line.More = n+1 < len(group)
		obs := s.probe(i, seen, line)
		if line.More {
			seen = seen.With(s.kinds[i].Name, obs)
		}
		if t.add(n, l, obs) {
			s.settle(i, true, joined(t.obs[n]))
		}
	}
}

// probe runs one step. A step that the end of the context interrupted has
// learned nothing bad about the target.
func (s *stride) probe(i int, seen probes.Evidence, line *probes.Line) (obs []probes.Observation) {
	defer probes.InStep()
	start := time.Now()
	kind := &s.kinds[i]
	if s.ctx.Err() != nil {
		obs = []probes.Observation{{Outcome: probes.Aborted, Err: context.Cause(s.ctx)}}
		return complete(kind.Name, obs, line, start)
	}
	ctx, release := s.within(kind, start)
	defer release()
	err := s.containIn(func() string { return "probe " + kind.Name }, func() { obs = s.steps[i].probe.Probe(ctx, seen, line) })
	if err != nil {
		obs = []probes.Observation{{Outcome: probes.Fault, Err: err}}
	}
	obs = complete(kind.Name, obs, line, start)
	s.pulse.doubt(obs, start)
	if s.ctx.Err() == nil {
		return obs
	}
	for i := range obs {
		if obs[i].Outcome.Blames() {
			obs[i].Outcome = probes.Aborted
		}
	}
	return obs
}

// within returns the context of one call of a probe.
func (s *stride) within(kind *probes.Kind, start time.Time) (_ context.Context, release func()) {
	if kind.Punctual {
		return probes.Until(s.ctx, start.Add(s.bound(kind))), func() {}
	}
	return context.WithTimeout(s.ctx, s.bound(kind))
}

// bound is how long one call of a probe may take.
func (s *stride) bound(kind *probes.Kind) time.Duration {
	timeout := s.target.StepTimeout()
	if kind.Per == probes.PerTarget {
		return targetPatience * timeout
	}
	return lanePatience * timeout
}

var errNoOutcome = errors.New("the probe gave no outcome; please report this")

// complete fills in what probes leave to the agent.
func complete(kind string, obs []probes.Observation, line *probes.Line, start time.Time) []probes.Observation {
	for i := range obs {
		o := &obs[i]
		o.Kind = kind
		if o.Start.IsZero() {
			o.Start = start
		}
		if o.Outcome == "" {
			o.Outcome, o.Err = probes.Fault, errNoOutcome
		}
		if line == nil {
			continue
		}
		if o.Via == "" {
			o.Via = line.Via
		}
		if o.Name == "" {
			o.Name = line.ServerName
		}
		if !o.Addr.IsValid() {
			o.Addr = line.Addr
		}
	}
	return obs
}

// await waits until all kinds below i are done, and returns the kinds whose
// observations have changed until then.
func (s *stride) await(i int) set {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := set(1)<<i - 1
	for s.settled&all != all {
		s.moved.Wait()
	}
	return s.changed
}

// settle notes that a kind has run, or that it will not, and tells of the
// steps that can be told in order.
func (s *stride) settle(i int, ran bool, obs []probes.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled.add(i)
	if ran {
		s.ran.add(i)
		s.obs[i] = obs
		if !alike(obs, s.before.Of(s.kinds[i].Name), probes.Observation.Agrees) {
			s.changed.add(i)
		}
	}
	s.moved.Broadcast()
	for ; s.told < len(s.steps) && s.settled.has(s.told); s.told++ {
		if s.tell != nil && s.ran.has(s.told) {
			s.tell(Step{
				Target: s.target, Kind: s.kinds[s.told].Name, Observations: s.obs[s.told],
				Lanes: s.before.Lanes, Last: s.told == s.last(),
			})
		}
	}
}

// last is the highest kind that has something to do for the target.
func (s *stride) last() int {
	i := len(s.steps) - 1
	for i >= 0 && s.steps[i].probe == nil {
		i--
	}
	return i
}

// view is the evidence as a step of kind i sees it: this round's observations
// of the kinds below it, and what was known of the others.
func (s *stride) view(i int) probes.Evidence {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.before
	for j := range i {
		if s.ran.has(j) {
			seen = seen.With(s.kinds[j].Name, s.obs[j])
		}
	}
	return seen
}

// alike reports whether two lists have the same elements in any order: which
// lookup or lane came first means nothing.
func alike[T any](a, b []T, equal func(T, T) bool) bool {
	if len(a) != len(b) {
		return false
	}
	for len(a) > 0 && equal(a[0], b[0]) { // mostly they are in the same
		a, b = a[1:], b[1:]
	}
	left := slices.Clone(b)
	for _, x := range a {
		i := slices.IndexFunc(left, func(y T) bool { return equal(x, y) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}
