package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// rates are where the search for the highest rate begins, and the goals.
var rates = []struct {
	layer
	first, goal float64
}{
	{dnsLayer, 5000, 40000}, {tcpLayer, 6000, 25000}, {tlsLayer, 1300, 2200}, {httpsLayer, 1000, 1900},
}

// rate measures the highest rate that is held: at least 98.5 % of what is
// asked for. Others, which do not probe by themselves, are asked for as much as
// they can do.
func (b *bench) rate() error {
	for _, l := range rates {
		if b.quick && len(b.layers) == 0 && l.layer != tcpLayer || !b.wants(l.layer) {
			continue
		}
		r := row{figure: "highest rate held: " + layerTitles[l.layer], unit: "/s", goal: l.goal}.more()
		for _, p := range b.peers {
			v, err := b.rateOf(p, l.layer, l.first)
			if err != nil {
				return err
			}
			r.values = append(r.values, v)
		}
		b.table.add(r)
	}
	return nil
}

func (b *bench) rateOf(p *peer, l layer, first float64) (float64, error) {
	if p.probe != nil {
		return b.throughput(p, l)
	}
	held, step := 0.0, 1.25
	for ask, tries := first, 0; tries < map[bool]int{true: 2, false: 6}[b.quick]; tries++ {
		cpu, begin := b.farm.cpu(), time.Now()
		w, err := b.at(p, l, ask)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(os.Stderr, "%s: asked for %.0f, got %.0f, prober %.0f %% busy, farm %.0f %%\n", l, ask, w.rate(),
			100*w.cpu.Seconds()/w.took.Seconds(), 100*(b.farm.cpu()-cpu).Seconds()/time.Since(begin).Seconds())
		if w.rate() >= 0.985*ask {
			held = ask
		} else {
			if held > 0 && step < 1.1 {
				break
			}
			if held == 0 {
				ask /= step
				continue
			}
			step, ask = 1.08, held
		}
		ask = math.Round(ask * step)
	}
	return held, nil
}

// at puts the agent to work at a rate, by as many targets at one second.
func (b *bench) at(p *peer, l layer, rate float64) (window, error) {
	n := int(rate)
	pr, err := b.put(p, job{layer: l, targets: n, every: time.Second, places: 4096})
	if err != nil {
		return window{}, err
	}
	defer pr.end()
	time.Sleep(2*time.Second + time.Duration(n)*time.Second/4000)
	w, err := b.watch(pr, b.short(2*time.Second, 4*time.Second))
	b.sound(pr)
	return w, err
}

// throughput is how many probes a second a driven peer answers at most.
func (b *bench) throughput(p *peer, l layer) (float64, error) {
	j := job{layer: l, targets: 200, every: time.Hour}
	pr, err := b.put(p, j)
	if err != nil {
		return 0, err
	}
	defer pr.end()
	pr.driver.end()
	pr.driver = saturate(p, j, 32)
	time.Sleep(time.Second)
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
	r.values = []float64{pr.rss() - before}
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
