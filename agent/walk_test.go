package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

// A diary notes what happened when, from several goroutines.
type diary struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.start.IsZero() {
		d.start = time.Now()
	}
	d.lines = append(d.lines, fmt.Sprintf("%v ", time.Since(d.start))+fmt.Sprintf(format, args...))
}

func (d *diary) sorted() []string { slices.Sort(d.lines); return d.lines }

// takes is a probe that lasts, and notes its beginning.
func (d *diary) takes(name string, how func(*probes.Line) time.Duration) fake {
	return func(ctx context.Context, _ probes.Evidence, line *probes.Line) []probes.Observation {
		where := ""
		if line != nil {
			where = " " + line.Addr.Addr().String()
		}
		d.note("%s%s", name, where)
		time.Sleep(how(line))
		return []probes.Observation{{Outcome: probes.OK}}
	}
}

func always(d time.Duration) func(*probes.Line) time.Duration {
	return func(*probes.Line) time.Duration { return d }
}

// Lanes do not wait for one another, and what runs once per target runs beside
// the lanes' further steps once all lanes have come so far.
func TestOrderOfAWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		silent := func(line *probes.Line) time.Duration {
			if line.Lane == lane(2) {
				return 900 * time.Millisecond
			}
			return 10 * time.Millisecond
		}
		check(t,
			opens(d.takes("resolve", always(50*time.Millisecond)), lanes(1, 2)),
			kind("connect", probes.PerLane, d.takes("connect", silent)),
			kind("trace", probes.PerTarget, d.takes("trace", always(2*time.Second))),
			kind("identify", probes.PerTarget, d.takes("identify", always(time.Millisecond))),
			kind("handshake", probes.PerLane, d.takes("handshake", always(10*time.Millisecond))),
			kind("invoke", probes.PerLane, d.takes("invoke", always(10*time.Millisecond))),
			kind("followup", probes.PerTarget, d.takes("followup", always(0))),
		)
		want := []string{
			"0s resolve",
			"2.951s followup",
			"2.95s identify",
			"50ms connect 10.0.0.1",
			"50ms connect 10.0.0.2",
			"60ms handshake 10.0.0.1",
			"70ms invoke 10.0.0.1",
			"950ms handshake 10.0.0.2",
			"950ms trace",
			"960ms invoke 10.0.0.2",
		}
		if diff := cmp.Diff(want, d.sorted()); diff != "" {
			t.Error(diff)
		}
	})
}

// Every step sees this round's observations of the steps below it: on a lane
// those of its own lane, once per target those of all lanes.
func TestWhatAStepSees(t *testing.T) {
	var mu sync.Mutex
	sees := map[string]string{}
	look := func(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
		var words []string
		for o := range seen.All() {
			words = append(words, o.Kind+"@"+o.Addr.Addr().String())
		}
		who := "target"
		if line != nil {
			who = line.Addr.Addr().String()
		}
		mu.Lock()
		defer mu.Unlock()
		sees[who] = strings.Join(words, " ")
		return nil
	}
	check(t,
		opens(ends(probes.OK), lanes(1, 2)),
		kind("connect", probes.PerLane, ends(probes.OK)),
		kind("handshake", probes.PerLane, look),
		kind("followup", probes.PerTarget, look),
	)
	want := map[string]string{
		"10.0.0.1": "resolve@invalid IP connect@10.0.0.1",
		"10.0.0.2": "resolve@invalid IP connect@10.0.0.2",
		"target":   "resolve@invalid IP connect@10.0.0.1 connect@10.0.0.2",
	}
	if diff := cmp.Diff(want, sees); diff != "" {
		t.Error(diff)
	}
}

// A conn that tells when it is closed.
type conn struct {
	net.Conn
	close func()
}

func (c conn) Close() error { c.close(); return nil }

// One connection carries the steps of a lane, each knows whether another
// follows, and the walk closes it.
func TestALineIsCarriedAndClosed(t *testing.T) {
	var said []string
	step := func(name string) fake {
		return func(_ context.Context, _ probes.Evidence, line *probes.Line) []probes.Observation {
			said = append(said, fmt.Sprintf("%s conn=%t more=%t", name, line.Conn != nil, line.More))
			if line.Conn == nil {
				line.Conn = conn{close: func() { said = append(said, "closed") }}
			}
			return []probes.Observation{{Outcome: probes.OK}}
		}
	}
	check(t,
		opens(ends(probes.OK), lanes(1)),
		kind("connect", probes.PerLane, step("connect")),
		kind("identify", probes.PerTarget, nil),
		kind("handshake", probes.PerLane, step("handshake")),
		kind("nothing", probes.PerLane, nil),
		kind("invoke", probes.PerLane, step("invoke")),
	)
	want := []string{
		"connect conn=false more=true",
		"handshake conn=true more=true",
		"invoke conn=true more=false",
		"closed",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
}

// The agent fills in what all probes would have to repeat.
func TestFilledIn(t *testing.T) {
	r := check(t,
		opens(ends(probes.OK), lanes(1)),
		kind("connect", probes.PerLane, func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			return []probes.Observation{{Outcome: probes.OK}, {Outcome: probes.OK, Name: "own", Via: probes.ViaAlias, Addr: lane(9).Addr}}
		}),
	)
	type who struct{ Kind, Via, Name, Addr string }
	var got []who
	for o := range r.Evidence.All() {
		got = append(got, who{o.Kind, string(o.Via), o.Name, o.Addr.String()})
		if o.Start.IsZero() {
			t.Errorf("%s has no start", o.Kind)
		}
	}
	want := []who{
		{"resolve", "", "", "invalid AddrPort"},
		{"connect", "private-dns", "api.test", "10.0.0.1:443"},
		{"connect", "alias", "own", "10.0.0.9:443"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Without lanes the steps on lanes are skipped, and nothing is blamed twice.
func TestNoLanes(t *testing.T) {
	r := check(t,
		opens(ends(probes.NoSuchName), lanes()),
		kind("connect", probes.PerLane, func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
			t.Error("connect ran")
			return nil
		}),
	)
	if got := outcomes(r); got != "resolve=no_such_name connect=skipped" {
		t.Error(got)
	}
	if r.Verdict != Unreachable {
		t.Error(r.Verdict)
	}
}

func outcomes(r Round) string {
	var words []string
	for o := range r.Evidence.All() {
		words = append(words, o.Kind+"="+string(o.Outcome))
	}
	return strings.Join(words, " ")
}

// What panics is a fault of ours: it blames nothing, stops nothing else, and
// is logged with its stack, once.
func TestPanicsAreContained(t *testing.T) {
	var log bytes.Buffer
	bad := kind("handshake", probes.PerLane, func(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
		panic("oops, api_key=sesame-open-99")
	})
	bad.Rules = []*probes.Rule{{ID: "buggy", Match: func(probes.Evidence) (probes.Certainty, []probes.Observation) { panic("rule") }}}
	a, err := New([]*probes.Target{target("orders")}, []probes.Kind{
		opens(ends(probes.OK), lanes(1, 2)),
		kind("connect", probes.PerLane, ends(probes.OK)),
		bad,
		kind("invoke", probes.PerLane, ends(probes.Skipped)),
	}, probes.System{}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := a.Check(t.Context(), nil, func(Step) {})
	if err != nil {
		t.Fatal(err)
	}
	r := rounds[0]
	if got, want := outcomes(r), "resolve=ok connect=ok connect=ok handshake=fault handshake=fault invoke=skipped invoke=skipped"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r.Verdict != Unknown || len(r.Findings) != 0 {
		t.Errorf("%s, %v", r.Verdict, r.Findings)
	}
	if got, want := r.Evidence.Of("handshake")[0].Err.Error(), "panic: oops, api_key=[redacted]"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	text := log.String()
	if n := strings.Count(text, "probe handshake"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if !strings.Contains(text, "walk_test.go") || !strings.Contains(text, "finding buggy") || strings.Contains(text, "sesame") {
		t.Error(text)
	}
}

// A probe that forgets to say how it ended has a bug, and so do lanes that
// panic.
func TestSillyKinds(t *testing.T) {
	silly := opens(ends(""), func() []probes.Lane { panic("no lanes") })
	r := check(t, silly, kind("connect", probes.PerLane, ends(probes.OK)))
	if got := outcomes(r); got != "resolve=fault connect=skipped" {
		t.Error(got)
	}
	if r.Verdict != Unknown {
		t.Error(r.Verdict)
	}
}

// When the context ends, what was learned stays, what was in flight is aborted
// and what was not begun is not begun.
func TestInterruptedCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ probes.Evidence, line *probes.Line) []probes.Observation {
			if line.Lane == lane(1) {
				return []probes.Observation{{Outcome: probes.Refused}}
			}
			<-ctx.Done()
			return []probes.Observation{{Outcome: probes.Timeout, Err: errors.New("cut off")}}
		}
		a := newAgent(t, []probes.Kind{
			opens(ends(probes.OK), lanes(1, 2)),
			kind("connect", probes.PerLane, hangs),
			kind("handshake", probes.PerLane, ends(probes.Skipped)),
			kind("followup", probes.PerTarget, ends(probes.Denied)),
		}, target("orders"))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		rounds, err := a.Check(ctx, nil, func(Step) {})
		if err != nil {
			t.Fatal(err)
		}
		want := "resolve=ok connect=refused connect=aborted handshake=skipped handshake=aborted followup=aborted"
		if got := outcomes(rounds[0]); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if len(rounds[0].Findings) != 0 {
			t.Errorf("half the evidence gave findings: %v", rounds[0].Findings)
		}
	})
}

// A probe that does not bound its operations is bounded by the agent.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		slow := func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
			start := time.Now()
			<-ctx.Done()
			took = time.Since(start)
			return []probes.Observation{{Outcome: probes.Classify(ctx.Err()), Err: ctx.Err()}}
		}
		r := check(t, opens(ends(probes.OK), lanes(1)), kind("connect", probes.PerLane, slow))
		if took != lanePatience*time.Second || outcomes(r) != "resolve=ok connect=timeout" {
			t.Errorf("%v: %s", took, outcomes(r))
		}
	})
}

// Progress is told in the order of kinds, though a trace ends long after the
// handshakes.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		a := newAgent(t, []probes.Kind{
			opens(d.takes("resolve", always(0)), lanes(1, 2)),
			kind("connect", probes.PerLane, d.takes("connect", always(time.Second))),
			kind("trace", probes.PerTarget, d.takes("trace", always(time.Minute))),
			kind("nothing", probes.PerTarget, nil),
			kind("handshake", probes.PerLane, d.takes("handshake", always(time.Second))),
			kind("nothing", probes.PerTarget, nil),
		}, target("orders"))
		start := time.Now()
		var told []string
		if _, err := a.Check(t.Context(), []string{"orders"}, func(s Step) {
			told = append(told, fmt.Sprintf("%v %s %s %d %d %t", time.Since(start), s.Target.Name, s.Kind, len(s.Observations), len(s.Lanes), s.Last))
		}); err != nil {
			t.Fatal(err)
		}
		want := []string{"0s orders resolve 1 0 false", "1s orders connect 2 2 false", "1m1s orders trace 1 2 false", "1m1s orders handshake 2 2 true"}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCheckOfUnknownNames(t *testing.T) {
	a := newAgent(t, []probes.Kind{opens(ends(probes.OK), lanes())}, target("orders"), target("carts"))
	_, err := a.Check(t.Context(), []string{"orders", "order", "cart"}, func(Step) {})
	if err == nil || err.Error() != "no target is called \"order\"\nno target is called \"cart\"" {
		t.Error(err)
	}
	positions := map[string]int{}
	if _, err := a.Check(t.Context(), nil, func(s Step) { positions[s.Target.Name] = s.Position }); err != nil || positions["orders"] != 0 || positions["carts"] != 1 {
		t.Errorf("%v, %v", err, positions)
	}
	rounds, err := a.Check(t.Context(), []string{"carts"}, func(s Step) { positions[s.Target.Name] = s.Position })
	if positions["carts"] != 0 {
		t.Error(positions)
	}
	if err != nil || len(rounds) != 1 || rounds[0].Evidence.Target.Name != "carts" {
		t.Errorf("%v, %v", rounds, err)
	}
}

// Mistakes are told with the target's name, all at once.
func TestMistakes(t *testing.T) {
	picky := probes.Kind{Name: "picky", New: func(probes.System) probes.Constructor {
		return func(t *probes.Target) (probes.Probe, error) { return nil, errors.New("client.key: no such file") }
	}}
	_, err := New([]*probes.Target{target("orders"), target("carts"), target("orders")}, []probes.Kind{picky}, probes.System{}, Options{})
	want := `target "orders": picky: client.key: no such file
target "carts": picky: client.key: no such file
target "orders": there are two of this name`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A step ends at its deadline: a kind that keeps to deadlines is told when that
// is, any other also by a context that is done.
func TestDeadlineOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := map[string]time.Duration{}
		start := time.Now()
		waits := func(name string, wait func(context.Context)) fake {
			return func(ctx context.Context, _ probes.Evidence, _ *probes.Line) []probes.Observation {
				begun := time.Since(start)
				wait(ctx)
				ended[name] = time.Since(start) - begun
				return []probes.Observation{{Outcome: probes.OK}}
			}
		}
		punctual := opens(waits("resolve", func(ctx context.Context) {
			by, _ := ctx.Deadline()
			time.Sleep(time.Until(by))
			if err := ctx.Err(); err != nil {
				t.Errorf("a timer ran for a kind that needs none: %v", err)
			}
		}), lanes(1))
		punctual.Punctual = true
		check(t, punctual, kind("connect", probes.PerLane, waits("connect", func(ctx context.Context) { <-ctx.Done() })))
		timeout := target("").StepTimeout()
		want := map[string]time.Duration{"resolve": targetPatience * timeout, "connect": lanePatience * timeout}
		if diff := cmp.Diff(want, ended); diff != "" {
			t.Error(diff)
		}
	})
}
