package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"time"

	"vpcprobe/lab/netns"
)

func indexOf(device string) (int, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}

// clientOf returns an HTTP client that is inside a host of the lab.
func clientOf(n *netns.Namespace) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 2000, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = n.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
}

// accuracy measures by how much reported times differ from those on the wire,
// on a path of 2 ms, with the prober idle and with it busy.
func (b *bench) accuracy() error {
	if err := netns.Missing(); err != nil {
		return err
	}
	lab, err := netns.Build(netns.Topology{Links: map[int]netns.Link{0: {Delay: time.Millisecond}}})
	if err != nil {
		return err
	}
	defer lab.Close()
	far := lab.Hop(1, false)
	for _, f := range []struct {
		in   *netns.Namespace
		args []string
	}{{lab.Server(), []string{"-addr", far.String()}}, {lab.Client(), nil}} {
		farm, err := startFarm(f.in, b.folder, f.args...)
		if err != nil {
			return err
		}
		defer farm.stop()
	}
	rows := []row{}
	for _, busy := range []bool{false, true} {
		if b.quick && !busy {
			continue
		}
		title := map[bool]string{false: "idle", true: "busy"}[busy]
		connect := row{figure: "error of the reported connect time, p99, prober " + title, unit: "ms", goal: 0.3}
		lookup := row{figure: "error of the reported DNS time, p99, prober " + title, unit: "ms", goal: 0.3}
		for _, p := range b.peers {
			e, err := b.errorsOf(lab, p, far, busy)
			fill([]*row{&connect}, "", err, quantile(e.connect, 0.99))
			fill([]*row{&lookup}, p.driven("its lookups are not compared"), err, quantile(e.lookup, 0.99))
			if err != nil {
				continue
			}
			b.table.note("accuracy, %s, prober %s (%.0f %% of its CPU): connect off by %s; DNS by %s",
				p.name, title, e.busy*100, spreadOf(e.connect), spreadOf(e.lookup))
		}
		rows = append(rows, connect, lookup)
	}
	for _, r := range rows {
		b.table.add(r)
	}
	return nil
}

// spreadOf describes deviations.
func spreadOf(ms []float64) string {
	if len(ms) == 0 {
		return "no known time"
	}
	return fmt.Sprintf("p50 %.3f, p90 %.3f, p99 %.3f ms in %d", quantile(ms, 0.5), quantile(ms, 0.9), quantile(ms, 0.99), len(ms))
}

// deviations are by how many milliseconds reported times were off, as absolute
// values.
type deviations struct {
	connect, lookup []float64
	busy            float64
}

func (b *bench) errorsOf(lab *netns.Lab, p *peer, far netip.Addr, busy bool) (deviations, error) {
	j := job{layer: walkLayer, targets: manyPorts, every: time.Second, port: manyPort, farm: far.String(), in: lab.Client(), fresh: true}
	load := job{layer: httpsLayer, targets: p.busy.targets, every: p.busy.every, in: lab.Client()}
	if p.few > 0 {
		j.targets = p.few
	}
	if p.probe != nil {
		j.layer = httpsLayer
	} else if busy {
		j.load = p.busy
	}
	c, err := newCapture(lab.Client(), "e0")
	if err != nil {
		return deviations{}, err
	}
	defer c.stop()
	proc, err := p.start(b.folder, j)
	if err != nil {
		return deviations{}, err
	}
	defer proc.stop()
	client := clientOf(lab.Client())
	if err := wait(client, "http://"+p.listen+"/metrics"); err != nil {
		return deviations{}, err
	}
	var e deviations
	var mu sync.Mutex
	if p.probe != nil {
		d := drive(client, p, j, func(i int, at time.Time, text string) {
			mu.Lock()
			defer mu.Unlock()
			e.hear(c, i, at, text)
		})
		defer d.end()
		if busy {
			more := drive(client, p, load, nil)
			defer more.end()
		}
	}
	time.Sleep(p.ramp(j) + 2*time.Second)
	cpu, begin := proc.cpu(), time.Now()
	e.collect(c, client, p, j, b.short(5*time.Second, 12*time.Second))
	e.busy = (proc.cpu() - cpu).Seconds() / time.Since(begin).Seconds()
	mu.Lock()
	defer mu.Unlock()
	return deviations{e.connect, e.lookup, e.busy}, nil
}

// collect compares, for a while, what a peer reports. One that is driven is
// heard by its driver.
func (e *deviations) collect(c *capture, client *http.Client, p *peer, j job, d time.Duration) {
	var last reading
	for begin := time.Now(); time.Since(begin) < d; {
		switch {
		case p.probe != nil:
			time.Sleep(100 * time.Millisecond)
		case p.times != nil:
			last = e.follow(c, client, p, last)
			time.Sleep(200 * time.Millisecond)
		default:
			for i := range j.targets {
				e.read(c, client, p, i)
				time.Sleep(time.Second / manyPorts)
			}
		}
	}
}

// read compares what the agent says of a target's latest walk.
func (e *deviations) read(c *capture, client *http.Client, p *peer, i int) {
	text, _, err := get(client, "http://"+p.listen+"/api/v1/status?target="+nameOf(i), false)
	var d struct {
		Targets []struct {
			Observations []struct {
				Kind    string
				Seconds float64
				Start   time.Time
				Detail  struct {
					Local netip.AddrPort
					RTT   time.Duration `json:"rtt_ns"`
				}
			}
		}
	}
	if err != nil || json.Unmarshal([]byte(text), &d) != nil || len(d.Targets) == 0 {
		return
	}
	for _, o := range d.Targets[0].Observations {
		if f, ok := c.connected(o.Detail.Local.Port()); ok && o.Kind == "connect" && f.peer.Port() == uint16(manyPort+i) {
			e.connect = append(e.connect, off(o.Detail.RTT.Seconds(), f.answer.Sub(f.syn)))
		}
		q, ok := c.asked(nameOf(i))
		if behind := q.first.Sub(o.Start); ok && o.Kind == "resolve" && behind > -time.Millisecond && behind < 200*time.Millisecond {
			e.lookup = append(e.lookup, off(o.Seconds, q.last.Sub(q.first)))
		}
	}
}

// A reading is what a peer's metrics said at a time.
type reading struct {
	at    time.Time
	times map[timed]timing
}

// follow compares the times of the probes that were made since the last
// reading.
func (e *deviations) follow(c *capture, client *http.Client, p *peer, last reading) reading {
	const lag = 300 * time.Millisecond // of a probe's start behind its result; the next is a second away
	now := reading{at: time.Now()}
	text, _, err := get(client, "http://"+p.listen+"/metrics", false)
	if err != nil {
		return last
	}
	now.times = p.times(text)
	if now.at.Sub(last.at) > 2*lag {
		return now
	}
	for of := range now.times {
		reported, since := p.took(last.times, now.times, of), last.at.Add(-lag)
		if math.IsNaN(reported) {
			continue
		}
		if f, ok := c.connectedTo(uint16(manyPort+of.target), since); ok && of.layer == tcpLayer {
			e.connect = append(e.connect, off(reported, f.answer.Sub(f.syn)))
		}
		if q, ok := c.asked(nameOf(of.target)); ok && of.layer == dnsLayer && q.first.After(since) {
			e.lookup = append(e.lookup, off(reported, q.last.Sub(q.first)))
		}
	}
	return now
}

var connectPhase = regexp.MustCompile(`probe_http_duration_seconds\{phase="connect"\} (\S+)`)

// hear compares what a driven peer answered.
func (e *deviations) hear(c *capture, i int, at time.Time, text string) {
	m := connectPhase.FindStringSubmatch(text)
	f, ok := c.connectedTo(uint16(manyPort+i), at)
	if m == nil || !ok {
		return
	}
	reported, err := strconv.ParseFloat(m[1], 64)
	if err == nil {
		e.connect = append(e.connect, off(reported, f.answer.Sub(f.syn)))
	}
}

func off(reported float64, truth time.Duration) float64 {
	return math.Abs(reported-truth.Seconds()) * 1e3
}
