package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/agent"
	"vpcprobe/lab"
	"vpcprobe/probes"
)

// A wound is what a soak does to the agent or its world, and the truth about
// it: the findings of the classes of target that it concerns. Others are well.
type wound struct {
	name  string
	fault lab.Fault
	want  map[string][]string // by class of target

	// What else is true, of the same targets, of a round during which this
	// sets in or is mended: half of what it did was done before, half after.
	torn []string

	// What the evidence of such a round may leave open beside which of these: the
	// client's files were judged after they were replaced, and what they held
	// before was refused, so they do not tell of that. Alone none of it is true.
	open map[string][]string

	starve bool // the agent loses its file descriptors: nothing is known, and nobody is blamed
	storm  bool // the configuration changes all the time, and is bad half of it
}

// onto is the truth about a fault that concerns classes of target alike.
func onto(finding string, classes ...string) map[string][]string {
	want := map[string][]string{}
	for _, c := range classes {
		want[c] = []string{finding}
	}
	return want
}

// wounds are all of real sockets and files: the agent is in another process.
func wounds() []wound {
	endpoint := []string{"orders", "billing", "catalog"}
	return []wound{
		{name: "the servers are killed", fault: lab.Refused, want: onto("connection-refused", endpoint...),
			torn: []string{"connection-cut", "connection-reset", "answer-cut"}},
		{name: "a security group drops everything", fault: lab.SecurityGroup, want: onto("traffic-dropped", endpoint...),
			torn: []string{"subnet-dropped", "connection-intermittent", "handshake-stalled", "answer-timeout"}},
		{name: "a subnet is cut off", fault: lab.Subnet(1), want: onto("subnet-dropped", endpoint...),
			torn: []string{"connection-intermittent", "handshake-stalled", "answer-timeout"}},
		{name: "DNS outage", fault: lab.ResolverSilent(), want: onto("resolver-silent", "orders", "billing", "partners", "catalog"),
			torn: []string{"one-family-failing"}},
		{name: "a resolver fails", fault: lab.ResolverServFail(0), want: onto("resolver-failing", "orders", "billing", "partners", "catalog"),
			torn: []string{"one-family-failing"}},
		{name: "the server's certificate has expired", fault: lab.CertificateExpired, want: onto("server-cert-expired", endpoint...)},
		{name: "the server's certificate is renewed by a stranger", fault: lab.CertificateUntrusted, want: onto("server-cert-untrusted", endpoint...)},
		{name: "the client's certificate is rotated, for five days", fault: lab.ClientExpiring, want: onto("client-cert-expiring", "partners")},
		{name: "the client's certificate is rotated, to a stranger's", fault: lab.ClientUntrusted, want: onto("client-cert-untrusted", "partners"),
			torn: []string{"client-cert-distrusted"},
			open: map[string][]string{"client-cert-distrusted": {"api-key-rejected", "waf-blocked", "base-path-unmapped", "host-not-recognized"}}},
		{name: "the clock is behind", fault: lab.ClockBehind, want: onto("clock-behind", "orders", "catalog")},
		{name: "the clock is ahead", fault: lab.ClockAhead, want: onto("clock-ahead", "orders", "catalog")},
		{name: "no new credentials, while there are good ones", fault: lab.NoCredentials},
		{name: "the usage plan is throttled", fault: lab.Throttled, want: onto("throttled", "billing")},
		{name: "something else answers", fault: lab.AnsweredByBalancer, want: onto("not-api-gateway", endpoint...)},
		{name: "no file descriptors", starve: true},
		{name: "a storm of reloads", storm: true},
	}
}

// A lived round is what a soak's agent tells of a round, as a line of JSON.
type lived struct {
	Target   string        `json:"target"`
	Start    int64         `json:"start"` // of the oldest observation that the findings rest on, or of the walk; in nanoseconds
	End      int64         `json:"end"`
	Verdict  agent.Verdict `json:"verdict"`
	Findings []string      `json:"findings"`
	Why      string        `json:"why,omitempty"`
	Blamed   []string      `json:"blamed,omitempty"` // what this walk saw fail: kind is outcome
	Faulty   bool          `json:"faulty,omitempty"`
}

func (l lived) class() string { c, _, _ := strings.Cut(l.Target, "-"); return c }

// A teller tells of rounds on standard output.
type teller struct {
	mu sync.Mutex
	e  *json.Encoder
}

func (t *teller) Record(r agent.Update) {
	l := lived{
		Target: r.Evidence.Target.Name, Start: r.Started.UnixNano(), End: r.Started.Add(r.Took).UnixNano(),
		Verdict: r.Verdict, Findings: found(*r.Round), Faulty: faulty(r),
	}
	for _, f := range r.Findings {
		for _, o := range f.Because {
			l.Start = min(l.Start, o.Start.UnixNano())
			l.Why += fmt.Sprintf("%s: %s %v %s; ", f.Rule.ID, o.Kind, o.Addr, agent.Text(o))
		}
	}
	for _, o := range r.Fresh {
		if o.Outcome.Blames() {
			l.Blamed = append(l.Blamed, fmt.Sprintf("%s is %s", o.Kind, o.Outcome))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.e.Encode(l)
}

// soaking makes the test binary the agent of a soak: it holds the folder of
// the parent's lab, whose port is in childRole.
const soaking = "TEST_OF_VPCPROBE_SOAK"

// soakAgent is the agent of a soak, until it is told to end.
func soakAgent(t *testing.T, dir string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	src := source{path: filepath.Join(dir, "soak.yaml")}
	text := src.read()
	loaded, err := src.parse(text)
	must(t, err)
	must(t, serve(ctx, daemon{
		config: loaded.Config, source: src, seen: text.sum(), sinks: []agent.Sink{&teller{e: json.NewEncoder(os.Stdout)}},
		system: probes.System{Network: elsewhere{os.Getenv(childRole)}, ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts")},
		log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}))
}

// A soak is an agent in a process of its own, a lab, and what happened.
type soak struct {
	*running
	lab     *lab.Lab
	random  *rand.Rand
	path    string
	config  string
	targets []string
	every   time.Duration
	child   *exec.Cmd

	mu      sync.Mutex
	latest  map[string]lived
	rounds  int
	wrong   []string
	periods []period // what was the matter when; the last one is now
}

// A period is a time in which one thing was the matter, or nothing. What is
// the matter sets in from its beginning until set, and is mended from mending
// on until the next period begins; 0 means not yet.
type period struct {
	from, set, mending int64
	wound
}

// tears reports whether the period sets in or is mended between two moments; next
// is when the next one begins, 0 if there is none yet.
func (p period) tears(start, end, next int64) bool {
	overlaps := func(from, to int64) bool { return from != 0 && from <= end && (to == 0 || to >= start) }
	return overlaps(p.from, p.set) || overlaps(p.mending, next)
}

// For weeks of unattended running: faults come and go at random, and none is
// missed, none is imagined, no round is lost, and nothing grows.
// VPCPROBE_SOAK=1h is a longer one, VPCPROBE_SEED repeats its choices.
func TestSoak(t *testing.T) {
	if dir := os.Getenv(soaking); dir != "" {
		soakAgent(t, dir)
		return
	}
	if os.Getenv("VPCPROBE_NIGHTLY") == "" && os.Getenv("VPCPROBE_SOAK") == "" {
		t.Skip("SKIP: a soak wants a machine of its own: it is part of .ci/run nightly, or set VPCPROBE_SOAK=20s")
	}
	length, targets, every := 20*time.Second, 50, time.Second
	if os.Getenv("VPCPROBE_NIGHTLY") != "" {
		length, targets, every = 30*time.Minute, 1000, 10*time.Second
	}
	seed := uint64(time.Now().UnixNano())
	for name, set := range map[string]func(string) error{
		"VPCPROBE_SOAK": func(v string) (err error) { length, err = time.ParseDuration(v); return },
		"VPCPROBE_SEED": func(v string) (err error) { seed, err = strconv.ParseUint(v, 10, 64); return },
	} {
		if v := os.Getenv(name); v != "" {
			must(t, set(v))
		}
	}
	if end, ok := t.Deadline(); ok && time.Until(end) < length+5*time.Minute {
		t.Fatalf("a soak of %v needs more time: go test -timeout %v", length, length+30*time.Minute)
	}
	t.Logf("VPCPROBE_SEED=%d, %d targets every %v for %v", seed, targets, every, length)
	s := startSoak(t, rand.New(rand.NewPCG(seed, 0)), targets, every)
	s.healthy()
	from, base := time.Now(), s.begun()
	before := s.size()
	s.live(length)
	s.healthy()
	s.flat(before, s.size())
	s.accounted(from, base)
	s.ends()
}

// startSoak starts a lab here and the agent in a child.
func startSoak(t *testing.T, random *rand.Rand, n int, every time.Duration) *soak {
	s := &soak{lab: startLab(t), random: random, every: every, latest: map[string]lived{}}
	s.periods = []period{{from: time.Now().UnixNano()}}
	dir := filepath.Dir(s.lab.System().Hosts)
	s.config = fmt.Sprintf("%severy: %v\ntimeout: 5s\nreload: {every: 1s, http: true}\ntargets:\n", onFreePorts, every)
	for class, share := range map[string]int{"orders": n / 10, "billing": n / 2, "partners": n * 3 / 10, "catalog": n / 10} {
		s.config += strings.TrimPrefix(many(t, s.lab, class, share), "targets:\n")
		for i := range share {
			s.targets = append(s.targets, fmt.Sprintf("%s-%d", class, i))
		}
	}
	s.path = write(t, dir, "soak.yaml", s.config)
	s.child = exec.Command(os.Args[0], "-test.run=^TestSoak$", "-test.timeout=0")
	s.child.Env = append(os.Environ(), childRole+"="+fmt.Sprint(s.lab.Port()), soaking+"="+dir)
	s.running = &running{t: t, log: &journal{}, done: make(chan error, 1)}
	out, err := s.child.StdoutPipe()
	must(t, err)
	s.child.Stderr = s.log
	must(t, s.child.Start())
	s.stop = func() { s.child.Process.Signal(syscall.SIGTERM) }
	t.Cleanup(func() { s.child.Process.Kill(); s.tell() })
	go func() {
		s.read(out)
		s.done <- s.child.Wait()
	}()
	ready := regexp.MustCompile(`msg=listening address=(\S+) for="metrics`)
	s.eventually("listening", func() bool {
		found := ready.FindStringSubmatch(s.log.String())
		if found != nil {
			s.url = "http://" + found[1]
		}
		return found != nil
	})
	return s
}

// read judges the rounds as the agent tells of them.
func (s *soak) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l lived
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Target == "" {
			continue // what the test binary says of itself
		}
		s.mu.Lock()
		s.latest[l.Target] = l
		s.rounds++
		s.judge(l)
		s.mu.Unlock()
	}
}

// judge notes what is wrong with a round: a finding that nothing explains that
// was the matter while its evidence was gathered.
func (s *soak) judge(l lived) {
	allowed := map[string]bool{}
	for i, p := range s.periods {
		var next int64
		if i+1 < len(s.periods) {
			next = s.periods[i+1].from
		}
		if next != 0 && next < l.Start || p.from > l.End {
			continue
		}
		for _, id := range p.want[l.class()] {
			allowed[id] = true
		}
		if p.want[l.class()] == nil || !p.tears(l.Start, l.End, next) {
			continue
		}
		for _, id := range p.torn {
			allowed[id] = true
		}
		for _, id := range l.Findings {
			for _, other := range p.open[id] {
				allowed[other] = true
			}
		}
	}
	for _, id := range l.Findings {
		if !allowed[id] {
			s.complain("%s is said to have %s, while %s: %s", l.Target, id, s.periods[len(s.periods)-1].name, l.Why)
		}
	}
}

// complain notes what is wrong, up to a number that can be read.
func (s *soak) complain(format string, args ...any) {
	if len(s.wrong) < 50 {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	}
}

// begin says that something else is the matter from now on. It is called
// before a fault sets in and after one was mended, so that a period is never
// shorter than what it tells of.
func (s *soak) begin(w wound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.periods = append(s.periods, period{from: time.Now().UnixNano(), wound: w})
	if len(s.periods) > 100 {
		s.periods = slices.Delete(s.periods, 0, 50)
	}
}

// note notes something about what is the matter now.
func (s *soak) note(f func(*period)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.periods[len(s.periods)-1])
}

// all waits until the latest round of every target is as wanted, and was begun
// after the latest change.
func (s *soak) all(what string, ok func(lived) bool) {
	s.t.Helper()
	var missing []string
	for deadline := time.Now().Add(5*time.Minute + 10*s.every); ; time.Sleep(20 * time.Millisecond) {
		missing = missing[:0]
		s.mu.Lock()
		from := s.periods[len(s.periods)-1].from
		for _, name := range s.targets {
			if l := s.latest[name]; l.End < from || !ok(l) {
				missing = append(missing, fmt.Sprintf("%s: %s %v %s", name, l.Verdict, l.Findings, l.Why))
			}
		}
		s.mu.Unlock()
		if len(missing) == 0 {
			return
		}
		select {
		case err := <-s.done:
			s.t.Fatalf("the agent ended: %v\n%s", err, s.log)
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for: %s\n%s\n%s", what, strings.Join(missing[:min(5, len(missing))], "\n"), s.log)
		}
	}
}

// healthy waits until all is well with every target.
func (s *soak) healthy() {
	s.t.Helper()
	s.all("all is well", func(l lived) bool { return l.Verdict == agent.Reachable && len(l.Findings) == 0 })
}

// live inflicts wounds and heals them, in random order, each at least once if
// there is time.
func (s *soak) live(length time.Duration) {
	s.t.Helper()
	var order []wound
	for end := time.Now().Add(length); time.Now().Before(end); {
		if len(order) == 0 {
			order = wounds()
			s.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		w := order[0]
		order = order[1:]
		began := time.Now()
		s.inflict(w)
		s.healthy()
		s.t.Logf("%v: %s", time.Since(began).Round(100*time.Millisecond), w.name)
		time.Sleep(time.Duration(s.random.Int64N(int64(s.every))))
	}
}

// inflict lets something be the matter until the agent has said so of every
// target that it concerns, and then a random while, and heals it.
func (s *soak) inflict(w wound) {
	s.t.Helper()
	s.begin(w)
	switch {
	case w.starve:
		s.starve()
	case w.storm:
		s.storm()
	default:
		s.lab.Break(w.fault)
		s.note(func(p *period) { p.set = time.Now().UnixNano() })
		s.all(w.name+" is seen", func(l lived) bool { return slices.Equal(l.Findings, w.want[l.class()]) })
		time.Sleep(time.Duration(s.random.Int64N(int64(s.every))))
		s.note(func(p *period) { p.mending = time.Now().UnixNano() })
		s.lab.Heal()
	}
	s.begin(wound{name: "all is well, after: " + w.name})
}

// starve takes the agent's file descriptors away until that was felt.
func (s *soak) starve() {
	pid := s.child.Process.Pid
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(s.t, err)
	var old unix.Rlimit
	must(s.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(min(len(open), 12)), Max: 4096}, &old))
	defer func() {
		old.Max = 4096
		old.Cur = min(old.Cur, old.Max)
		must(s.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil))
	}()
	s.eventually("faults for want of file descriptors", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := 0
		for _, l := range s.latest {
			if l.Faulty {
				n++
			}
		}
		return n > len(s.targets)/4
	})
}

// storm changes the configuration again and again, by every way of reloading
// it. What is said of the targets does not change.
func (s *soak) storm() {
	for i := range 20 {
		text := fmt.Sprintf("# version %d\n%s", i, s.config)
		if i%2 == 1 {
			text += "  - name: [\n"
		}
		next := s.path + ".next"
		must(s.t, os.WriteFile(next, []byte(text), 0o600))
		must(s.t, os.Rename(next, s.path))
		switch s.random.IntN(3) {
		case 0:
			s.do("POST", "/-/reload")
		case 1:
			s.child.Process.Signal(syscall.SIGHUP)
		}
		time.Sleep(time.Duration(s.random.Int64N(int64(200 * time.Millisecond))))
	}
	must(s.t, os.WriteFile(s.path, []byte(s.config), 0o600))
	s.eventually("the last text is in force", func() bool {
		s.do("POST", "/-/reload")
		ok, _ := s.metric("config_last_reload_successful")
		return ok == 1
	})
}

// What may grow.
type size struct{ heap, goroutines, descriptors, walks float64 }

// size is the least of what there is in a quiet while; one is waited for, as
// long as that is reasonable.
func (s *soak) size() size {
	least := size{1e18, 1e18, 1e18, 1e18}
	const quiet, patience = 2, time.Minute
	start := time.Now()
	for time.Since(start) < max(3*time.Second, 2*s.every) || least.walks > quiet && time.Since(start) < patience {
		now := s.scrape("go_memstats_heap_alloc_bytes", "go_goroutines", "process_open_fds", "vpcprobe_in_flight")
		least = size{min(least.heap, now[0]), min(least.goroutines, now[1]), min(least.descriptors, now[2]), min(least.walks, now[3])}
		time.Sleep(50 * time.Millisecond)
	}
	return least
}

// scrape reads series without labels, all at one time.
func (s *soak) scrape(names ...string) []float64 {
	s.t.Helper()
	_, text := s.do("GET", "/metrics")
	values := make([]float64, len(names))
	for i, name := range names {
		found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if found == nil {
			s.t.Fatalf("no %s in\n%s", name, text)
		}
		v, err := strconv.ParseFloat(found[1], 64)
		must(s.t, err)
		values[i] = v
	}
	return values
}

// waiting is how many goroutines the agent lets wait for further walks.
const waiting = 48

// flat complains if anything grew. A heap is never twice the same.
func (s *soak) flat(before, after size) {
	s.t.Logf("before %+v, after %+v", before, after)
	if after.heap > 1.5*before.heap+4<<20 {
		s.t.Errorf("the heap grew from %v to %v bytes", before.heap, after.heap)
	}
	if after.walks > before.walks+5 {
		s.t.Logf("SKIP: goroutines and descriptors are not compared: this machine is so busy that %v walks are always under way", after.walks)
		return
	}
	if after.goroutines > before.goroutines+max(float64(len(s.targets))/10, waiting)+5 {
		s.t.Errorf("there were %v goroutines and are %v", before.goroutines, after.goroutines)
	}
	if after.descriptors > before.descriptors+float64(len(s.targets))/10+5 {
		s.t.Errorf("there were %v file descriptors and are %v", before.descriptors, after.descriptors)
	}
}

// begun is how many walks were begun or counted as missed.
func (s *soak) begun() float64 {
	s.t.Helper()
	now := s.scrape("vpcprobe_scheduler_runs_total", "vpcprobe_scheduler_missed_runs_total")
	s.t.Logf("%v runs, %v missed", now[0], now[1])
	return now[0] + now[1]
}

// accounted complains of lost rounds: every walk that was begun was told of or
// is under way, and every walk that was due since a moment was begun or counted
// as missed. A target may be a walk short, because it is not due in the moments
// at which counting begins and ends.
func (s *soak) accounted(from time.Time, base float64) {
	s.t.Helper()
	s.eventually("every walk begun is told of or under way", func() bool {
		before := s.told()
		now := s.scrape("vpcprobe_in_flight", "vpcprobe_scheduler_runs_total")
		return before <= now[1] && now[1]-now[0] <= s.told()
	})
	n := float64(len(s.targets))
	due := n*time.Since(from).Seconds()/s.every.Seconds() - n
	if begun := s.begun() - base; begun < due {
		s.t.Errorf("%v walks were begun or missed, and %.0f were due", begun, due)
	}
}

func (s *soak) told() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(s.rounds)
}

// tell tells what the agent got wrong, also if the soak ended early.
func (s *soak) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("%d rounds", s.rounds)
	for _, w := range s.wrong {
		s.t.Error(w)
	}
	if s.t.Failed() {
		s.t.Logf("%s", s.log)
	}
}

// The judge of a soak can tell: what was the matter while the evidence was
// gathered explains a finding, and nothing else does.
func TestSoakJudges(t *testing.T) {
	s := &soak{periods: []period{
		{from: 0},
		{from: 10, set: 11, mending: 19, wound: wound{want: onto("traffic-dropped", "orders"), torn: []string{"connection-cut"}}},
		{from: 20}, {from: 30, wound: wound{starve: true}}, {from: 40},
	}}
	for _, tt := range []struct {
		target     string
		start, end int64
		findings   []string
		wrong      int
	}{
		{"orders-1", 12, 15, []string{"traffic-dropped"}, 0},
		{"orders-1", 5, 11, []string{"traffic-dropped"}, 0},
		{"orders-1", 19, 45, []string{"traffic-dropped"}, 0},
		{"orders-1", 12, 15, []string{"traffic-dropped", "subnet-dropped"}, 1},
		{"orders-1", 9, 12, []string{"connection-cut"}, 0},
		{"orders-1", 11, 12, []string{"connection-cut"}, 0},
		{"orders-1", 12, 19, []string{"connection-cut"}, 0},
		{"orders-1", 20, 21, []string{"connection-cut"}, 0},
		{"orders-1", 12, 15, []string{"connection-cut"}, 1},
		{"billing-1", 9, 12, []string{"connection-cut"}, 1},
		{"orders-1", 2, 9, []string{"traffic-dropped"}, 1},
		{"orders-1", 21, 25, []string{"traffic-dropped"}, 1},
		{"partners-1", 12, 15, []string{"traffic-dropped"}, 1},
		{"billing-1", 31, 35, []string{"connection-refused"}, 1},
		{"billing-1", 41, 45, nil, 0},
	} {
		s.wrong = nil
		s.judge(lived{Target: tt.target, Start: tt.start, End: tt.end, Findings: tt.findings})
		if len(s.wrong) != tt.wrong {
			t.Errorf("%+v: %v", tt, s.wrong)
		}
	}
}
