package export

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// Namespace is the CloudWatch namespace of the metrics.
const Namespace = "VPCProbe"

const (
	emfQueue  = 1024        // rounds that may wait for a slow reader
	maxValues = 100         // values of one metric in one line (EMF specification)
	farewell  = time.Second // how long the end waits for a reader that does not read
)

// EMFOptions say how rounds are written. The zero value is good.
type EMFOptions struct {
	Queue int          // how many rounds may wait to be written; 1024 if 0
	Log   *slog.Logger // discarded if nil
}

// EMF is an [agent.Sink] that writes rounds in the CloudWatch embedded metric
// format: for each round a line for the target, one for each kind that ran,
// and one for each finding. Every combination of dimensions is billed as a
// metric of its own, so they are few, and none is an address or a request id:
//
//	[Target]          Reachable, PathsWorking, PathsFailing, Findings, Unknown, DaysToExpiry
//	[Target, Kind]    Failures, Duration
//	[Target, Finding] Active: 1 while it is found, once 0 when it is gone, or the target is
//
// A refusal that the configuration expects is no finding here.
// Reachable is left out while the verdict is unknown: the agent's own trouble
// is not the target's. See the CloudWatch User Guide, "Specification: Embedded
// metric format".
type EMF struct {
	w    io.Writer
	log  *slog.Logger
	loud seldom

	queue   chan written
	dropped atomic.Uint64
	failed  atomic.Uint64

	mu      sync.Mutex
	active  map[string][]string // the findings of each target's latest round
	closing []written           // of targets that were forgotten: what found no place yet
}

// written is what is to be written of a round. One without a verdict has nothing
// but what is gone.
type written struct {
	round agent.Update
	gone  []string // the findings that the round before had
}

// NewEMF returns a sink that writes to w while Run runs.
func NewEMF(w io.Writer, o EMFOptions) *EMF {
	return &EMF{
		w: w, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		queue: make(chan written, cmp.Or(max(o.Queue, 0), emfQueue)), active: map[string][]string{},
	}
}

// Record implements [agent.Sink]. A round for which there is no place is
// dropped.
func (e *EMF) Record(r agent.Update) {
	var found []string
	for _, f := range r.Findings {
		if !f.Expected && !slices.Contains(found, f.Rule.ID) {
			found = append(found, f.Rule.ID)
		}
	}
	target := r.Evidence.Target.Name
	e.mu.Lock()
	defer e.mu.Unlock()
	e.close()
	gone := slices.DeleteFunc(slices.Clone(e.active[target]), func(id string) bool { return slices.Contains(found, id) })
	if !e.enqueue(written{r, gone}) {
		return
	}
	if found == nil {
		delete(e.active, target)
	} else {
		e.active[target] = found
	}
}

// enqueue returns false if there is no place.
func (e *EMF) enqueue(w written) bool {
	select {
	case e.queue <- w:
		return true
	default:
		e.dropped.Add(1)
		e.complain("rounds are dropped, because standard output is not read fast enough", "dropped", e.dropped.Load())
		return false
	}
}

// Forget implements [agent.Forgetter]. What was found of the target is found no
// more; else an alarm might wait for ever for a word of it.
func (e *EMF) Forget(target string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if gone := e.active[target]; len(gone) > 0 {
		last := &agent.Round{Evidence: probes.Evidence{Target: &probes.Target{Name: target}}, Started: time.Now()}
		e.closing = append(e.closing, written{agent.Update{Round: last}, gone})
		e.close()
	}
	delete(e.active, target)
}

// close enqueues what is gone of forgotten targets, as far as there are places.
// Nobody would say it again, so it waits for one.
func (e *EMF) close() {
	for len(e.closing) > 0 {
		select {
		case e.queue <- e.closing[0]:
			e.closing = e.closing[1:]
		default:
			return
		}
	}
}

// Dropped returns how many rounds were not written, because the reader was too
// slow or writing failed.
func (e *EMF) Dropped() uint64 { return e.dropped.Load() + e.failed.Load() }

// Run writes what is recorded until ctx is done, and then what still waits. If
// the reader does not read, it returns a second later all the same.
func (e *EMF) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.drain(ctx)
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(farewell):
		e.log.Warn("stopped without writing all metrics: standard output is not read", "waiting", len(e.queue))
	}
}

func (e *EMF) drain(ctx context.Context) {
	for {
		select {
		case r := <-e.queue:
			e.next(r)
		case <-ctx.Done():
			for len(e.queue) > 0 {
				e.next(<-e.queue)
			}
			return
		}
	}
}

// next writes a round, in whose place another may wait.
func (e *EMF) next(r written) {
	e.mu.Lock()
	e.close()
	e.mu.Unlock()
	e.write(r)
}

// write writes the lines of a round at once.
func (e *EMF) write(r written) {
	var b bytes.Buffer
	for _, l := range r.lines() {
		b.Write(l.json())
		b.WriteByte('\n')
	}
	if _, err := e.w.Write(b.Bytes()); err != nil {
		e.failed.Add(1)
		e.complain("metrics cannot be written", "error", err)
	}
}

func (e *EMF) complain(message string, args ...any) {
	if skipped, ok := e.loud.ok(); ok {
		e.log.Warn(message, append(args, "not_logged", skipped)...)
	}
}

// lines returns the lines of a round.
func (r written) lines() []emfLine {
	var lines []emfLine
	if r.round.Verdict != "" {
		lines = append(lines, r.ofTarget())
	}
	for _, kind := range r.round.Evidence.Kinds() {
		lines = append(lines, r.ofKind(kind)...)
	}
	for _, f := range r.round.Findings {
		if f.Expected {
			continue
		}
		l := r.line("Finding", f.Rule.ID)
		l.metric("Active", "Count", 1)
		l.say("Certainty", f.Certainty.String())
		l.say("Severity", f.Rule.Severity.String())
		l.say("Title", f.Rule.Title)
		lines = append(lines, l)
	}
	for _, id := range r.gone {
		l := r.line("Finding", id)
		l.metric("Active", "Count", 0)
		lines = append(lines, l)
	}
	return lines
}

func (r written) ofTarget() emfLine {
	round := r.round
	l := r.line("", "")
	l.say("Verdict", string(round.Verdict))
	l.say("Sentence", round.Sentence())
	if round.Verdict != agent.Unknown {
		l.metric("Reachable", "Count", one(round.Verdict != agent.Unreachable))
	}
	l.metric("Unknown", "Count", one(round.Verdict == agent.Unknown))
	l.metric("PathsWorking", "Count", float64(round.Working))
	l.metric("PathsFailing", "Count", float64(round.Failing))
	l.metric("Findings", "Count", float64(errorsFound(round.Round)))
	if days, ok := daysToExpiry(round.Round); ok {
		l.metric("DaysToExpiry", "None", days)
	}
	return l
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// errorsFound counts the findings that break the target.
func errorsFound(r *agent.Round) (n int) {
	for _, f := range r.Findings {
		if f.Breaks() {
			n++
		}
	}
	return n
}

// daysToExpiry returns in how many days the first certificate expires.
// CloudWatch cannot subtract the present time from a date.
func daysToExpiry(r *agent.Round) (days float64, ok bool) {
	first := math.Inf(1)
	for o := range r.Evidence.All() {
		for _, v := range o.Values {
			if v.Name == "cert_not_after_timestamp_seconds" && v.V > 0 {
				first = min(first, v.V)
			}
		}
	}
	if math.IsInf(first, 1) {
		return 0, false
	}
	return math.Round((first-float64(r.Started.Unix()))/86400*100) / 100, true
}

// ofKind returns the lines of a kind that ran in this round, usually one.
// Lanes that callers do not take do not count.
func (r written) ofKind(kind string) []emfLine {
	failures, ran := 0, false
	var took []float64
	for _, o := range r.round.Fresh {
		if o.Kind != kind || o.Outcome != probes.OK && !o.Outcome.Blames() {
			continue // another kind's, or it says nothing about the target
		}
		if lane, ok := r.round.Evidence.Lane(o); ok && !lane.Answered {
			continue
		}
		ran = true
		switch {
		case o.Outcome.Blames():
			failures++
		case o.Took() > 0:
			took = append(took, milliseconds(o.Took()))
		}
	}
	if !ran {
		return nil
	}
	l := r.line("Kind", kind)
	l.metric("Failures", "Count", float64(failures))
	lines := []emfLine{l}
	for i, part := range slices.Collect(slices.Chunk(took, maxValues)) {
		if i > 0 {
			lines = append(lines, r.line("Kind", kind))
		}
		lines[i].metric("Duration", "Milliseconds", part...)
	}
	return lines
}

// milliseconds is a duration to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// An emfLine is a document of the embedded metric format with one directive.
type emfLine struct {
	at         time.Time
	dimensions []string
	metrics    []emfMetric
	members    map[string]any
}

type emfMetric struct {
	Name string `json:"Name"`
	Unit string `json:"Unit"`
}

// line begins a line for the round's target and a further dimension, if any.
func (r written) line(dimension, value string) emfLine {
	l := emfLine{at: r.round.Started, dimensions: []string{"Target"}, members: map[string]any{"Target": r.round.Evidence.Target.Name}}
	if dimension != "" {
		l.dimensions = append(l.dimensions, dimension)
		l.members[dimension] = value
	}
	return l
}

// metric adds a metric with one value or several.
func (l *emfLine) metric(name, unit string, values ...float64) {
	l.metrics = append(l.metrics, emfMetric{name, unit})
	if len(values) == 1 {
		l.members[name] = values[0]
		return
	}
	l.members[name] = values
}

// say adds a member that is for people who search the log, no metric and no
// dimension.
func (l *emfLine) say(name, text string) { l.members[name] = text }

func (l emfLine) json() []byte {
	type directive struct {
		Namespace  string      `json:"Namespace"`
		Dimensions [][]string  `json:"Dimensions"`
		Metrics    []emfMetric `json:"Metrics"`
	}
	l.members["_aws"] = struct {
		Timestamp         int64       `json:"Timestamp"`
		CloudWatchMetrics []directive `json:"CloudWatchMetrics"`
	}{l.at.UnixMilli(), []directive{{Namespace, [][]string{l.dimensions}, l.metrics}}}
	b, err := json.Marshal(l.members)
	if err != nil { // only numbers that JSON has not could do that, and there are none
		return []byte("{}")
	}
	return b
}
