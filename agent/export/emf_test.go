package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

var (
	started  = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	notAfter = &probes.Metric{Name: "cert_not_after_timestamp_seconds", Labels: []string{"role"}}
	silent   = &probes.Rule{ID: "security-group-silent", Title: "a security group drops packets to port 443", Severity: probes.Error}
	expiring = &probes.Rule{ID: "client-cert-expires-soon", Title: "the client certificate expires soon", Severity: probes.Warning}
)

// lane is the private DNS name at the nth address.
func lane(n byte, answered bool) probes.Lane {
	return probes.Lane{Via: probes.ViaPrivateDNS, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 443), Answered: answered}
}

// on is an observation on the nth lane.
func on(n byte, kind string, outcome probes.Outcome, took time.Duration) probes.Observation {
	o := probes.Observation{Kind: kind, Via: probes.ViaPrivateDNS, Addr: lane(n, true).Addr, Start: started, Outcome: outcome}
	if took > 0 {
		o.Phases = []probes.Phase{{Name: probes.PhaseConnect, Took: took}}
	}
	if outcome != probes.OK {
		o.Err = errors.New("dial tcp 10.0.0.2:443: x-api-key: hunter2: i/o timeout (request 1f2e3d4c)")
	}
	return o
}

// round is one of a target with two lanes that callers take, and one that they
// do not.
func round(target string, verdict agent.Verdict, findings ...probes.Finding) agent.Update {
	r := agent.Update{Round: &agent.Round{Verdict: verdict, Started: started, Took: time.Second, Paths: 2, Working: 1, Failing: 1, Findings: findings}}
	r.Evidence.Target = &probes.Target{Name: target, Settings: &probes.Settings{}}
	r.Evidence.Lanes = []probes.Lane{lane(1, true), lane(2, true), lane(3, false)}
	return r
}

// with adds what a kind observed, in this round or one before.
func with(r agent.Update, fresh bool, kind string, obs ...probes.Observation) agent.Update {
	r.Evidence = r.Evidence.With(kind, obs)
	if fresh {
		r.Fresh = append(r.Fresh, obs...)
	}
	return r
}

// emitted returns what a sink writes of rounds.
func emitted(t *testing.T, rounds ...agent.Update) []map[string]any {
	t.Helper()
	var b bytes.Buffer
	e := NewEMF(&b, EMFOptions{})
	for _, r := range rounds {
		e.Record(r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	return documents(t, b.String())
}

// documents reads lines and holds each against the specification.
func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var docs []map[string]any
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			t.Errorf("a line does not end: %s", line)
		}
		var d map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := valid(line, d); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		docs = append(docs, d)
	}
	return docs
}

// valid holds a document against the rules of the CloudWatch User Guide,
// "Specification: Embedded metric format".
func valid(line string, d map[string]any) error {
	if len(line) > 256<<10 {
		return fmt.Errorf("%d bytes are too long", len(line))
	}
	var meta struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	aws, err := json.Marshal(map[string]any{"_aws": d["_aws"]})
	if err != nil {
		return err
	}
	strict := json.NewDecoder(bytes.NewReader(aws))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&meta); err != nil {
		return err
	}
	if meta.AWS.Timestamp <= 0 || len(meta.AWS.CloudWatchMetrics) == 0 {
		return errors.New("no timestamp or no directive")
	}
	for _, directive := range meta.AWS.CloudWatchMetrics {
		if n := len(directive.Namespace); n < 1 || n > 255 {
			return fmt.Errorf("the namespace has %d characters", n)
		}
		if len(directive.Dimensions) == 0 || len(directive.Metrics) == 0 || len(directive.Metrics) > 100 {
			return fmt.Errorf("%d sets of dimensions and %d metrics", len(directive.Dimensions), len(directive.Metrics))
		}
		for _, names := range directive.Dimensions {
			for _, name := range names {
				if value, ok := d[name].(string); !ok || value == "" || len(value) > 1024 || len(name) > 250 || len(names) > 30 {
					return fmt.Errorf("the dimension %q is %v", name, d[name])
				}
			}
		}
		seen := map[string]bool{}
		for _, m := range directive.Metrics {
			if m.Name == "" || len(m.Name) > 1024 || seen[m.Name] || !slices.Contains([]string{"Count", "Milliseconds", "None"}, m.Unit) {
				return fmt.Errorf("the metric %+v", m)
			}
			seen[m.Name] = true
			if err := numbers(d[m.Name]); err != nil {
				return fmt.Errorf("the metric %s: %w", m.Name, err)
			}
		}
	}
	return nil
}

func numbers(v any) error {
	switch v := v.(type) {
	case float64:
		return nil
	case []any:
		if len(v) == 0 || len(v) > 100 {
			return fmt.Errorf("%d values", len(v))
		}
		for _, e := range v {
			if _, ok := e.(float64); !ok {
				return fmt.Errorf("%v is no number", e)
			}
		}
		return nil
	}
	return fmt.Errorf("%v is no number", v)
}

// short is a document in a line of the test: dimensions, metrics with units,
// other members.
func short(d map[string]any) string {
	directive := d["_aws"].(map[string]any)["CloudWatchMetrics"].([]any)[0].(map[string]any)
	var b strings.Builder
	known := map[string]bool{"_aws": true}
	for _, name := range directive["Dimensions"].([]any)[0].([]any) {
		fmt.Fprintf(&b, "%v=%v ", name, d[name.(string)])
		known[name.(string)] = true
	}
	for _, m := range directive["Metrics"].([]any) {
		name := m.(map[string]any)["Name"].(string)
		fmt.Fprintf(&b, "| %s %v %v ", name, d[name], m.(map[string]any)["Unit"])
		known[name] = true
	}
	var rest []string
	for name, v := range d {
		if !known[name] {
			rest = append(rest, fmt.Sprintf("%s: %v", name, v))
		}
	}
	slices.Sort(rest)
	return b.String() + "| " + strings.Join(rest, ", ")
}

func shorts(docs []map[string]any) []string {
	var all []string
	for _, d := range docs {
		all = append(all, short(d))
	}
	return all
}

func TestEMFLinesOfARound(t *testing.T) {
	t.Parallel()
	found := []probes.Finding{{Rule: silent, Certainty: probes.Likely}, {Rule: expiring, Certainty: probes.Certain}}
	r := round("orders", agent.Degraded, found...)
	cert := probes.Observation{Kind: "identify", Outcome: probes.OK, Values: []probes.Value{
		notAfter.Is(float64(started.Add(40*24*time.Hour).Unix()), "server"), notAfter.Is(float64(started.Add(36*time.Hour).Unix()), "client"), notAfter.Is(0, "none"),
	}}
	r = with(r, false, "identify", cert) // known since an earlier round
	r = with(r, true, "connect",
		on(1, "connect", probes.OK, 1234567*time.Nanosecond), on(2, "connect", probes.Timeout, 5*time.Second),
		on(3, "connect", probes.Refused, 0)) // a path that callers do not take
	r = with(r, true, "handshake", on(1, "handshake", probes.OK, 8*time.Millisecond), on(2, "handshake", probes.Skipped, 0))
	r = with(r, true, "invoke", on(1, "invoke", probes.Fault, 0), on(2, "invoke", probes.Aborted, 0))
	want := []string{
		"Target=orders | Reachable 1 Count | Unknown 0 Count | PathsWorking 1 Count | PathsFailing 1 Count | Findings 1 Count | DaysToExpiry 1.5 None | Sentence: 1 of 2 paths work, Verdict: degraded",
		"Target=orders Kind=connect | Failures 1 Count | Duration 1.234 Milliseconds | ",
		"Target=orders Kind=handshake | Failures 0 Count | Duration 8 Milliseconds | ",
		"Target=orders Finding=security-group-silent | Active 1 Count | Certainty: likely, Severity: error, Title: a security group drops packets to port 443",
		"Target=orders Finding=client-cert-expires-soon | Active 1 Count | Certainty: certain, Severity: warning, Title: the client certificate expires soon",
	}
	docs := emitted(t, r)
	if diff := cmp.Diff(want, shorts(docs)); diff != "" {
		t.Errorf("the lines differ (-want +got):\n%s", diff)
	}
	for _, d := range docs {
		if at := d["_aws"].(map[string]any)["Timestamp"]; at != float64(started.UnixMilli()) {
			t.Errorf("the time is %v", at)
		}
	}
}

// The agent's own trouble is not the target's.
func TestEMFUnknownIsNotUnreachable(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[agent.Verdict]string{
		agent.Reachable: "Reachable 1 Count | Unknown 0 Count", agent.Degraded: "Reachable 1 Count | Unknown 0 Count",
		agent.Unreachable: "Reachable 0 Count | Unknown 0 Count", agent.Unknown: "Unknown 1 Count",
	} {
		if got := short(emitted(t, round("orders", verdict))[0]); !strings.HasPrefix(got, "Target=orders | "+want) {
			t.Errorf("%s: %s", verdict, got)
		}
	}
}

// A refusal as the configuration asks for it must raise no alarm.
func TestEMFExpectedRefusal(t *testing.T) {
	t.Parallel()
	r := round("orders", agent.Reachable, probes.Finding{Rule: silent, Certainty: probes.Certain, Expected: true})
	want := []string{"Target=orders | Reachable 1 Count | Unknown 0 Count | PathsWorking 1 Count | PathsFailing 1 Count | Findings 0 Count | Sentence: refused, exactly as expected, Verdict: reachable"}
	if diff := cmp.Diff(want, shorts(emitted(t, r))); diff != "" {
		t.Errorf("the lines differ (-want +got):\n%s", diff)
	}
}

// A finding that is gone is told once, as 0, and by its own target only.
func TestEMFFindingThatIsGone(t *testing.T) {
	t.Parallel()
	a, b := probes.Finding{Rule: silent, Certainty: probes.Certain}, probes.Finding{Rule: expiring, Certainty: probes.Certain}
	var active []string
	for _, d := range emitted(t,
		round("orders", agent.Unreachable, a, b), round("users", agent.Reachable), round("orders", agent.Unreachable, b),
		round("orders", agent.Reachable), round("orders", agent.Reachable)) {
		if id, ok := d["Finding"]; ok {
			active = append(active, fmt.Sprint(d["Target"], " ", id, " ", d["Active"]))
		}
	}
	want := []string{
		"orders security-group-silent 1", "orders client-cert-expires-soon 1",
		"orders client-cert-expires-soon 1", "orders security-group-silent 0",
		"orders client-cert-expires-soon 0",
	}
	if diff := cmp.Diff(want, active); diff != "" {
		t.Errorf("the findings differ (-want +got):\n%s", diff)
	}
}

// Of a target that is forgotten nothing is found any more, which is said once.
func TestEMFForgets(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	e := NewEMF(&b, EMFOptions{})
	e.Record(round("orders", agent.Unreachable, probes.Finding{Rule: silent, Certainty: probes.Certain}))
	if len(e.active) != 1 {
		t.Fatalf("it remembers %v", e.active)
	}
	var _ agent.Forgetter = e
	e.Forget("orders")
	if len(e.active) != 0 {
		t.Errorf("it still remembers %v", e.active)
	}
	e.Forget("orders")
	over, stop := context.WithCancel(t.Context())
	stop()
	e.Run(over)
	docs := documents(t, b.String())
	last := docs[len(docs)-1]
	if strings.Count(b.String(), `"Active":0`) != 1 || last["Active"] != 0.0 || last["Finding"] != silent.ID || last["Target"] != "orders" {
		t.Errorf("the last line is %v of\n%s", last, &b)
	}
}

// That a forgotten target's findings are gone waits for a place, before what is
// recorded of a new target of that name.
func TestEMFForgetsWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	e := NewEMF(&b, EMFOptions{Queue: 2})
	a := probes.Finding{Rule: silent, Certainty: probes.Certain}
	e.Record(round("orders", agent.Unreachable, a))
	e.Record(round("users", agent.Unreachable, a))
	e.Forget("orders")
	e.Forget("users")
	if e.Dropped() != 0 {
		t.Errorf("%d dropped", e.Dropped())
	}
	e.write(<-e.queue)
	e.Record(round("orders", agent.Unreachable, a)) // there is a place, but not for it
	over, stop := context.WithCancel(t.Context())
	stop()
	e.Run(over)
	var got []string
	for _, d := range documents(t, b.String()) {
		if d["Active"] != nil {
			got = append(got, fmt.Sprint(d["Target"], " ", d["Active"]))
		}
	}
	if diff := cmp.Diff([]string{"orders 1", "users 1", "orders 0", "users 0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// More values than a line may hold go into further lines, none is lost.
func TestEMFManyValues(t *testing.T) {
	t.Parallel()
	var obs []probes.Observation
	for i := range 250 {
		obs = append(obs, probes.Observation{Kind: "resolve", Outcome: probes.OK, Phases: []probes.Phase{{Took: time.Duration(i+1) * time.Millisecond}}})
	}
	var sizes []int
	failures, sum := 0, 0.0
	for _, d := range emitted(t, with(round("orders", agent.Reachable), true, "resolve", obs...))[1:] {
		if _, ok := d["Failures"]; ok {
			failures++
		}
		values := d["Duration"].([]any)
		sizes = append(sizes, len(values))
		for _, v := range values {
			sum += v.(float64)
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 50}) || failures != 1 || sum != 250*251/2 {
		t.Errorf("lines of %v values that add up to %v, %d with failures", sizes, sum, failures)
	}
}

// No address, request id, error text or secret reaches CloudWatch, though the
// evidence is full of them.
func TestEMFTellsNoSecrets(t *testing.T) {
	t.Parallel()
	r := with(round("orders", agent.Unreachable, probes.Finding{Rule: silent, Certainty: probes.Likely, Notes: []string{"key hunter2 of 10.0.0.2"}}),
		true, "connect", on(1, "connect", probes.Timeout, time.Second), on(2, "connect", probes.Timeout, time.Second))
	text, err := json.Marshal(emitted(t, r))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "10.0.0.", "1f2e3d4c", "i/o timeout"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("it tells %q: %s", secret, text)
		}
	}
}

// A pipe is a writer that may be stuck.
type pipe struct {
	mu   sync.Mutex // held while it is stuck
	text bytes.Buffer
	err  error
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	return p.text.Write(b)
}

// A reader that does not read holds up neither probing nor the end; what is
// lost is counted, and told once a minute.
func TestEMFNeverBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		p := &pipe{}
		stuck := make(chan struct{})
		w := writer(func(b []byte) (int, error) { <-stuck; return p.Write(b) })
		e := NewEMF(w, EMFOptions{Queue: 3, Log: slog.New(slog.NewTextHandler(&logged, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		a := probes.Finding{Rule: silent, Certainty: probes.Certain}
		e.Record(round("orders", agent.Unreachable, a))
		synctest.Wait() // it is being written
		for range 10 {
			e.Record(round("orders", agent.Unreachable, a))
		}
		e.Record(round("orders", agent.Reachable)) // dropped: the finding is not yet told to be gone
		if got := e.Dropped(); got != 8 {
			t.Errorf("%d rounds were dropped, want 8", got)
		}
		if got := strings.Count(logged.String(), "rounds are dropped"); got != 1 {
			t.Errorf("told %d times:\n%s", got, &logged)
		}
		time.Sleep(time.Minute)
		e.Record(round("users", agent.Reachable))
		if !strings.Contains(logged.String(), "dropped=9 not_logged=7") {
			t.Errorf("a minute later it is not told again:\n%s", &logged)
		}
		if got := e.active["orders"]; len(got) != 1 {
			t.Errorf("a dropped round counts as told: %v", got)
		}
		cancel()
		begin := time.Now()
		<-done
		if took := time.Since(begin); took != farewell {
			t.Errorf("the end took %v", took)
		}
		close(stuck)
		synctest.Wait()
		if got := len(documents(t, p.text.String())); got != 8 { // two lines for each of four rounds
			t.Errorf("%d lines were written in the end", got)
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// Lines of rounds that are recorded side by side do not mix.
func TestEMFSideBySide(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	e := NewEMF(p, EMFOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				e.Record(with(round(fmt.Sprint("target-", i), agent.Reachable), true, "connect", on(1, "connect", probes.OK, time.Millisecond)))
			}
		})
	}
	wg.Wait()
	cancel()
	<-done
	if got := len(documents(t, p.text.String())); got != 8*50*2 || e.Dropped() != 0 {
		t.Errorf("%d lines, %d rounds dropped", got, e.Dropped())
	}
}

func TestEMFWriteFails(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	e := NewEMF(&pipe{err: io.ErrClosedPipe}, EMFOptions{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	e.Record(round("orders", agent.Reachable))
	e.Record(round("orders", agent.Reachable))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	if e.Dropped() != 2 || strings.Count(logged.String(), "metrics cannot be written") != 1 {
		t.Errorf("%d dropped, and the log says\n%s", e.Dropped(), &logged)
	}
}
