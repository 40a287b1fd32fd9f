package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/lab/netns"
	"vpcprobe/probes/trace"
)

// A traceOrder is what a confined child is asked to do: so many traces, one
// after the other, each with what the one before taught.
type traceOrder struct {
	Target netip.AddrPort
	Runs   int
	MTU    bool // measure packet sizes instead
}

// A traced is one of its results.
type traced struct {
	Wall   time.Duration
	CPU    time.Duration // of the process
	Result *trace.Result
	MTU    *trace.MTUResult
}

// traceChild carries out an order, as nobody and without any rights.
func traceChild(args []string) error {
	var o traceOrder
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	ctx, out := context.Background(), json.NewEncoder(os.Stdout)
	var results []traced
	var options trace.Options
	for range o.Runs {
		begin, cpu := time.Now(), used()
		var t traced
		var err error
		if o.MTU {
			t.MTU, err = trace.ProbeMTU(ctx, o.Target, "lab")
		} else {
			t.Result, err = trace.Run(ctx, o.Target, options)
		}
		if err != nil {
			return err
		}
		t.Wall, t.CPU = time.Since(begin), used()-cpu
		options.Prior = prior(t.Result)
		results = append(results, t)
	}
	return out.Encode(results)
}

// prior is what a trace teaches the next one, as the agent remembers it.
func prior(r *trace.Result) *trace.Prior {
	if r == nil || r.State != trace.Open || r.EndsAt == 0 {
		return nil
	}
	p := &trace.Prior{Length: r.EndsAt}
	for _, h := range r.Hops {
		if h.Answer == trace.Silent {
			p.Silent = append(p.Silent, h.TTL)
		}
		p.RTT = max(p.RTT, time.Duration(h.RTT))
	}
	return p
}

// used is the CPU time of this process.
func used() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// carryOut has an order carried out at the lab's client.
func carryOut(l *netns.Lab, o traceOrder) ([]traced, error) {
	arg, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	text, err := l.Client().Confined("trace", string(arg))
	if err != nil {
		return nil, err
	}
	var results []traced
	return results, json.Unmarshal(text, &results)
}

// The tools that the trace is compared with. All of them must be root.
var tracers = []struct {
	name string
	args []string
}{
	{"traceroute", []string{"-n", "-T", "-p", "443"}},
	{"tcptraceroute", []string{"-n"}},
	{"mtr", []string{"-n", "-T", "-P", "443", "-r", "-c", "1"}},
}

// A lane is a path with routers and delays: 2 ms, then 5 ms there and back.
func path() netns.Topology {
	t := netns.Row()
	t.Links = map[int]netns.Link{0: {Delay: time.Millisecond}, 3: {Delay: 1500 * time.Microsecond}}
	return t
}

// traces measures the path trace beside the tools that it replaces.
func (b *bench) traces() error {
	if err := netns.Missing(); err != nil {
		return err
	}
	for _, m := range []func() error{b.traceTimes, b.traceSilence, b.traceErrors, b.traceLeavings, b.traceBlackHole} {
		if err := m(); err != nil {
			return err
		}
	}
	return nil
}

// broken builds a lab with faults.
func broken(t netns.Topology, faults ...netns.Fault) (*netns.Lab, error) {
	l, err := netns.Build(t)
	if err != nil {
		return nil, err
	}
	for _, f := range faults {
		if err := f.Break(l); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// traceTimes measures how long a steady trace takes, beyond the largest round
// trip, and what it costs.
func (b *bench) traceTimes() error {
	for title, faults := range map[string][]netns.Fault{"all hops answer": nil, "one hop silent": {netns.SilentRouter}} {
		l, err := broken(path(), faults...)
		if err != nil {
			return err
		}
		all, err := carryOut(l, traceOrder{Target: l.Target(false), Runs: map[bool]int{true: 40, false: 200}[b.quick]})
		if err != nil {
			l.Close()
			return err
		}
		var over, cpu []float64
		for _, t := range all[1:] {
			over = append(over, (t.Wall-largest(t.Result)).Seconds()*1e3)
			cpu = append(cpu, t.CPU.Seconds()*1e3)
		}
		var sum float64
		for _, c := range cpu {
			sum += c
		}
		b.table.add(row{figure: "trace, steady, " + title + ": beyond the largest round trip, p90", unit: "ms", goal: 3, values: []float64{quantile(over, 0.9)}})
		b.table.add(row{figure: "trace, steady, " + title + ": CPU, mean", unit: "ms", goal: 0.5, values: []float64{sum / float64(len(cpu))}})
		b.table.note("trace, steady, %s: %d traces of %d hops, largest round trip %.1f ms, wall p50 %.1f ms; %s", title, len(over), len(all[1].Result.Hops),
			largest(all[1].Result).Seconds()*1e3, (quantile(over, 0.5))+largest(all[1].Result).Seconds()*1e3, b.others(l))
		l.Close()
	}
	return nil
}

func largest(r *trace.Result) (rtt time.Duration) {
	for _, h := range r.Hops {
		rtt = max(rtt, time.Duration(h.RTT))
	}
	return rtt
}

// patience is how long another tool may take.
const patience = 20 * time.Second

// others runs the other tools on the same path and says how long they took.
func (b *bench) others(l *netns.Lab) string {
	if b.quick {
		return "other tools are not run in a quick run"
	}
	var said []string
	for _, t := range tracers {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		cmd := exec.CommandContext(ctx, t.name, append(slices.Clone(t.args), l.Target(false).Addr().String())...)
		begin := time.Now()
		err := l.Client().Do(func() error { return cmd.Run() })
		switch {
		case ctx.Err() != nil:
			said = append(said, fmt.Sprintf("%s more than %v", t.name, patience))
		case err == nil:
			cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			said = append(said, fmt.Sprintf("%s %.0f ms and %.1f ms CPU", t.name, time.Since(begin).Seconds()*1e3, cpu.Seconds()*1e3))
		}
		cancel()
	}
	return strings.Join(said, ", ")
}

// traceSilence measures how long it takes to call a silent port filtered.
func (b *bench) traceSilence() error {
	l, err := broken(path(), netns.SecurityGroup)
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := carryOut(l, traceOrder{Target: l.Target(false), Runs: 5})
	if err != nil {
		return err
	}
	var wall []float64
	for _, t := range all {
		if t.Result.State != trace.Filtered {
			return fmt.Errorf("a silent port is called %s", t.Result.State)
		}
		wall = append(wall, t.Wall.Seconds()*1e3)
	}
	b.table.add(row{figure: "trace, silent port: verdict, longest of 5", unit: "ms", goal: 1000, values: []float64{slices.Max(wall)}})
	b.table.note("trace, silent port: %s", b.others(l))
	return nil
}

// traceErrors measures by how much round trips differ from those on the wire,
// with every CPU busy.
func (b *bench) traceErrors() error {
	l, err := broken(path())
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := newCapture(l.Client(), "e0")
	if err != nil {
		return err
	}
	defer c.stop()
	for _, cpu := range []int{proberCPU, farmCPU} {
		burner, err := start(self("burn"), cpu, nil)
		if err != nil {
			return err
		}
		defer burner.stop()
	}
	all, err := carryOut(l, traceOrder{Target: l.Target(false), Runs: map[bool]int{true: 40, false: 200}[b.quick]})
	if err != nil {
		return err
	}
	var errs []float64
	for _, t := range all {
		for _, h := range t.Result.Hops {
			if f, ok := c.connected(h.Port); ok && h.RTT > 0 {
				errs = append(errs, off(time.Duration(h.RTT).Seconds(), f.answer.Sub(f.syn)))
			}
		}
	}
	if len(errs) == 0 {
		return errors.New("no packet of the traces was captured")
	}
	b.table.add(row{figure: "trace, every CPU busy: error of round trips, p90", unit: "ms", goal: 0.5, values: []float64{quantile(errs, 0.9)}})
	b.table.note("trace, every CPU busy: round trips off by p50 %.3f, p90 %.3f, p99 %.3f ms in %d hops", quantile(errs, 0.5), quantile(errs, 0.9), quantile(errs, 0.99), len(errs))
	return nil
}

// burn keeps a CPU busy until the process is ended.
func burn([]string) error {
	unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	for n := uint64(1); ; n = n*6364136223846793005 + 1 {
		if n == 0 {
			return nil
		}
	}
}

// traceLeavings counts what many traces leave behind.
func (b *bench) traceLeavings() error {
	l, err := broken(netns.Row())
	if err != nil {
		return err
	}
	defer l.Close()
	runs := map[bool]int{true: 300, false: 3000}[b.quick]
	all, err := carryOut(l, traceOrder{Target: l.Target(false), Runs: runs})
	if err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // for the server to read the resets
	left := 0
	for _, host := range []*netns.Namespace{l.Client(), l.Server()} {
		states, err := host.Sockets()
		if err != nil {
			return err
		}
		for state, n := range states {
			if state != 10 { // listening
				left += n
			}
		}
	}
	most := 0
	for _, t := range all[1:] {
		most = max(most, t.Result.Handshakes)
	}
	b.table.add(row{figure: fmt.Sprintf("trace: sockets left at both ends after %d traces", runs), zero: true, values: []float64{float64(left)}})
	b.table.add(row{figure: "trace, steady: handshakes at the target per trace, most", goal: 1, values: []float64{float64(most)}})
	return nil
}

// traceBlackHole measures how long it takes to find an MTU black hole.
func (b *bench) traceBlackHole() error {
	l, err := broken(netns.Row(), netns.BlackHole)
	if err != nil {
		return err
	}
	defer l.Close()
	var wall []float64
	for range 5 {
		all, err := carryOut(l, traceOrder{Target: l.Target(false), Runs: 1, MTU: true})
		if err != nil {
			return err
		}
		if !all[0].MTU.BlackHole {
			return fmt.Errorf("the black hole was not found: %s", all[0].MTU)
		}
		wall = append(wall, all[0].Wall.Seconds()*1e3)
	}
	b.table.add(row{figure: "MTU black hole found, longest of 5", unit: "ms", goal: 500, values: []float64{slices.Max(wall)}})
	return nil
}
