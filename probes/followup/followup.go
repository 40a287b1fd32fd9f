// Package followup asks further where one answer has several causes: the same
// 403 Forbidden comes from at least eleven. It sends a handful of requests
// that differ from the target's own in one respect each, and leaves those
// causes that fit everything that was answered.
//
// Where an answer bears no mark of anybody, it asks for the target's control,
// if it has one: a public page of somebody else, which gets nothing that is the
// target's.
//
// It asks once per failure, never in the steady loop: every request counts in
// the API's metrics, logs, quotas and firewall rules. Only where some of that
// went unanswered it asks again, ever more rarely: failures may last, and
// refusals that are wanted do, far longer than what kept the answers back. It
// sends no body, no API key but a bogus one, at most twelve requests, each
// marked by its User-Agent, and nothing at all where follow_up is off. Where
// the wire cannot tell causes apart, it says so: all of them stay.
package followup

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

const name = "followup"

// Kind asks further.
var Kind = probes.Kind{
	Name:    name,
	Doc:     "asks further, at most twelve requests and once per failure unless they go unanswered, where an answer has several causes",
	Per:     probes.PerTarget,
	Metrics: []*probes.Metric{requests},
	Rules:   Rules,
	Reads:   "invoke", // an answer may name its cause, and then nothing is asked
	New:     New(invoke.Version()),
}

var requests = &probes.Metric{
	Name: "followup_requests_total",
	Help: "Follow-up requests sent to find out which of several causes an answer has; at most twelve per failure, and as many again, ever more rarely, if some of them go unanswered.",
	Type: probes.Counter,
}

// New returns the kind's constructor for an agent of that version.
func New(version string) func(probes.System) probes.Constructor {
	return func(sys probes.System) probes.Constructor {
		client := invoke.Clients(sys, "vpcprobe-followup/"+version, true)
		return func(t *probes.Target) (probes.Probe, error) {
			if !t.FollowUp {
				return nil, nil
			}
			c, err := client(t)
			if err != nil {
				return nil, err
			}
			control, err := newControl(sys, client, t)
			if err != nil {
				return nil, err
			}
			return &probe{client: c, system: sys, control: control}, nil
		}
	}
}

// A probe remembers the failure that it asked about, so that it asks once.
type probe struct {
	client  *invoke.Client
	system  probes.System
	control *control // nil without one

	episode string               // what is ambiguous; empty while nothing is
	learned []probes.Observation // what asking brought
	again   time.Time            // when to ask again; zero if all was answered
	wait    time.Duration        // how long after the latest time that is
}

// Probe implements [probes.Probe].
func (p *probe) Probe(ctx context.Context, seen probes.Evidence, _ *probes.Line) []probes.Observation {
	subject, episode, ok := ambiguous(seen)
	switch {
	case !ok:
		p.episode, p.learned = "", nil
		return nil
	case episode != p.episode:
		p.wait = minWait
	case p.again.IsZero() || time.Now().Before(p.again):
		return slices.Clone(p.learned)
	default:
		p.wait = min(2*p.wait, maxWait)
	}
	asked, settled := p.ask(ctx, seen, subject)
	p.episode, p.learned, p.again = episode, repeated(asked), time.Time{}
	if !settled {
		p.again = time.Now().Add(p.wait)
	}
	if ctx.Err() != nil {
		p.episode = "" // interrupted: there is more to ask next time
	}
	return asked
}

// repeated are observations without what was counted, which counts once.
func repeated(obs []probes.Observation) []probes.Observation {
	again := slices.Clone(obs)
	for i := range again {
		again[i].Values = nil
	}
	return again
}

// ambiguous returns the first answer whose causes more requests may narrow,
// and a name for the failure: it lasts while the same name forms get the same
// answers.
func ambiguous(seen probes.Evidence) (subject probes.Observation, episode string, ok bool) {
	var all []string
	for _, o := range invoke.Blamed(seen) {
		a := invoke.Of(o)
		if a == nil || a.Family == "" || a.Family == invoke.Stranger && !seen.Target.Control.Given() {
			continue // nothing that could be asked would tell
		}
		if !ok {
			subject, ok = o, true
		}
		all = append(all, string(o.Via)+" "+string(a.Family)+" "+a.Denial)
	}
	slices.Sort(all)
	for _, s := range slices.Compact(all) {
		episode += s + "; "
	}
	return subject, episode, ok
}

// The bounds of one episode.
const (
	maxRequests = 12
	maxSilences = 2 // unanswered requests after which nothing more is asked
	maxJitter   = 100 * time.Millisecond

	// How long after requests that were not all answered they are sent again:
	// twice as long each time.
	minWait = 5 * time.Minute
	maxWait = time.Hour
)

// pause spreads what many agents ask at the same time after one failure.
func pause(ctx context.Context) {
	t := time.NewTimer(rand.N(maxJitter))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
