package trace

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/resolve"
)

const name = "trace"

// Kind traces the path to every address of the target.
var Kind = probes.Kind{
	Name:    name,
	Doc:     "traces the path to every address, and finds who answers and where silence begins (replaces traceroute -n -T -p 443)",
	Per:     probes.PerTarget,
	Every:   pace,
	Metrics: []*probes.Metric{state, pathLength, silentFrom, changesTotal, terminatedEarly, mssRewritten, pathMTU},
	Rules:   Rules,
	Refine:  Refine,
	New: func(sys probes.System) probes.Constructor {
		clock := keepStamping()
		return func(t *probes.Target) (probes.Probe, error) {
			p := &prober{clock: clock, network: sys.Network, pace: pace, memories: map[netip.AddrPort]*memory{}}
			if own, ok := t.Pace[name]; ok {
				p.pace = own
			}
			return p, nil
		}
	},
}

const (
	pace = 5 * time.Minute

	// stagger is the time between the starts of traces to several addresses,
	// which share their first routers: those limit how many ICMP messages they
	// send per second.
	stagger = 200 * time.Millisecond

	// patience is how long to wait for a router that gets no answer to ARP: a
	// little more than the three seconds after which Linux gives up.
	patience = 3600 * time.Millisecond
)

// The numbers that traces carry, all by address.
var (
	state = &probes.Metric{
		Name:   "trace_state",
		Help:   "What the latest path trace found the address to be, as the label state; always 1.",
		Labels: []string{"address", "state"},
	}
	pathLength = &probes.Metric{
		Name:   "path_length",
		Help:   "Number of hops to where the handshake completes, as the mode of several traces.",
		Labels: []string{"address"},
	}
	silentFrom = &probes.Metric{
		Name:   "path_silent_from_hop",
		Help:   "The hop at which silence begins on the way to a filtered address; 1 if nothing answers at all.",
		Labels: []string{"address"},
	}
	changesTotal = &probes.Metric{
		Name: "path_changes_total", Type: probes.Counter,
		Help:   "How often the path was found changed: its length, or a router met by the same flow.",
		Labels: []string{"address"},
	}
	terminatedEarly = &probes.Metric{
		Name:   "path_tcp_terminated_early",
		Help:   "Whether something before the address completes the TCP handshake in its place (1) or not (0); absent until the UDP control was traced.",
		Labels: []string{"address"},
	}
	mssRewritten = &probes.Metric{
		Name:   "path_mss_bytes",
		Help:   "The segment size in bytes that a device on the way wrote into our SYN; absent if none did.",
		Labels: []string{"address"},
	}
	pathMTU = &probes.Metric{
		Name:   "path_mtu_bytes",
		Help:   "The largest packet in bytes known to pass on the path: measured where large packets were suspected to vanish, else what the kernel believes.",
		Labels: []string{"address"},
	}
)

// Of returns the result that an observation of this kind holds, nil if it is
// of another kind or was not traced.
func Of(o probes.Observation) *Result {
	r, _ := o.Detail.(*Result)
	return r
}

// On returns the latest trace of an address.
func On(seen probes.Evidence, addr netip.AddrPort) (probes.Observation, *Result) {
	for _, o := range seen.Of(name) {
		if r := Of(o); r != nil && o.Addr == addr {
			return o, r
		}
	}
	return probes.Observation{}, nil
}

// A prober traces the addresses of one target.
type prober struct {
	clock    *stamping // held open as long as there are probers
	network  probes.Network
	pace     time.Duration
	memories map[netip.AddrPort]*memory
}

// A memory is what is known of one address between rounds.
type memory struct {
	Memory
	traced   time.Time      // when it was last traced
	connect  probes.Outcome // how connecting had ended then
	slow     bool           // and whether TLS hung
	mtu      *MTUResult     // of the last time, if it was probed
	counted  int            // changes of the path already counted
	observed probes.Observation
}

// A site is one address of the round, and what the other kinds say of it.
type site struct {
	addr       netip.AddrPort
	serverName string
	connect    probes.Outcome // OK if any lane with this address is
	slow       bool           // TCP opens, but the TLS handshake has timed out
}

// Probe implements [probes.Probe]. Each address of the endpoint is traced when
// it cannot be connected to, when that has changed, and else at its pace; of
// the others the latest observation still stands.
func (p *prober) Probe(ctx context.Context, seen probes.Evidence, _ *probes.Line) []probes.Observation {
	sites := sitesOf(seen)
	if len(sites) == 0 {
		return probes.Skip("")
	}
	p.forget(sites)
	obs := make([]probes.Observation, len(sites))
	var all sync.WaitGroup
	starts := 0
	for i, s := range sites {
		m := p.memories[s.addr]
		if m == nil {
			m = new(memory)
			p.memories[s.addr] = m
		}
		if !m.due(s, p.pace) {
			obs[i] = m.observed
			continue
		}
		delay := time.Duration(starts) * stagger
		starts++
		all.Go(func() { obs[i] = p.observe(ctx, s, m, delay) })
	}
	all.Wait()
	return obs
}

// sitesOf lists the addresses of the endpoint to which the lanes lead.
func sitesOf(seen probes.Evidence) []site {
	var sites []site
	for _, lane := range seen.Lanes {
		if !resolve.Inside(seen, lane.Addr.Addr()) {
			continue
		}
		i := slices.IndexFunc(sites, func(s site) bool { return s.addr == lane.Addr })
		if i < 0 {
			i = len(sites)
			sites = append(sites, site{addr: lane.Addr, serverName: lane.ServerName})
		}
		if o, ok := seen.On(connect.Kind.Name, lane); ok && sites[i].connect != probes.OK {
			sites[i].connect = o.Outcome
		}
		// The layer above is named by its word, since it is not to be imported:
		// what it saw in an earlier round only says when to look closer.
		if o, ok := seen.On("handshake", lane); ok && o.Outcome == probes.Timeout {
			sites[i].slow, sites[i].serverName = true, lane.ServerName
		}
	}
	return sites
}

// forget drops what is known of addresses that are gone.
func (p *prober) forget(sites []site) {
	for addr := range p.memories {
		if !slices.ContainsFunc(sites, func(s site) bool { return s.addr == addr }) {
			delete(p.memories, addr)
		}
	}
}

// due reports whether an address is to be traced now. A little less than the
// pace is enough, since rounds are not exactly that far apart.
func (m *memory) due(s site, pace time.Duration) bool {
	return m.traced.IsZero() || s.connect != probes.OK || s.connect != m.connect || s.slow || m.slow || time.Since(m.traced) > pace*9/10
}

// observe traces one address, after a delay.
func (p *prober) observe(ctx context.Context, s site, m *memory, delay time.Duration) probes.Observation {
	o := probes.Observation{Addr: s.addr, Start: time.Now(), Outcome: probes.Skipped}
	real, ok := probes.Leads(p.network, s.addr)
	if !ok || s.connect == probes.Skipped {
		return o
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	o.Start = time.Now()
	options := Options{Control: s.connect != probes.OK}
	if s.connect == probes.Unreachable { // some router said so, perhaps only after it got no answer to ARP
		options.Patience = patience
	}
	changes := m.Changes()
	r, err := m.Trace(ctx, real, options)
	if err != nil {
		o.Outcome, o.Err = failure(ctx, err), err
		return o
	}
	p.weigh(ctx, real, s, m, m.Changes() > changes)
	o.Outcome, o.Err = outcome(r)
	o.Phases = []probes.Phase{{Name: probes.PhaseConnect, Took: time.Duration(r.Took)}}
	o.Detail = r
	o.Values = append(readings(r), m.count()...)
	m.traced, m.connect, m.slow = o.Start, s.connect, s.slow
	m.observed = o
	m.observed.Values = readings(r) // what was counted is not counted again
	return o
}

// weigh measures how large packets may be, if TLS hangs where TCP does not, if
// large ones vanished the last time, and if the path has changed.
func (p *prober) weigh(ctx context.Context, real netip.AddrPort, s site, m *memory, changed bool) {
	r := m.Last()
	before := m.mtu
	m.mtu = nil
	if r.State != Open || !(s.slow || changed || before != nil && before.BlackHole) {
		return
	}
	if mtu, err := ProbeMTU(ctx, real, s.serverName); err == nil && ctx.Err() == nil {
		r.MTU, m.mtu = mtu, mtu
	}
}

// failure says how a trace ended that could not do its work. That its time ran
// out is not the target's fault: nothing conclusive was seen.
func failure(ctx context.Context, err error) probes.Outcome {
	if errors.Is(ctx.Err(), context.Canceled) {
		return probes.Aborted
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return probes.Fault
	}
	return probes.Classify(err)
}

// outcome is the state in the words of all kinds.
func outcome(r *Result) (probes.Outcome, error) {
	words := map[State]probes.Outcome{
		Open: probes.OK, Refused: probes.Refused, Prohibited: probes.Prohibited, PortUnreachable: probes.Prohibited,
		HostUnreachable: probes.Unreachable, NetUnreachable: probes.Unreachable, Loop: probes.Loop, Filtered: probes.Timeout,
	}
	if o, ok := words[r.State]; ok {
		if o == probes.OK {
			return o, nil
		}
		return o, errors.New(r.String())
	}
	return probes.Classify(r.err), r.err
}

// readings are the numbers of a result.
func readings(r *Result) []probes.Value {
	values := []probes.Value{state.Is(1, string(r.State))}
	if r.PathLength > 0 {
		values = append(values, pathLength.Is(float64(r.PathLength)))
	}
	if r.SilentFrom > 0 {
		values = append(values, silentFrom.Is(float64(r.SilentFrom)))
	}
	if r.State == Open && len(r.Control) > 0 {
		values = append(values, terminatedEarly.If(r.Between))
	}
	if r.MSS != nil {
		values = append(values, mssRewritten.Is(float64(r.MSS.To)))
	}
	switch {
	case r.MTU != nil && r.MTU.Passing > 0:
		values = append(values, pathMTU.Is(float64(r.MTU.Passing)))
	case r.PathMTU > 0:
		values = append(values, pathMTU.Is(float64(r.PathMTU)))
	}
	return values
}

// count returns the changes of the path that were not counted yet.
func (m *memory) count() []probes.Value {
	n := m.Changes() - m.counted
	m.counted = m.Changes()
	if n == 0 {
		return nil
	}
	return []probes.Value{changesTotal.Is(float64(n))}
}
