package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// grid is the agent's: its walks fall due on multiples of it.
const grid = 25 * time.Millisecond

// lateness measures how well 100 targets at one second keep their times, by
// when they were reached.
func (b *bench) lateness() error {
	rows := []row{
		{figure: "lateness p50, 100 TCP targets at 1 s", unit: "ms", goal: 0.7},
		{figure: "lateness p99, 100 TCP targets at 1 s", unit: "ms", goal: 2},
		{figure: "probes in the busiest 100 ms, of 10 on average", goal: 20},
	}
	for _, p := range b.peers {
		pr, err := b.put(p, job{layer: tcpLayer, targets: 100, every: time.Second})
		if err != nil {
			return err
		}
		time.Sleep(2500 * time.Millisecond)
		b.farm.tell("keep tcp")
		time.Sleep(b.short(8*time.Second, 20*time.Second))
		t, err := b.farm.tell("read")
		b.farm.tell("keep none")
		pr.end()
		if err != nil {
			return err
		}
		late, peak := punctuality(t.Stamps, time.Second)
		if p.probe == nil {
			b.table.note("lateness is that behind each target's own best-fit grid; behind the moments that the agent means to keep (multiples of 25 ms) it is p50 %.2f ms, p99 %.2f ms", atGrid(t.Stamps, 0.5), atGrid(t.Stamps, 0.99))
		}
		for i, v := range []float64{quantile(late, 0.5), quantile(late, 0.99), peak} {
			rows[i].values = append(rows[i].values, v)
		}
	}
	for _, r := range rows {
		b.table.add(r)
	}
	return nil
}

// punctuality returns by how many milliseconds arrivals are behind the earliest
// grid that fits their target, and how many there were in the busiest 100 ms.
func punctuality(stamps []stamp, every time.Duration) (late []float64, peak float64) {
	if len(stamps) == 0 {
		return nil, 0
	}
	by, bins := map[int][]int64{}, map[int64]float64{}
	for _, s := range stamps {
		by[s.Target] = append(by[s.Target], s.At)
		bins[s.At/int64(100*time.Millisecond)]++
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
			late = append(late, d-earliest)
		}
	}
	for _, n := range bins {
		peak = max(peak, n)
	}
	return late, peak
}

// atGrid is the quantile of how many milliseconds arrivals are behind the
// agent's grid.
func atGrid(stamps []stamp, q float64) float64 {
	var behind []float64
	for _, s := range stamps {
		behind = append(behind, float64(s.At%int64(grid))/1e6)
	}
	return quantile(behind, q)
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
		for range map[bool]int{true: 3, false: 9}[b.quick] {
			ms, err := b.startOf(p)
			if err != nil {
				return err
			}
			took = append(took, ms)
		}
		r.values = append(r.values, quantile(took, 0.5))
	}
	b.table.add(r)
	n := map[bool]int{true: 200, false: 1000}[b.quick]
	all := row{figure: fmt.Sprintf("%d targets at 10 s first covered", n), unit: "s", goal: 5, values: []float64{math.NaN()}}
	if n < 1000 {
		all.goal = 0
	}
	began, err := b.put(b.peers[0], job{layer: tcpLayer, targets: 1, every: time.Second})
	if err != nil {
		return err
	}
	began.end()
	b.farm.tell("keep tcp")
	pr, err := b.put(b.peers[0], job{layer: tcpLayer, targets: n, every: 10 * time.Second})
	if err != nil {
		return err
	}
	defer pr.end()
	time.Sleep(6 * time.Second)
	t, err := b.farm.tell("read")
	b.farm.tell("keep none")
	reached := map[int]int64{}
	for _, s := range t.Stamps {
		if _, ok := reached[s.Target]; !ok {
			reached[s.Target] = s.At
		}
	}
	if len(reached) == n {
		last := slices.Max(slices.Collect(mapValues(reached)))
		all.values[0] = time.Unix(0, last).Sub(pr.started).Seconds()
	}
	b.table.add(all)
	return err
}

func mapValues(m map[int]int64) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func (b *bench) startOf(p *peer) (float64, error) {
	j := job{layer: tcpLayer, targets: 1, every: time.Second}
	if p.probe == nil {
		j.layer = dnsLayer // the first that it does
	}
	if _, err := b.farm.tell("keep " + string(j.layer)); err != nil {
		return 0, err
	}
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
		if t, err := b.farm.tell("read"); err != nil || len(t.Stamps) > 0 {
			b.farm.tell("keep none")
			return float64(t.Stamps[0].At-proc.started.UnixNano()) / 1e6, err
		}
	}
	return 0, errNothing
}

// detection measures how long after a fault the peer's metrics show it.
func (b *bench) detection() error {
	r := row{figure: "detection of a closed port, 1 target at 1 s, mean", unit: "ms"}
	for _, p := range b.peers {
		j := job{layer: tcpLayer, targets: 1, every: time.Second}
		proc, err := b.put(p, j)
		if err != nil {
			return err
		}
		failed := b.watcher(proc)
		var sum float64
		times := map[bool]int{true: 3, false: 10}[b.quick]
		time.Sleep(2 * time.Second)
		for i := range times {
			time.Sleep(1500*time.Millisecond + time.Duration(i)*time.Second/time.Duration(times))
			b.farm.tell("down")
			at := time.Now()
			for !failed() && time.Since(at) < 5*time.Second {
				time.Sleep(5 * time.Millisecond)
			}
			sum += time.Since(at).Seconds() * 1e3
			b.farm.tell("up")
		}
		r.values = append(r.values, sum/float64(times))
		proc.end()
	}
	b.table.add(r)
	return nil
}

// watcher returns what tells whether the peer reports the target as failing.
func (b *bench) watcher(p *prober) func() bool {
	if p.probe == nil {
		return func() bool {
			text, _, err := get(b.client, "http://"+p.listen+"/metrics", false)
			return err == nil && strings.Contains(text, `vpcprobe_success{kind="connect",target="`+nameOf(0)+`"} 0`)
		}
	}
	p.driver.end()
	var failing atomic.Bool // as Prometheus would learn it
	p.driver = drive(newClient(), p.peer, p.job, func(_ int, _ time.Time, text string) {
		failing.Store(strings.Contains(text, "\nprobe_success 0"))
	})
	return failing.Load
}

// scrape measures what a scrape of 1,000 targets costs, by series.
func (b *bench) scrape() error {
	p, n := b.peers[0], map[bool]int{true: 300, false: 1000}[b.quick]
	pr, err := b.put(p, job{layer: tcpLayer, targets: n, every: 10 * time.Second})
	if err != nil {
		return err
	}
	defer pr.end()
	time.Sleep(7 * time.Second)
	idle, err := b.watch(pr, 2*time.Second)
	if err != nil {
		return err
	}
	for _, compressed := range []bool{false, true} {
		const times = 20
		var text string
		var size int
		begin, cpu := time.Now(), pr.cpu()
		for range times {
			if text, size, err = get(b.client, "http://"+p.listen+"/metrics", compressed); err != nil {
				return err
			}
		}
		took := time.Since(begin)
		spent := pr.cpu() - cpu - time.Duration(float64(idle.cpu)*took.Seconds()/idle.took.Seconds())
		series := 0
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				series++
			}
		}
		name, goal := "plain", 0.15
		if compressed {
			name, goal = "gzip", 0.7
		}
		b.table.add(row{figure: fmt.Sprintf("scrape of %d TCP targets, %s: CPU per series", n, name), unit: "us", goal: goal,
			values: []float64{spent.Seconds() * 1e6 / times / float64(series)}})
		b.table.note("scrape of %d TCP targets, %s: %d series, %d kB, %.1f ms", n, name, series, size/1000, took.Seconds()*1e3/times)
	}
	return nil
}
