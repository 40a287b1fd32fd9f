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

// A prober is a peer at work.
type prober struct {
	*peer
	*process
	job    job
	driver *driver
}

// put puts a peer to work.
func (b *bench) put(p *peer, j job) (*prober, error) {
	proc, err := p.start(b.folder, j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	pr := &prober{peer: p, process: proc, job: j}
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
	for _, l := range []layer{dnsLayer, tcpLayer, tlsLayer, httpsLayer, walkLayer} {
		if !b.wants(l) {
			continue
		}
		r := row{figure: "CPU ms per 1,000 probes at 400/s: " + layerTitles[l], unit: "ms", goal: costGoals[l]}
		for _, p := range b.peers {
			if p.probe != nil && l == walkLayer {
				r.values = append(r.values, b.table.sum(p.name, "CPU ms per 1,000 probes at 400/s: "))
				continue
			}
			j := job{layer: l, targets: targets, every: time.Second}
			if p.probe != nil && (l == tlsLayer || l == httpsLayer) {
				j.targets = targets / 2 // twice that is more than a core can do when it is disturbed
				b.table.note("%s: %s at %d/s", p.name, layerTitles[l], j.targets)
			}
			v, err := b.costOf(p, j)
			if err != nil {
				return err
			}
			r.values = append(r.values, v)
		}
		b.table.add(r)
	}
	return nil
}

var layerTitles = map[layer]string{
	dnsLayer: "DNS", tcpLayer: "TCP", tlsLayer: "TLS, client certificate", httpsLayer: "HTTPS, client certificate (ours: SigV4)",
	walkLayer: "all four layers (ours: one connection; others: the sum)",
}

var costGoals = map[layer]float64{dnsLayer: 55, tcpLayer: 80, tlsLayer: 500, httpsLayer: 600, walkLayer: 700}

func (b *bench) costOf(p *peer, j job) (float64, error) {
	pr, err := b.put(p, j)
	if err != nil {
		return 0, err
	}
	defer pr.end()
	time.Sleep(3500 * time.Millisecond) // until the opening is over
	var costs []float64
	for range map[bool]int{true: 2, false: 3}[b.quick] {
		w, err := b.watch(pr, b.short(2*time.Second, 5*time.Second))
		if err != nil {
			return 0, err
		}
		if w.probes == 0 {
			return 0, fmt.Errorf("%s, %s: %w", p.name, j.layer, errNothing)
		}
		if w.rate() < 0.97*float64(j.targets) {
			b.table.note("%s: only %.0f of %d %s probes a second", p.name, w.rate(), j.targets, j.layer)
		}
		costs = append(costs, w.perThousand())
	}
	b.sound(pr)
	return slices.Min(costs), nil
}

// sound notes if the prober's probes do not go well: those that fail cost other
// than they should.
func (b *bench) sound(p *prober) {
	failed, of := 0, p.job.targets
	if p.driver != nil {
		failed, of = int(p.driver.failed.Load()), int(p.driver.asked.Load())
	} else {
		text, _, err := get(b.client, "http://"+p.listen+"/metrics", false)
		if err != nil {
			b.table.note("%s: %v", p.name, err)
			return
		}
		failed = of - strings.Count(text, `verdict="reachable"} 1`+"\n")
	}
	if failed*100 > of {
		b.table.note("%s, %s, %d targets at %v: %d of %d probes fail", p.name, p.job.layer, p.job.targets, p.job.every, failed, of)
	}
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
		for _, p := range b.peers {
			pr, err := b.put(p, job{layer: tcpLayer, targets: n, every: 10 * time.Second})
			if err != nil {
				return err
			}
			time.Sleep(b.short(6*time.Second, 17*time.Second))
			r.values = append(r.values, pr.rss())
			_, _, err = get(b.client, "http://"+p.listen+"/metrics", true)
			after.values = append(after.values, pr.rss())
			pr.end()
			if err != nil {
				return err
			}
		}
		b.table.add(r)
		b.table.add(after)
	}
	return nil
}
