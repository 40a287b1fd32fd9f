package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"
)

// grid is the agent's: its walks fall due on multiples of it.
const grid = 25 * time.Millisecond

// lateness measures how well 100 targets at one second keep their times, by
// when they were reached: of one peer after the other, and then of all again.
// That window of a peer counts which was disturbed least: see [bench.costsOf].
func (b *bench) lateness() error {
	rows := []row{
		{figure: "lateness p50, 100 TCP targets at 1 s", unit: "ms", goal: 0.7},
		{figure: "lateness p99, 100 TCP targets at 1 s", unit: "ms", goal: 2},
		{figure: "probes in the busiest 100 ms, of 10 on average", goal: 20},
	}
	best, errs := make([]kept, len(b.peers)), make([]error, len(b.peers))
	for turn := range map[bool]int{true: 1, false: 3}[b.quick] {
		for i, p := range b.peers {
			stamps, err := b.arrivals(p, job{layer: tcpLayer, targets: 100, every: time.Second})
			k := punctuality(stamps, time.Second)
			fmt.Fprintf(os.Stderr, "%s, lateness: p50 %.2f ms, p99 %.2f ms\n", p.name, k.late(0.5), k.late(0.99))
			if err != nil {
				errs[i] = err
			}
			if turn == 0 || k.late(0.99) < best[i].late(0.99) {
				best[i] = k
			}
		}
	}
	for i, p := range b.peers {
		k := best[i]
		fill([]*row{&rows[0], &rows[1], &rows[2]}, p.driven("with that of its driver"), errs[i], k.late(0.5), k.late(0.99), k.peak)
	}
	b.table.note("lateness is that behind each target's own best-fit grid; behind the moments that the agent means to keep (multiples of 25 ms) it is p50 %.2f ms, p99 %.2f ms",
		quantile(best[0].behindGrid, 0.5), quantile(best[0].behindGrid, 0.99))
	for _, r := range rows {
		b.table.add(r)
	}
	return nil
}

// arrivals is when a settled peer reaches its targets.
func (b *bench) arrivals(p *peer, j job) ([]stamp, error) {
	pr, err := b.put(p, j)
	if err != nil {
		return nil, err
	}
	defer pr.end()
	pr.settle(1500 * time.Millisecond)
	b.farm.tell("keep " + string(j.layer))
	time.Sleep(b.short(4*time.Second, 20*time.Second))
	t, err := b.farm.tell("read")
	b.farm.tell("keep none")
	if err == nil && len(t.Stamps) == 0 {
		err = errNothing
	}
	return t.Stamps, err
}

// Kept is how well times were kept.
type kept struct {
	behind     []float64 // in milliseconds, the earliest grid that fits the target
	behindGrid []float64 // in milliseconds, the agent's grid
	peak       float64   // arrivals in the busiest 100 ms
}

func (k kept) late(q float64) float64 { return quantile(k.behind, q) }

// punctuality tells how well arrivals of targets with a pace kept their times.
func punctuality(stamps []stamp, every time.Duration) (k kept) {
	by, bins := map[int][]int64{}, map[int64]float64{}
	for _, s := range stamps {
		by[s.Target] = append(by[s.Target], s.At)
		bins[s.At/int64(100*time.Millisecond)]++
		k.behindGrid = append(k.behindGrid, float64(s.At%int64(grid))/1e6)
	}
	for _, at := range by {
		first := at[0]
		var behind []float64
		for _, t := range at {
			d := float64(t-first) / float64(every)
			behind = append(behind, (d-math.Round(d))*every.Seconds()*1e3)
		}
		earliest := slices.Min(behind)
		for _, d := range behind {
			k.behind = append(k.behind, d-earliest)
		}
	}
	for _, n := range bins {
		k.peak = max(k.peak, n)
	}
	return k
}

// quantile returns NaN if there are no values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// starting measures the time from exec to the first probe at the target.
func (b *bench) starting() error {
	r := row{figure: "exec to first probe, median (others: first answer to a request)", unit: "ms", goal: 25}
	for _, p := range b.peers {
		var took []float64
		var err error
		for n := map[bool]int{true: 3, false: 9}[b.quick]; err == nil && len(took) < n; {
			var ms float64
			ms, err = b.startOf(p)
			took = append(took, ms)
		}
		fill([]*row{&r}, "", err, quantile(took, 0.5))
	}
	b.table.add(r)
	n := map[bool]int{true: 200, false: 1000}[b.quick]
	all := row{figure: fmt.Sprintf("%d targets at 10 s first covered", n), unit: "s", goal: 5}
	if n < 1000 {
		all.goal = 0
	}
	for _, p := range b.peers {
		if p.probe != nil {
			fill([]*row{&all}, "it covers what it is asked to", nil, math.NaN())
			continue
		}
		took, err := b.cover(p, job{layer: tcpLayer, targets: n, every: 10 * time.Second})
		fill([]*row{&all}, "", err, took.Seconds())
	}
	b.table.add(all)
	return nil
}

// cover is how long after its start a peer has reached all targets.
func (b *bench) cover(p *peer, j job) (time.Duration, error) {
	if _, err := b.farm.tell("keep " + string(j.layer)); err != nil {
		return 0, err
	}
	defer b.farm.tell("keep none")
	pr, err := b.put(p, j)
	if err != nil {
		return 0, err
	}
	defer pr.end()
	pr.settle(2 * time.Second)
	t, err := b.farm.tell("read")
	reached := map[int]int64{}
	for _, s := range t.Stamps {
		if _, ok := reached[s.Target]; !ok {
			reached[s.Target] = s.At
		}
	}
	if err == nil && len(reached) != j.targets {
		err = fmt.Errorf("%d of %d targets were reached", len(reached), j.targets)
	}
	if err != nil {
		return 0, err
	}
	return time.Unix(0, slices.Max(slices.Collect(maps.Values(reached)))).Sub(pr.started), nil
}

func (b *bench) startOf(p *peer) (float64, error) {
	j := job{layer: tcpLayer, targets: 1, every: time.Second}
	if p.probe == nil {
		j.layer = dnsLayer // the first that it does
	}
	if _, err := b.farm.tell("keep " + string(j.layer)); err != nil {
		return 0, err
	}
	defer b.farm.tell("keep none")
	proc, err := p.start(b.folder, j)
	if err != nil {
		return 0, err
	}
	defer proc.stop()
	for range 3000 {
		if p.probe != nil {
			get(b.client, p.probe(j, 0), false)
		}
		time.Sleep(time.Millisecond)
		t, err := b.farm.tell("read")
		if err != nil {
			return 0, err
		}
		if len(t.Stamps) > 0 {
			return float64(t.Stamps[0].At-proc.started.UnixNano()) / 1e6, nil
		}
	}
	return 0, errNothing
}

// detection measures how long after a fault the peers' metrics show it, of all
// peers at the same time. The faults come at moments of their own, so that they
// meet each prober's second at evenly spread places: counted from when the last
// one noticed, they would meet that one's always at the same.
func (b *bench) detection() error {
	r := row{figure: "detection of a closed port, 1 target at 1 s, mean", unit: "ms"}
	j := job{layer: tcpLayer, targets: 1, every: time.Second, fresh: true}
	probers, errs := make([]*prober, len(b.peers)), make([]error, len(b.peers))
	for i, p := range b.peers {
		if probers[i], errs[i] = b.put(p, j); errs[i] == nil {
			defer probers[i].end()
		}
	}
	time.Sleep(3 * time.Second)
	sums := make([]time.Duration, len(b.peers))
	times := map[bool]int{true: 4, false: 20}[b.quick]
	begun := time.Now()
	for n := range times {
		time.Sleep(time.Until(begun.Add(time.Duration(n) * (3*time.Second + time.Second/time.Duration(times)))))
		var noticed sync.WaitGroup
		at := make(chan struct{}) // closed when the port is
		for i, pr := range probers {
			if errs[i] != nil {
				continue
			}
			before, _, _ := b.failures(pr)
			noticed.Go(func() {
				<-at
				took, err := b.notice(pr, before)
				sums[i] += took
				errs[i] = err
			})
		}
		b.farm.tell("down")
		close(at)
		noticed.Wait()
		b.farm.tell("up")
	}
	for i := range b.peers {
		mark := b.peers[i].driven("asked once a second")
		if b.peers[i].sums {
			mark = "told to publish after every probe; its default is every 10 s"
		}
		fill([]*row{&r}, mark, errs[i], sums[i].Seconds()*1e3/float64(times))
	}
	b.table.add(r)
	return nil
}

// notice is how long it takes until a prober counts more failures than before.
func (b *bench) notice(p *prober, before int) (time.Duration, error) {
	const enough = 5 * time.Second
	for at := time.Now(); time.Since(at) < enough; time.Sleep(5 * time.Millisecond) {
		if failed, _, err := b.failures(p); err == nil && failed > before {
			return time.Since(at), nil
		}
	}
	return 0, fmt.Errorf("a fault was not seen within %v", enough)
}

// scrape measures what a scrape of 1,000 targets costs, by series.
func (b *bench) scrape() error {
	n := map[bool]int{true: 300, false: 1000}[b.quick]
	j := job{layer: tcpLayer, targets: n, every: 10 * time.Second}
	plain := row{figure: fmt.Sprintf("scrape of %d TCP targets, plain: CPU per series", n), unit: "us", goal: 0.15}
	gzipped := row{figure: fmt.Sprintf("scrape of %d TCP targets, gzip: CPU per series", n), unit: "us", goal: 0.7}
	for _, p := range b.peers {
		if p.probe != nil {
			fill([]*row{&plain, &gzipped}, "its answers are part of what its probes cost", nil)
			continue
		}
		own := j
		for p.ramp(own) > b.patience() {
			own.targets /= 2
		}
		values, err := b.scrapeOf(p, own)
		fill([]*row{&plain}, p.remark(own, n), err, at(values, 0))
		if err == nil && math.IsNaN(at(values, 1)) {
			err = errors.New("it does not compress")
		}
		fill([]*row{&gzipped}, p.remark(own, n), err, at(values, 1))
	}
	b.table.add(plain)
	b.table.add(gzipped)
	return nil
}

// scrapeOf returns the CPU time for a series in microseconds, of a page and of
// a compressed one; NaN if pages are not compressed.
func (b *bench) scrapeOf(p *peer, j job) (values []float64, err error) {
	pr, err := b.put(p, j)
	if err != nil {
		return nil, err
	}
	defer pr.end()
	pr.settle(time.Second)
	idle, err := b.watch(pr, 2*time.Second)
	if err != nil {
		return nil, err
	}
	get(b.client, "http://"+p.listen+"/metrics", true) // the first is another matter
	plain := 0
	for _, compressed := range []bool{false, true} {
		const times = 20
		var text string
		var size int
		begin, cpu := time.Now(), pr.cpu()
		for range times {
			if text, size, err = get(b.client, "http://"+p.listen+"/metrics", compressed); err != nil {
				return nil, err
			}
		}
		took := time.Since(begin)
		spent := pr.cpu() - cpu - time.Duration(float64(idle.cpu)*took.Seconds()/idle.took.Seconds())
		lines := series(text)
		if compressed && size > plain/2 {
			return append(values, math.NaN()), nil
		}
		plain = size
		values = append(values, spent.Seconds()*1e6/times/float64(lines))
		b.table.note("%s, scrape of %d TCP targets, %s: %d series, %d kB, %.1f ms", p.name, j.targets,
			map[bool]string{true: "gzip", false: "plain"}[compressed], lines, size/1000, took.Seconds()*1e3/times)
	}
	return values, nil
}
