package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// rates are where the search for the highest rate begins, and the goals, also beside
// a bare loop: such loops made 56,000, 40,000, 3,120 and 2,717 a second where the
// goals were set.
var rates = []struct {
	layer
	first, goal, bare float64
}{
	{dnsLayer, 5000, 40000, 0.71}, {tcpLayer, 6000, 25000, 0.63}, {tlsLayer, 1300, 2200, 0.71}, {httpsLayer, 1000, 1900, 0.7},
}

// held is the part of a rate that must be there for it to be held.
const held = 0.985

// rate measures the highest rate that is held. Peers that do not probe by
// themselves, or whose targets are loops of their own, are asked for as much as
// they can do.
func (b *bench) rate() error {
	for _, l := range rates {
		if b.quick && len(b.layers) == 0 && l.layer != tcpLayer || !b.wants(l.layer) {
			continue
		}
		r := row{figure: "highest rate held: " + layerTitles[l.layer], unit: "/s", goal: l.goal}.more()
		for _, p := range b.peers {
			v, mark, err := 0.0, p.remarks[l.layer], error(nil)
			switch {
			case p.probe != nil:
				v, err = b.throughput(p, job{layer: l.layer, targets: 200, every: time.Hour})
			case p.few > 0:
				j := job{layer: l.layer, targets: p.few, every: time.Millisecond}
				v, err = b.throughput(p, j)
				mark = p.remark(j, 0)
			default:
				v, mark, err = b.hold(p, l.layer, l.first)
			}
			fill([]*row{&r}, mark, err, v)
		}
		b.table.add(r)
		limit, err := b.limit(l.layer)
		if err != nil {
			return err
		}
		b.table.beside(r, limit, l.bare)
	}
	return nil
}

// hold searches for the highest rate that a peer holds. The mark says where the
// search ended if that is not known to be the highest.
func (b *bench) hold(p *peer, l layer, first float64) (best float64, mark string, err error) {
	missed := math.Inf(1) // the lowest rate that it did not hold
	for ask, tries := first, 0; tries < map[bool]int{true: 2, false: 8}[b.quick]; tries++ {
		cpu, begin := b.farm.cpu(), time.Now()
		w, err := b.at(p, l, ask)
		if err != nil && best > 0 {
			return best, "at least; a higher rate: " + err.Error(), nil
		}
		if err != nil {
			return 0, "", err
		}
		busy := w.cpu.Seconds() / w.took.Seconds()
		fmt.Fprintf(os.Stderr, "%s, %s: asked for %.0f, got %.0f, prober %.0f %% busy, farm %.0f %%\n", p.name, l, ask, w.rate(),
			100*busy, 100*(b.farm.cpu()-cpu).Seconds()/time.Since(begin).Seconds())
		if w.rate() >= held*ask {
			best = ask
			ask *= max(1.08, min(3, 0.9/busy)) // what the CPU has left
		} else {
			missed = ask
			ask = min(w.rate(), ask*0.9)
		}
		if ask >= missed || ask <= best { // in between
			ask = (best + missed) / 2
		}
		if ask < 1.03*best || ask > 0.97*missed {
			break
		}
		ask = math.Round(ask)
	}
	switch {
	case best == 0:
		return 0, "", fmt.Errorf("not even %.0f/s was held", missed)
	case math.IsInf(missed, 1):
		return best, "at least: no higher rate was tried", nil
	}
	return best, "", nil
}

// at puts a peer to work at a rate, by as many targets at one second. What else
// goes on at a machine takes away from a rate, so one that is not held is watched
// again; but what was held up in one window comes in the next, so it is held if two
// of five windows say so, and the second best counts. Probes that fail do not.
func (b *bench) at(p *peer, l layer, rate float64) (window, error) {
	n := int(rate)
	pr, err := b.put(p, job{layer: l, targets: n, every: time.Second, places: 4096})
	if err != nil {
		return window{}, err
	}
	defer pr.end()
	pr.settle(b.short(time.Second, 2*time.Second))
	var all []window
	for len(all) < 2 || len(all) < 5 && all[1].rate() < held*rate {
		w, err := b.watch(pr, b.short(2*time.Second, 3*time.Second))
		if err != nil {
			return w, err
		}
		all = append(all, w)
		slices.SortFunc(all, func(v, w window) int { return cmp.Compare(w.rate(), v.rate()) })
	}
	w := all[1]
	w.probes = int(float64(w.probes) * b.sound(pr))
	return w, nil
}

// throughput is how many probes a second a peer makes that is asked for more
// than it can do.
func (b *bench) throughput(p *peer, j job) (float64, error) {
	pr, err := b.put(p, j)
	if err != nil {
		return 0, err
	}
	defer pr.end()
	if pr.driver != nil {
		pr.driver.end()
		pr.driver = saturate(p, j, 32)
	}
	pr.settle(time.Second)
	w, err := b.watch(pr, b.short(2*time.Second, 4*time.Second))
	b.sound(pr)
	return w.rate(), err
}

// overload measures memory at twice the rate that can be held.
func (b *bench) overload() error {
	r := row{figure: "RSS above idle at twice the highest HTTPS rate", unit: "MB", goal: 30}
	p := b.peers[0]
	j := job{layer: httpsLayer, targets: 400, every: 100 * time.Millisecond}
	idle, err := b.put(p, job{layer: httpsLayer, targets: 400, every: time.Minute})
	if err != nil {
		return err
	}
	time.Sleep(6 * time.Second)
	before := idle.rss()
	idle.end()
	pr, err := b.put(p, j)
	if err != nil {
		return err
	}
	defer pr.end()
	time.Sleep(b.short(4*time.Second, 15*time.Second))
	w, err := b.watch(pr, 3*time.Second)
	if err != nil {
		return err
	}
	fill([]*row{&r}, "", err, pr.rss()-before)
	for range b.peers[1:] {
		fill([]*row{&r}, "not measured", nil)
	}
	b.table.add(r)
	text, _, err := get(b.client, "http://"+p.listen+"/metrics", false)
	b.table.note("overload: 4,000 walks a second asked for, %.0f made; the rest was counted: %s", w.rate(), lineOf(text, "vpcprobe_scheduler_missed_runs_total"))
	return err
}

// lineOf is the line of a page that begins with a word.
func lineOf(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return word + " is not there"
}
