package main

import (
	"context"
	"encoding/json"
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
		title := map[bool]string{false: "idle", true: "busy"}[busy]
		connect := row{figure: "error of the reported connect time, p99, prober " + title, unit: "ms", goal: 0.3}
		lookup := row{figure: "error of the reported DNS time, p99, prober " + title, unit: "ms", goal: 0.3}
		for _, p := range b.peers {
			e, err := b.errorsOf(lab, p, far, busy)
			if err != nil {
				return err
			}
			connect.values = append(connect.values, quantile(e.connect, 0.99))
			lookup.values = append(lookup.values, quantile(e.lookup, 0.99))
			b.table.note("accuracy, %s, prober %s (%.0f %% of its CPU): connect off by p50 %.3f, p90 %.3f, p99 %.3f ms in %d connections; DNS p50 %.3f, p99 %.3f ms in %d lookups",
				p.name, title, e.busy*100, quantile(e.connect, 0.5), quantile(e.connect, 0.9), quantile(e.connect, 0.99), len(e.connect), quantile(e.lookup, 0.5), quantile(e.lookup, 0.99), len(e.lookup))
		}
		rows = append(rows, connect, lookup)
	}
	for _, r := range rows {
		b.table.add(r)
	}
	return nil
}

// deviations are by how many milliseconds reported times were off, as absolute
// values.
type deviations struct {
	connect, lookup []float64
	busy            float64
}

func (b *bench) errorsOf(lab *netns.Lab, p *peer, far netip.Addr, busy bool) (deviations, error) {
	j := job{layer: walkLayer, targets: manyPorts, every: time.Second, port: manyPort, farm: far.String(), in: lab.Client()}
	load := job{layer: httpsLayer, targets: 100, every: 300 * time.Millisecond, in: lab.Client()}
	if p.probe != nil {
		j.layer = httpsLayer
	} else if busy {
		j.load = 100
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
	time.Sleep(3 * time.Second)
	cpu, begin := proc.cpu(), time.Now()
	for time.Since(begin) < b.short(6*time.Second, 20*time.Second) {
		if p.probe != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for i := range j.targets {
			e.read(c, client, p, i)
			time.Sleep(time.Second / manyPorts)
		}
	}
	e.busy = (proc.cpu() - cpu).Seconds() / time.Since(begin).Seconds()
	mu.Lock()
	defer mu.Unlock()
	return deviations{e.connect, e.lookup, e.busy}, nil
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
