package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"vpcprobe/probes"
)

const (
	beat   = 500 * time.Millisecond
	heldUp = time.Second // how much too late a beat must be
)

// A pulse notices when this process was held up: stopped, frozen with its
// container, or without a CPU. Then a peer that seems silent may have answered,
// and one that hung up may have waited long enough.
type pulse struct {
	now func() int64

	mu     sync.Mutex
	due    int64 // when the next beat is meant to be; 0 while there are none
	to     int64 // the end of the latest time that the process was held up,
	lasted int64 // and how long that was
}

// start lets it beat until stop is called. What comes after start is noticed.
func (p *pulse) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.set(p.now() + int64(beat))
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	return func() { cancel(); running.Wait() }
}

func (p *pulse) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.set(0)
			return
		case <-timer.C:
		}
		p.slept()
		next := time.Until(probes.AfterGrid(time.Now().Add(beat)))
		p.set(p.now() + int64(next))
		timer.Reset(next)
	}
}

func (p *pulse) set(due int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = due
}

// slept notes if the beat that is due is much too late.
func (p *pulse) slept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if late := now - p.due; p.due > 0 && late > int64(heldUp) {
		p.to, p.lasted = now, late
	}
}

// since returns how long the process was held up since a moment, 0 if it was
// not. Whoever asks may be the first to notice.
func (p *pulse) since(moment int64) time.Duration {
	p.slept()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.to <= moment {
		return 0
	}
	return time.Duration(p.lasted)
}

// doubt turns what a delay of ours may look like into a fault of ours, if this
// process was held up since the step began.
func (p *pulse) doubt(obs []probes.Observation, began time.Time) {
	for i := range obs {
		o := &obs[i]
		switch o.Outcome {
		case probes.Timeout, probes.Reset, probes.Closed, probes.Rejected:
		default:
			continue
		}
		if d := p.since(p.now() - int64(time.Since(began))); d > 0 {
			o.Err = fmt.Errorf("this process was held up for %v, so that says nothing: %s: %w", d.Round(time.Millisecond), o.Outcome, o.Err)
			o.Outcome, o.Values, o.Detail = probes.Fault, nil, nil
		}
	}
}
