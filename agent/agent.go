// Package agent binds kinds of probe to targets, walks the targets once or on
// schedule, and hands what it learns, one [Round] at a time, to its sinks.
//
// It knows no kind by name, renders nothing and blames nothing on a target
// that could be its own doing: what was interrupted is aborted, what panicked
// is a fault, and what came too late is counted as missed rather than queued.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"vpcprobe/probes"
)

// Options say how an agent works. The zero value is good.
type Options struct {
	// Concurrency is how many targets are walked at once; 256 if 0. A walk
	// mostly waits for the network, so this bounds memory and file
	// descriptors rather than work.
	Concurrency int
	Log         *slog.Logger // where bugs of ours are told; discarded if nil
	Version     string       // named in documents

	// Alarm makes what wakes the schedule; a timer of the runtime's if it is nil
	// or returns nil.
	Alarm func() Alarm

	// CPUTime returns the CPU time that this process has used. Without it, walks that
	// are due begin batch by batch however busy the CPU is.
	CPUTime func() time.Duration
}

// An Alarm rings some time after it was set. Set takes back what it was set to
// before, for which it may ring all the same.
type Alarm interface {
	Set(after time.Duration)
	Rings() <-chan time.Time
	Close() error
}

const defaultConcurrency = 256

// An Agent walks its targets. Its methods may be called from any goroutine.
type Agent struct {
	kinds   []probes.Kind
	bind    []probes.Constructor // by kind
	lanes   int                  // the kind that opens lanes
	judge   judge
	own     []*probes.Rule // see ownRules
	log     *slog.Logger
	limit   int
	version string
	alarm   func() Alarm
	epoch   time.Time // when the agent was made, wall clock and monotonic
	pulse   pulse
	rests   rests

	handed chan *walk    // to goroutines that wait for one; closed when no more come
	nudged chan struct{} // the schedule has changed
	pings  chan struct{} // taken by the scheduler while it is alive

	recording sync.RWMutex // held for writing while targets are replaced
	sinks     []Sink

	mu       sync.Mutex
	walks    []*walk // in the order of configuration
	idle     heap    // those waiting to fall due
	ready    queue   // those due, waiting for the gate and for one of limit places
	gate     gate
	running  int
	spare    int // goroutines that wait for a walk
	started  bool
	stopping bool
	counts   counts
	panics   map[string]int64 // when a panic was last logged, by place
	busy     sync.WaitGroup
}

// A Sink is told of every finished round. Record is called from several
// goroutines, for one target never from two at once, and must not block.
type Sink interface {
	Record(Update)
}

// A Forgetter is a [Sink] that wants to know when a target was taken out of
// the configuration, or was changed so that what was known of it is void.
type Forgetter interface {
	Forget(target string)
}

// New binds the kinds to the targets. Its errors name the target and are for
// the person who wrote the configuration.
func New(targets []*probes.Target, kinds []probes.Kind, sys probes.System, o Options) (*Agent, error) {
	a := &Agent{
		kinds:   kinds,
		judge:   newJudge(kinds),
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		limit:   cmp.Or(max(o.Concurrency, 0), defaultConcurrency),
		version: cmp.Or(o.Version, "unknown"),
		alarm:   o.Alarm,
		epoch:   time.Now(),
		handed:  make(chan *walk),
		nudged:  make(chan struct{}, 1),
		pings:   make(chan struct{}),
		gate:    gate{cpu: o.CPUTime},
	}
	if a.gate.cpu == nil {
		a.gate.cpu = func() time.Duration { return 0 }
	}
	a.pulse.now = a.now
	a.rests.nudge = a.nudge
	sys.Rest = a.rest
	a.own = ownRules(a.judge)
	a.lanes = opener(kinds)
	if len(kinds) > maxKinds {
		return nil, fmt.Errorf("%d kinds of probe are more than %d", len(kinds), maxKinds)
	}
	for _, k := range kinds {
		a.bind = append(a.bind, k.New(sys))
	}
	walks, err := a.bindAll(targets, nil)
	if err != nil {
		return nil, err
	}
	a.walks = walks
	return a, nil
}

// opener is the position of the kind that opens the lanes.
func opener(kinds []probes.Kind) int {
	return slices.IndexFunc(kinds, func(k probes.Kind) bool { return k.Lanes != nil })
}

// Reload replaces the targets, also while the agent runs. A target that did
// not change keeps its schedule and what is known of it, and is not disturbed
// if it is being walked. If Reload returns an error, nothing has changed.
func (a *Agent) Reload(targets []*probes.Target) error {
	a.mu.Lock()
	old := slices.Clone(a.walks)
	a.mu.Unlock()
	walks, err := a.bindAll(targets, old)
	if err != nil {
		return err
	}
	a.recording.Lock()
	defer a.recording.Unlock()
	for _, name := range a.replace(walks) {
		for _, s := range a.sinks {
			if f, ok := s.(Forgetter); ok {
				f.Forget(name)
			}
		}
	}
	a.nudge()
	return nil
}

// replace puts walks in the place of the present ones and returns the names of
// the targets whose walks are gone.
func (a *Agent) replace(walks []*walk) (gone []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	keep := make(map[*walk]bool, len(walks))
	for _, w := range walks {
		keep[w] = true
	}
	for _, w := range a.walks {
		if keep[w] {
			delete(keep, w)
			continue
		}
		w.gone = true
		gone = append(gone, w.target.Name)
	}
	a.walks = walks
	a.idle.prune()
	a.ready.prune()
	if a.started {
		a.schedule(slices.DeleteFunc(slices.Clone(walks), func(w *walk) bool { return !keep[w] }))
	}
	return gone
}

// bindAll prepares a walk for each target and takes over those of old whose
// target is the same.
func (a *Agent) bindAll(targets []*probes.Target, old []*walk) ([]*walk, error) {
	before := make(map[string]*walk, len(old))
	for _, w := range old {
		before[w.target.Name] = w
	}
	walks := make([]*walk, 0, len(targets))
	seen := make(map[string]bool, len(targets))
	var errs []error
	for _, t := range targets {
		if seen[t.Name] {
			errs = append(errs, fmt.Errorf("target %q: there are two of this name", t.Name))
			continue
		}
		seen[t.Name] = true
		if w := before[t.Name]; w != nil && reflect.DeepEqual(w.target, t) {
			walks = append(walks, w)
			continue
		}
		w, err := a.bindOne(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("target %q: %w", t.Name, err))
		}
		walks = append(walks, w)
	}
	return walks, errors.Join(errs...)
}

// bindOne makes a step of each kind that has something to do for the target.
// It leaves out those above the highest of them, which most of many targets
// lack.
func (a *Agent) bindOne(t *probes.Target) (*walk, error) {
	steps := make([]step, len(a.kinds))
	var errs []error
	if missing := Missing(a.kinds, t); len(missing) > 0 {
		errs = append(errs, fmt.Errorf("kinds: those listed stand on %s: list them too", strings.Join(missing, ", ")))
	}
	for i, construct := range a.bind {
		if !t.Runs(a.kinds[i].Name) {
			continue
		}
		p, err := construct(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.kinds[i].Name, err))
		}
		steps[i].probe = p
	}
	top := len(steps)
	for top > a.lanes+1 && steps[top-1].probe == nil {
		top--
	}
	return &walk{target: t, steps: slices.Clone(steps[:top])}, errors.Join(errs...)
}

// Missing returns the kinds that the target's kinds stand on and that are not
// among them: a lane is walked from its lowest step on, and without lookups
// there are no lanes.
func Missing(kinds []probes.Kind, t *probes.Target) (missing []string) {
	lanes := opener(kinds)
	top := lanes
	for i, k := range kinds {
		if t.Runs(k.Name) && k.Per == probes.PerLane {
			top = i
		}
	}
	for i, k := range kinds {
		if i <= top && (i == lanes || k.Per == probes.PerLane) && !t.Runs(k.Name) {
			missing = append(missing, k.Name)
		}
	}
	return missing
}

// Status returns the latest round of each target, in the order of the
// configuration. A target that was not walked yet has a round without
// evidence, whose verdict is unknown.
func (a *Agent) Status() []Round {
	a.mu.Lock()
	walks := a.walks
	a.mu.Unlock()
	rounds := make([]Round, len(walks))
	for i, w := range walks {
		rounds[i] = *w.round()
	}
	return rounds
}

// StatusOf returns the latest round of one target; false if there is none of
// this name.
func (a *Agent) StatusOf(target string) (Round, bool) {
	a.mu.Lock()
	walks := a.walks
	a.mu.Unlock()
	for _, w := range walks {
		if w.target.Name == target {
			return *w.round(), true
		}
	}
	return Round{}, false
}

// Check walks the named targets, or all if none is named, once and side by
// side, and returns their rounds in the order of the configuration. It tells
// progress of each step, one at a time: of one target's in the order of kinds.
// When ctx is done it stops soon and returns what was learned until then. Its
// error is an unknown name. An agent that runs must not be checked.
func (a *Agent) Check(ctx context.Context, names []string, progress func(Step)) ([]Round, error) {
	walks, err := a.named(names)
	if err != nil {
		return nil, err
	}
	var telling sync.Mutex
	tellOf := func(position int) func(Step) {
		return func(s Step) {
			telling.Lock()
			defer telling.Unlock()
			s.Position = position
			progress(s)
		}
	}
	defer a.pulse.start(ctx)()
	rounds := make([]Round, len(walks))
	places := make(chan struct{}, a.limit)
	var wg sync.WaitGroup
	for i, w := range walks {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			rounds[i] = a.stride(ctx, tellOf(i)).walkAll(w.once())
		})
	}
	wg.Wait()
	return rounds, nil
}

// named returns the walks of the named targets, all if none is named.
func (a *Agent) named(names []string) ([]*walk, error) {
	if len(names) == 0 {
		return a.walks, nil
	}
	var errs []error
	for _, name := range names {
		if !slices.ContainsFunc(a.walks, func(w *walk) bool { return w.target.Name == name }) {
			errs = append(errs, fmt.Errorf("no target is called %q", name))
		}
	}
	wanted := func(w *walk) bool { return slices.Contains(names, w.target.Name) }
	walks := slices.DeleteFunc(slices.Clone(a.walks), func(w *walk) bool { return !wanted(w) })
	return walks, errors.Join(errs...)
}
