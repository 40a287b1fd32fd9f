package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// A bench is one run of all measurements.
type bench struct {
	folder string
	quick  bool
	peers  []*peer // the agent first
	farm   *farmer
	client *http.Client
	table  table
	only   []string // the measurements asked for; all if empty
	layers []string // likewise
}

func (b *bench) wants(l layer) bool {
	return len(b.layers) == 0 || slices.Contains(b.layers, string(l))
}

// short is d, or less in a quick run.
func (b *bench) short(quick, full time.Duration) time.Duration {
	if b.quick {
		return quick
	}
	return full
}

// patience is how long a peer may take to start.
func (b *bench) patience() time.Duration { return b.short(12*time.Second, 30*time.Second) }

// A prober is a peer at work.
type prober struct {
	*peer
	*process
	job    job
	driver *driver
}

// put puts a peer to work.
func (b *bench) put(p *peer, j job) (*prober, error) {
	if ramp := p.ramp(j); ramp > b.patience() {
		return nil, fmt.Errorf("not measured: it takes %v to start with %d targets", ramp.Round(time.Second), j.targets)
	}
	proc, err := p.start(b.folder, j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	pr := &prober{peer: p, process: proc, job: j}
	if p.listen == "" {
		return pr, nil
	}
	if err := wait(b.client, "http://"+p.listen+"/metrics"); err != nil {
		pr.end()
		text, _ := os.ReadFile(b.folder + "/" + p.name + ".log")
		return nil, fmt.Errorf("%s did not come up: %w\n%s", p.name, err, text)
	}
	if p.probe != nil {
		pr.driver = drive(newClient(), p, j, nil)
	}
	return pr, nil
}

// settle waits until all targets have been probed, and a while longer.
func (p *prober) settle(more time.Duration) { time.Sleep(p.ramp(p.job) + more) }

func (p *prober) end() {
	p.driver.end()
	p.stop()
}

// A window is a stretch of time in which a prober was watched.
type window struct {
	cpu    time.Duration
	took   time.Duration
	probes int
}

func (w window) perThousand() float64 { return w.cpu.Seconds() * 1e6 / float64(max(w.probes, 1)) }
func (w window) rate() float64        { return float64(w.probes) / w.took.Seconds() }

// watch watches a prober for a while.
func (b *bench) watch(p *prober, d time.Duration) (window, error) {
	if _, err := b.farm.tell("mark"); err != nil {
		return window{}, err
	}
	begin, cpu, all := time.Now(), p.cpu(), busy(proberCPU)
	time.Sleep(d)
	w := window{cpu: p.cpu() - cpu, took: time.Since(begin)}
	foreign := busy(proberCPU) - all - w.cpu
	b.table.foreign = append(b.table.foreign, 100*foreign.Seconds()/w.took.Seconds())
	t, err := b.farm.tell("read")
	w.probes = t.Count[served(p.job.layer)]
	return w, err
}

// served is the layer under which the farm counts the probes of a job.
func served(l layer) layer {
	if l == walkLayer {
		return httpsLayer
	}
	return l
}

var errNothing = errors.New("no probe arrived")

// cost measures CPU time: milliseconds for 1,000 probes at 400 a second.
func (b *bench) cost() error {
	const targets = 400
	loops := map[layer]float64{} // what the bare loops take
	for _, l := range []layer{dnsLayer, tcpLayer, tlsLayer, httpsLayer, walkLayer} {
		if !b.wants(l) {
			continue
		}
		peers := b.peers
		if l == walkLayer {
			peers = peers[:1] // of the others it is the sum
		}
		var jobs []job
		for _, p := range peers {
			j := p.spread(job{layer: l, targets: targets, every: time.Second})
			if p.probe != nil && (l == tlsLayer || l == httpsLayer) {
				j.targets = targets / 2 // twice that is more than a core can do when it is disturbed
			}
			jobs = append(jobs, j)
		}
		if l == dnsLayer { // ours, as it asks by default
			peers, jobs = append(slices.Clone(peers), b.peers[0]), append(jobs, job{layer: l, targets: targets, every: time.Second, both: true})
		}
		if l != walkLayer {
			peers, jobs = append(slices.Clone(peers), paced()), append(jobs, job{layer: l, targets: targets, every: time.Second})
		}
		costs, errs := b.costsOf(peers, jobs)

		r := row{figure: "CPU ms per 1,000 probes at 400/s: " + layerTitles[l], unit: "ms", goal: costGoals[l]}
		for i, p := range b.peers {
			if i > 0 && l == walkLayer {
				fill([]*row{&r}, p.remarks[l], nil, b.table.sum(p.name, "CPU ms per 1,000 probes at 400/s: "))
				continue
			}
			fill([]*row{&r}, p.remark(jobs[i], targets), errs[i], costs[i])
		}
		b.table.add(r)
		last := len(costs) - 1
		switch {
		case l == walkLayer && b.wants(dnsLayer) && b.wants(httpsLayer):
			loops[l] = loops[dnsLayer] + loops[httpsLayer] // a walk is a lookup and a request
		case l == walkLayer:
		case errs[last] != nil:
			return errs[last]
		default:
			loops[l] = costs[last]
		}
		if loops[l] > 0 {
			b.table.beside(r, loops[l], bareCosts[l])
		}
		if n := len(b.peers); l == dnsLayer {
			both := row{figure: r.figure + ", A and AAAA (our default)", unit: "ms"}
			fill([]*row{&both}, "", errs[n], costs[n])
			for range b.peers[1:] {
				fill([]*row{&both}, "it asks for A only", nil)
			}
			b.table.add(both)
		}
	}
	return nil
}

// costsOf measures what jobs cost their peers, one after the other and then all
// once more. The least counts: what disturbs this machine comes and goes by the
// minute, and must not meet one of them alone.
func (b *bench) costsOf(peers []*peer, jobs []job) (least []float64, errs []error) {
	least, errs = make([]float64, len(jobs)), make([]error, len(jobs))
	for turn := range map[bool]int{true: 1, false: 2}[b.quick] {
		for i, j := range jobs {
			v, err := b.costOf(peers[i], j)
			if err != nil {
				errs[i] = err
			}
			if turn == 0 || v < least[i] {
				least[i] = v
			}
		}
	}
	return least, errs
}

// remark is what is to be known of a figure that was measured with another job
// than the agent's, so many targets at one second.
func (p *peer) remark(j job, targets int) string {
	var said []string
	if r := p.remarks[j.layer]; r != "" {
		said = append(said, r)
	}
	if j.targets != targets {
		said = append(said, fmt.Sprintf("%d targets at %v", j.targets, j.every))
	}
	return strings.Join(said, "; ")
}

var layerTitles = map[layer]string{
	dnsLayer: "DNS", tcpLayer: "TCP", tlsLayer: "TLS, client certificate", httpsLayer: "HTTPS, client certificate (ours: SigV4)",
	walkLayer: "all four layers (ours: one connection; others: the sum)",
}

var costGoals = map[layer]float64{dnsLayer: 55, tcpLayer: 80, tlsLayer: 500, httpsLayer: 600, walkLayer: 700}

// bareCosts are the goals beside a bare loop: what the goals are beside what such
// loops took where the goals were set, 51, 58, 359 and 433 ms.
var bareCosts = map[layer]float64{dnsLayer: 1.08, tcpLayer: 1.38, tlsLayer: 1.39, httpsLayer: 1.39, walkLayer: 1.45}

func (b *bench) costOf(p *peer, j job) (float64, error) {
	pr, err := b.put(p, j)
	if err != nil {
		return 0, err
	}
	defer pr.end()
	pr.settle(b.short(time.Second, 2*time.Second))
	var costs []float64
	for range map[bool]int{true: 1, false: 2}[b.quick] {
		w, err := b.watch(pr, b.short(2*time.Second, 3*time.Second))
		if err != nil {
			return 0, err
		}
		if w.probes == 0 {
			return 0, fmt.Errorf("%s, %s: %w", p.name, j.layer, errNothing)
		}
		if w.rate() < 0.97*j.rate() {
			b.table.note("%s: only %.0f of %.0f %s probes a second", p.name, w.rate(), j.rate(), j.layer)
		}
		costs = append(costs, w.perThousand())
	}
	b.sound(pr)
	return slices.Min(costs), nil
}

// sound is the part of the prober's probes that go well, and notes if others are
// more than a hundredth: those that fail cost other than they should.
func (b *bench) sound(p *prober) float64 {
	failed, of, err := b.failures(p)
	if err != nil {
		b.table.note("%s: %v", p.name, err)
	}
	if failed*100 <= of {
		return 1
	}
	b.table.note("%s, %s, %d targets at %v: %d of %d probes fail", p.name, p.job.layer, p.job.targets, p.job.every, failed, of)
	return 1 - float64(failed)/float64(of)
}

// failures is what the prober itself says of its probes. One that publishes at
// intervals may say nothing yet: what the farm has served is counted beside.
func (b *bench) failures(p *prober) (failed, of int, err error) {
	switch {
	case p.driver != nil:
		return int(p.driver.failed.Load()), int(p.driver.asked.Load()), nil
	case p.listen == "": // it ends with the first that fails
		return 0, 0, nil
	}
	text, _, err := get(b.client, "http://"+p.listen+"/metrics", false)
	if err != nil {
		return 0, 0, err
	}
	failed, of = p.peer.failed(text, p.job)
	return failed, of, nil
}

// memory measures resident memory with so many TCP targets at 10 s.
func (b *bench) memory() error {
	sizes := []int{1, 100, 1000, 10000}
	goals := map[int]float64{1: 16, 100: 17, 1000: 20, 10000: 45}
	if b.quick {
		sizes = []int{1, 1000}
	}
	for _, n := range sizes {
		r := row{figure: fmt.Sprintf("RSS with %d TCP targets at 10 s", n), unit: "MB", goal: goals[n]}
		after := row{figure: r.figure + ", after a scrape", unit: "MB", goal: map[int]float64{10000: 60}[n]}
		together := len(b.peers) // a few probes a second do not disturb each other
		if n > 1000 {
			together = 1
		}
		for peers := range slices.Chunk(b.peers, together) {
			for i, m := range b.memoryOf(peers, job{layer: tcpLayer, targets: n, every: 10 * time.Second}) {
				fill([]*row{&r, &after}, peers[i].driven("it keeps no results: who asks it does"), m.err, m.rested, m.scraped)
			}
		}
		b.table.add(r)
		b.table.add(after)
	}
	return nil
}

// driven is what is to be known of a peer that does nothing by itself.
func (p *peer) driven(mark string) string {
	if p.probe == nil {
		return ""
	}
	return mark
}

// A footprint is how much memory a peer occupies, in MB.
type footprint struct {
	rested, scraped float64
	err             error
}

// memoryOf measures peers at the same time.
func (b *bench) memoryOf(peers []*peer, j job) []footprint {
	found, probers := make([]footprint, len(peers)), make([]*prober, len(peers))
	var ramp time.Duration
	for i, p := range peers {
		if probers[i], found[i].err = b.put(p, j); found[i].err == nil {
			ramp = max(ramp, p.ramp(j))
		}
	}
	time.Sleep(ramp + b.short(2*time.Second, 12*time.Second))
	for i, pr := range probers {
		if pr == nil {
			continue
		}
		found[i].rested = pr.rss()
		_, _, found[i].err = get(b.client, "http://"+pr.listen+"/metrics", true)
		found[i].scraped = pr.rss()
		pr.end()
	}
	return found
}
