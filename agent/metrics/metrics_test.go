package metrics

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	answersMatch = &probes.Metric{Name: "dns_answers_match", Help: "Whether it matches.", Labels: []string{"name", "resolver"}}
	responses    = &probes.Metric{Name: "dns_responses_total", Help: "Replies.", Type: probes.Counter, Labels: []string{"resolver", "rcode"}}
	up           = &probes.Metric{Name: "tcp_up", Help: "Whether it is open.", Labels: []string{"address"}}
	resets       = &probes.Metric{Name: "tcp_resets_total", Help: "Resets.", Type: probes.Counter, Labels: []string{"address"}}
	tlsInfo      = &probes.Metric{Name: "tls_info", Help: "What was agreed on.", Labels: []string{"via", "address", "version"}}
	skew         = &probes.Metric{Name: "clock_skew_seconds", Help: "The server's clock minus ours, in seconds."}
)

func kinds() []probes.Kind {
	return []probes.Kind{
		{Name: "resolve", Metrics: []*probes.Metric{answersMatch, responses, probes.Delay}, Lanes: func(probes.Evidence) []probes.Lane { return nil }},
		{Name: "connect", Per: probes.PerLane, Metrics: []*probes.Metric{up, resets, probes.Delay}},
		{Name: "trace"},
		{Name: "invoke", Per: probes.PerLane, Metrics: []*probes.Metric{tlsInfo, skew}},
	}
}

func addr(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 443)
}

func laneAt(n byte, answered bool) probes.Lane {
	return probes.Lane{Via: probes.ViaPrivateDNS, Addr: addr(n), Answered: answered}
}

// A view is a round in the making.
type view struct {
	r agent.Update
}

func of(target string, verdict agent.Verdict, lanes ...probes.Lane) *view {
	return &view{agent.Update{Round: &agent.Round{
		Evidence: probes.Evidence{Target: &probes.Target{Name: target, Settings: &probes.Settings{}}, Lanes: lanes},
		Verdict:  verdict, Started: time.Now(), Took: 3 * time.Millisecond,
	}}}
}

func (v *view) saw(kind string, obs ...probes.Observation) *view {
	for i := range obs {
		obs[i].Kind = kind
	}
	v.r.Evidence = v.r.Evidence.With(kind, obs)
	v.r.Fresh = append(v.r.Fresh, obs...)
	return v
}

func (v *view) found(f ...probes.Finding) *view { v.r.Findings = f; return v }

func lookup(o probes.Outcome, took time.Duration, values ...probes.Value) probes.Observation {
	return probes.Observation{
		Via: probes.ViaPrivateDNS, Name: "api.test", Resolver: "system", Addr: netip.MustParseAddrPort("10.0.0.2:53"), Outcome: o,
		Phases: []probes.Phase{{Name: probes.PhaseResolve, Took: took}}, Values: values,
	}
}

func onLane(n byte, o probes.Outcome, phase string, took time.Duration, values ...probes.Value) probes.Observation {
	return probes.Observation{
		Via: probes.ViaPrivateDNS, Name: "api.test", Addr: addr(n), Outcome: o,
		Phases: []probes.Phase{{Name: phase, Took: took}}, Values: values,
	}
}

// healthy is a round in which all went well at two addresses.
func healthy(target string) *view {
	return of(target, agent.Reachable, laneAt(1, true), laneAt(2, true)).
		saw("resolve", lookup(probes.OK, time.Millisecond, answersMatch.Is(1), responses.Is(2, "NOERROR"), probes.Delay.Is(0.25))).
		saw("connect",
			onLane(1, probes.OK, probes.PhaseConnect, 250*time.Microsecond, up.Is(1), probes.Delay.Is(0.5)),
			onLane(2, probes.OK, probes.PhaseConnect, 500*time.Microsecond, up.Is(1), probes.Delay.Is(0.25))).
		saw("invoke",
			onLane(1, probes.OK, probes.PhaseProcessing, 20*time.Millisecond, tlsInfo.Is(1, "TLS 1.3"), skew.Is(-1.5)),
			onLane(2, probes.OK, probes.PhaseProcessing, 30*time.Millisecond, tlsInfo.Is(1, "TLS 1.3"), skew.Is(0.5)))
}

// scrape returns what /metrics says of targets and kinds, without comments,
// histograms, times and the agent's own.
func scrape(t *testing.T, m *Metrics) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(get(t, m, "")) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, `target="`) && !strings.Contains(line, "walk_duration") && !strings.Contains(line, "timestamp_seconds") {
			lines = append(lines, strings.TrimPrefix(line, prefix))
		}
	}
	return lines
}

func get(t *testing.T, m *Metrics, accept string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

func TestHealthyTarget(t *testing.T) {
	m := New(kinds(), Options{})
	m.Record(healthy("orders").r)
	m.Record(healthy("orders").r)
	want := []string{
		`clock_skew_seconds{target="orders"} 0.5`,
		`dns_answers_match{name="api.test",resolver="system",target="orders"} 1`,
		`dns_responses_total{rcode="NOERROR",resolver="system",target="orders"} 4`,
		`phase_seconds{address="",phase="resolve",target="orders",via="private-dns"} 0.001`,
		`phase_seconds{address="10.0.0.1",phase="connect",target="orders",via="private-dns"} 0.00025`,
		`phase_seconds{address="10.0.0.2",phase="connect",target="orders",via="private-dns"} 0.0005`,
		`phase_seconds{address="10.0.0.1",phase="processing",target="orders",via="private-dns"} 0.02`,
		`phase_seconds{address="10.0.0.2",phase="processing",target="orders",via="private-dns"} 0.03`,
		`probe_delay_seconds_total{kind="resolve",target="orders"} 0.5`,
		`probe_delay_seconds_total{kind="connect",target="orders"} 1.5`,
		`probes_total{kind="resolve",result="success",target="orders"} 2`,
		`probes_total{kind="connect",result="success",target="orders"} 4`,
		`probes_total{kind="invoke",result="success",target="orders"} 4`,
		`success{kind="resolve",target="orders"} 1`,
		`success{kind="connect",target="orders"} 1`,
		`success{kind="invoke",target="orders"} 1`,
		`tcp_up{address="10.0.0.1",target="orders"} 1`,
		`tcp_up{address="10.0.0.2",target="orders"} 1`,
		`tls_info{address="10.0.0.1",target="orders",version="TLS 1.3",via="private-dns"} 1`,
		`tls_info{address="10.0.0.2",target="orders",version="TLS 1.3",via="private-dns"} 1`,
		`verdict{target="orders",verdict="reachable"} 1`,
		`walks_total{target="orders",verdict="reachable"} 2`,
		`walks_total{target="orders",verdict="unreachable"} 0`,
	}
	if diff := cmp.Diff(want, scrape(t, m)); diff != "" {
		t.Error(diff)
	}
}

// What fails is counted where it failed; what lay above it is skipped, not
// failed; and an address that no caller uses is not held against the target.
func TestFailingTarget(t *testing.T) {
	m := New(kinds(), Options{})
	m.Record(of("orders", agent.Unreachable, laneAt(1, true), laneAt(9, false)).
		saw("resolve", lookup(probes.OK, time.Millisecond)).
		saw("connect", onLane(1, probes.Timeout, probes.PhaseConnect, time.Second, up.Is(0)), onLane(9, probes.OK, probes.PhaseConnect, 0)).
		saw("trace", probes.Observation{Outcome: probes.Fault, Err: errors.New("no descriptors")}).
		saw("invoke", onLane(1, probes.Skipped, "", 0), onLane(9, probes.Denied, probes.PhaseProcessing, 0)).r)
	var got []string
	for _, line := range scrape(t, m) {
		if strings.HasPrefix(line, "success") || strings.HasPrefix(line, "probes_total") || strings.HasPrefix(line, "failures") {
			got = append(got, line)
		}
	}
	want := []string{
		`failures_total{kind="connect",reason="timeout",target="orders"} 1`,
		`failures_total{kind="invoke",reason="denied",target="orders"} 1`,
		`probes_total{kind="resolve",result="success",target="orders"} 1`,
		`probes_total{kind="connect",result="success",target="orders"} 1`,
		`probes_total{kind="connect",result="failure",target="orders"} 1`,
		`probes_total{kind="trace",result="fault",target="orders"} 1`,
		`probes_total{kind="invoke",result="failure",target="orders"} 1`,
		`probes_total{kind="invoke",result="skipped",target="orders"} 1`,
		`success{kind="resolve",target="orders"} 1`,
		`success{kind="connect",target="orders"} 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What was carried from an earlier round is shown, but not counted again.
func TestCarriedEvidenceIsNotCounted(t *testing.T) {
	m := New(kinds(), Options{})
	m.Record(healthy("orders").r)
	r := healthy("orders").r
	r.Fresh = nil
	m.Record(r)
	text := strings.Join(scrape(t, m), "\n")
	for _, want := range []string{`probes_total{kind="connect",result="success",target="orders"} 2`, `dns_responses_total{rcode="NOERROR",resolver="system",target="orders"} 2`, `tcp_up{address="10.0.0.1",target="orders"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

// An address that leaves the DNS leaves the metrics, its counters included,
// and a target that leaves the configuration leaves altogether.
func TestWhatLeaves(t *testing.T) {
	for _, native := range []bool{false, true} {
		m := New(kinds(), Options{Native: native})
		r := healthy("orders")
		r.r.Fresh = append(r.r.Fresh, onLane(1, probes.OK, "", 0, resets.Is(1)))
		r.r.Fresh[len(r.r.Fresh)-1].Kind = "connect"
		m.Record(r.r)
		m.Record(healthy("carts").r)
		if text := get(t, m, ""); !strings.Contains(text, `resets_total{address="10.0.0.1",target="orders"} 1`) {
			t.Fatal(text)
		}
		m.Record(of("orders", agent.Reachable, laneAt(3, true)).
			saw("resolve", lookup(probes.OK, time.Millisecond)).
			saw("connect", onLane(3, probes.OK, probes.PhaseConnect, time.Millisecond, up.Is(1))).
			saw("invoke").r)
		for _, line := range scrape(t, m) {
			if strings.Contains(line, `"orders"`) && (strings.Contains(line, "10.0.0.1") || strings.Contains(line, "10.0.0.2")) {
				t.Errorf("still there: %s", line)
			}
		}
		m.Forget("orders")
		m.Forget("never known")
		text := get(t, m, "")
		if strings.Contains(text, `"orders"`) || !strings.Contains(text, `"carts"`) {
			t.Errorf("native %t: orders was not forgotten, or carts was", native)
		}
	}
}

// A finding is shown with its certainty, then as 0 for an hour, then not at
// all. An expected one is never shown.
func TestFindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(kinds(), Options{})
		rule := &probes.Rule{ID: "silent", Severity: probes.Error}
		wanted := &probes.Rule{ID: "denied", Severity: probes.Error}
		shows := func(want string) {
			t.Helper()
			got := ""
			for _, line := range scrape(t, m) {
				if strings.HasPrefix(line, "finding") {
					got += line
				}
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		active := func() {
			m.Record(healthy("orders").found(probes.Finding{Rule: rule, Certainty: probes.Likely}, probes.Finding{Rule: wanted, Certainty: probes.Certain, Expected: true}).r)
		}
		clear := func() { m.Record(healthy("orders").r) }
		active()
		shows(`finding{finding="silent",severity="error",target="orders"} 2`)
		clear()
		shows(`finding{finding="silent",severity="error",target="orders"} 0`)
		time.Sleep(59 * time.Minute)
		clear()
		shows(`finding{finding="silent",severity="error",target="orders"} 0`)
		active()
		shows(`finding{finding="silent",severity="error",target="orders"} 2`)
		clear()
		time.Sleep(61 * time.Minute)
		clear()
		shows("")
	})
}

// Times are absolute, and the last success is when the target was last found
// reachable.
func TestTimestamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(kinds(), Options{})
		broken := func() { m.Record(of("orders", agent.Unreachable).r) }
		has := func(want string, ok bool) {
			t.Helper()
			if text := get(t, m, ""); strings.Contains(text, want) != ok {
				t.Errorf("%s: want %t in\n%s", want, ok, text)
			}
		}
		broken()
		has(`last_success_timestamp_seconds{`, false)
		m.Record(healthy("orders").r)
		time.Sleep(time.Minute)
		broken()
		has(`vpcprobe_last_run_timestamp_seconds{target="orders"} 9.46684860003e+08`, true)
		has(`vpcprobe_last_success_timestamp_seconds{target="orders"} 9.46684800003e+08`, true)
	})
}

// A counter says from when on it counts: from the first walk of its target, or from
// the walk in which its address came back. One that falls would else look broken.
func TestCountersTellWhenTheyBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(kinds(), Options{})
		began := time.Now()
		is := func(family string, want time.Duration) {
			t.Helper()
			families, err := m.Gather()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == prefix+family })
			if i < 0 {
				t.Fatalf("%s: %v", family, families)
			}
			for _, c := range families[i].Metric {
				created := c.GetCounter().GetCreatedTimestamp()
				if c.Histogram != nil {
					created = c.Histogram.CreatedTimestamp
				}
				if got := created.AsTime().Sub(began); got != want {
					t.Errorf("%s counts from %v on, want %v", family, got, want)
				}
			}
		}
		walk := func(lane byte, values ...probes.Value) {
			time.Sleep(time.Minute)
			m.Record(of("orders", agent.Reachable, laneAt(lane, true)).saw("connect", onLane(lane, probes.OK, probes.PhaseConnect, 0, values...)).r)
		}
		walk(1, resets.Is(1))
		walk(1, resets.Is(1))
		is("walks_total", time.Minute)
		is("walk_duration_seconds", time.Minute)
		is("tcp_resets_total", time.Minute)
		walk(2)
		walk(1, resets.Is(1))
		is("walks_total", time.Minute)
		is("tcp_resets_total", 4*time.Minute)
		m.Forget("orders")
		walk(1)
		is("walks_total", 5*time.Minute)
	})
}

// The text is byte for byte what client_golang writes, in both formats, and
// whatever labels hold.
func TestTextIsThatOfClientGolang(t *testing.T) {
	m := New(kinds(), Options{Version: `v1 "x"`, Stats: func() agent.Stats { return agent.Stats{Targets: 2, Runs: 12345678, Lag: 7 * time.Millisecond} }})
	r := healthy("orders")
	r.r.Evidence = r.r.Evidence.With("invoke", []probes.Observation{
		{Kind: "invoke", Via: probes.ViaDomain, Values: []probes.Value{tlsInfo.Is(1, "a\"b\\c\nd\xff"), skew.Is(math.NaN())}},
		{Kind: "invoke", Addr: addr(1), Values: []probes.Value{tlsInfo.Is(math.Inf(1)), tlsInfo.Is(math.Inf(-1), "ü", "surplus"), tlsInfo.Is(1e21, "big"), tlsInfo.Is(123456789, "more"), tlsInfo.Is(-2e5, "less")}},
	})
	m.Record(r.r)
	slow := healthy("carts").r
	slow.Took = time.Minute
	m.Record(slow)
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for accept, encode := range map[string]func(io.Writer, *dto.MetricFamily) (int, error){
		"text/plain": expfmt.MetricFamilyToText,
		"application/openmetrics-text; version=1.0.0": func(w io.Writer, f *dto.MetricFamily) (int, error) { return expfmt.MetricFamilyToOpenMetrics(w, f) },
	} {
		var want strings.Builder
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), prefix) {
				if _, err := encode(&want, f); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got strings.Builder
		for line := range strings.Lines(get(t, m, accept)) {
			if strings.Contains(line, prefix) {
				got.WriteString(line)
			}
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("%s:\n%s", accept, diff)
		}
	}
}

// What a scraper says it likes is what it gets.
func TestFormats(t *testing.T) {
	m := New(kinds(), Options{Native: true})
	m.Record(healthy("orders").r)
	const prometheus2 = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
	const binary = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for accept, want := range map[string]string{
		"":                                   "text/plain",
		"*/*":                                "text/plain",
		"text/html, image/png;q=0.9":         "text/plain",
		"text/plain;q=nonsense, ;;;":         "text/plain",
		prometheus2:                          "application/openmetrics-text",
		"application/openmetrics-text;q=0.1": "application/openmetrics-text",
		"application/openmetrics-text;version=2.0.0": "text/plain",
		binary + ", " + prometheus2:                  "application/vnd.google.protobuf",
		binary + ";q=0.1, " + prometheus2:            "application/openmetrics-text",
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		got := w.Header().Get("Content-Type")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q gets %q, want %q", accept, got, want)
			continue
		}
		if want == "application/vnd.google.protobuf" {
			checkBinary(t, w.Body, expfmt.Format(got))
		} else if open := strings.HasSuffix(w.Body.String(), "# EOF\n"); open != (want == "application/openmetrics-text") {
			t.Errorf("%q: end of %q", accept, want)
		}
	}
}

// checkBinary looks for the native histogram of phases.
func checkBinary(t *testing.T, body io.Reader, format expfmt.Format) {
	t.Helper()
	d := expfmt.NewDecoder(body, format)
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); err != nil {
			t.Errorf("no native histogram: %v", err)
			return
		}
		if f.GetName() == "vpcprobe_phase_duration_seconds" {
			for _, m := range f.Metric {
				if m.Histogram.Schema == nil || len(m.Histogram.PositiveSpan) == 0 || len(m.Histogram.Bucket) > 0 {
					t.Errorf("not a native histogram: %v", m)
				}
			}
			return
		}
	}
}

func TestGzip(t *testing.T) {
	m := New(kinds(), Options{})
	m.Record(healthy("orders").r)
	for range 2 { // encoders are used again
		for header, want := range map[string]bool{"": false, "gzip": true, "deflate, gzip;q=1.0": true, "gzip; q=0": false, "br": false} {
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept-Encoding", header)
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, r)
			if zipped := w.Header().Get("Content-Encoding") == "gzip"; zipped != want {
				t.Errorf("%q: gzip %t", header, zipped)
				continue
			}
			body := io.Reader(w.Body)
			if want {
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			}
			text, err := io.ReadAll(body)
			if err != nil || !bytes.Contains(text, []byte(`verdict="reachable"`)) {
				t.Errorf("%q: %v, %d bytes", header, err, len(text))
			}
		}
	}
}

// promlint has nothing to say, and the text parses.
func TestLint(t *testing.T) {
	m := New(kinds(), Options{Native: true, Stats: func() agent.Stats { return agent.Stats{} }})
	m.Own = Own{WebConfig: func() error { return nil }, EMFDropped: func() uint64 { return 0 }, OTLP: func() Pushes { return Pushes{Latest: time.Now()} }}
	m.Record(healthy("orders").found(probes.Finding{Rule: &probes.Rule{ID: "x"}, Certainty: probes.Certain}).r)
	m.Record(of("orders", agent.Unreachable, laneAt(1, true)).saw("connect", onLane(1, probes.Reset, "", 0)).r)
	problems, err := promlint.New(strings.NewReader(get(t, m, ""))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, prefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(get(t, m, "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"build_info", "config_last_reload_successful", "config_last_reload_success_timestamp_seconds", "targets", "in_flight", "scheduler_lag_seconds",
		"scheduler_missed_runs_total", "scheduler_late_runs_total", "scheduler_runs_total", "scheduler_waiting", "verdict", "walks_total",
		"walk_duration_seconds", "success", "probes_total", "failures_total", "phase_seconds", "last_run_timestamp_seconds",
		"last_success_timestamp_seconds", "finding", "phase_duration_seconds", "web_config_last_reload_successful", "emf_dropped_rounds_total",
		"otlp_pushes_total", "otlp_rejected_points_total", "otlp_last_success_timestamp_seconds",
	} {
		if families[prefix+name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if families["go_goroutines"] == nil {
		t.Error("nothing of the runtime")
	}
}

func TestReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(nil, Options{})
		time.Sleep(time.Minute)
		m.Reloaded(false)
		text := get(t, m, "")
		if !strings.Contains(text, "config_last_reload_successful 0\n") || !strings.Contains(text, "success_timestamp_seconds 9.466848e+08\n") {
			t.Error(text)
		}
		m.Reloaded(true)
		text = get(t, m, "")
		if !strings.Contains(text, "config_last_reload_successful 1\n") || !strings.Contains(text, "success_timestamp_seconds 9.4668486e+08\n") {
			t.Error(text)
		}
	})
}

// A scrape may come at any time, and a slow one holds up nothing.
func TestScrapesAndRoundsAtOnce(t *testing.T) {
	m := New(kinds(), Options{Native: true})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 50 {
				m.Record(healthy(fmt.Sprint("target-", (i+n)%7)).r)
				if n%10 == 0 {
					m.Forget(fmt.Sprint("target-", n%7))
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				get(t, m, "")
				if _, err := m.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m.Record(healthy("orders").r)
	m.Handler().ServeHTTP(blocking{func() { m.Record(healthy("orders").r); m.Forget("orders") }}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
}

// blocking is a client that lets the agent go on before it reads.
type blocking struct{ meanwhile func() }

func (blocking) Header() http.Header           { return http.Header{} }
func (blocking) WriteHeader(int)               {}
func (b blocking) Write(p []byte) (int, error) { b.meanwhile(); return len(p), nil }

// Kinds may share a metric, and the reference tells each once.
func TestReference(t *testing.T) {
	text := Reference(kinds())
	for _, want := range []string{
		"| `vpcprobe_probe_delay_seconds_total` | counter | target, kind | " + probes.Delay.Help + " Also of connect. |",
		"## invoke\n", "| `vpcprobe_clock_skew_seconds` | gauge | target | The server's clock minus ours, in seconds. |",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times: %s", strings.Count(text, want), want)
		}
	}
	var names []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			if slices.Contains(names, name) {
				t.Errorf("%s is told twice", name)
			}
			names = append(names, name)
		}
	}
	m := New(kinds(), Options{Native: true, Stats: func() agent.Stats { return agent.Stats{} }})
	m.Own = Own{WebConfig: func() error { return nil }, EMFDropped: func() uint64 { return 0 }, OTLP: func() Pushes { return Pushes{Latest: time.Now()} }}
	m.Record(healthy("orders").r)
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), prefix) && !slices.Contains(names, f.GetName()) {
			t.Errorf("%s is not in the reference", f.GetName())
		}
	}
}
