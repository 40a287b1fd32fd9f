package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

var (
	probedStatus = &probes.Metric{Name: "http_status_code", Help: "The status.", Labels: []string{"via", "address"}}
	probedTLS    = &probes.Metric{Name: "tls_info", Help: "What was agreed on.", Labels: []string{"via", "address", "version", "cipher"}}
	probedExpiry = &probes.Metric{Name: "cert_not_after_timestamp_seconds", Help: "When it ends.", Labels: []string{"role", "via", "address"}}
)

// probed are kinds like the real ones, as far as /probe can tell.
func probed() []probes.Kind {
	return []probes.Kind{
		{Name: "resolve", Lanes: func(probes.Evidence) []probes.Lane { return nil }},
		{Name: "connect", Per: probes.PerLane},
		{Name: "trace"},
		{Name: "handshake", Per: probes.PerLane, Metrics: []*probes.Metric{probedTLS, probedExpiry}},
		{Name: "invoke", Per: probes.PerLane, Metrics: []*probes.Metric{probedStatus}},
		{Name: "followup"},
	}
}

// protocol is a detail whose JSON form names the protocol of an answer.
type protocol struct {
	Protocol string `json:"protocol"`
}

// walked is a round in which all went well at the addresses .1 and .2 but
// invoke at .2, which ended in outcome; the resolver named .2 first.
func walked(v agent.Verdict, outcome probes.Outcome, status float64) *view {
	last := func(n byte, o probes.Outcome, status float64) probes.Observation {
		obs := onLane(n, o, probes.PhaseProcessing, 20*time.Millisecond, probedStatus.Is(status))
		obs.Phases = append([]probes.Phase{{Name: probes.PhaseCredentials, Took: time.Second}}, obs.Phases...)
		obs.Phases = append(obs.Phases, probes.Phase{Name: probes.PhaseTransfer, Took: time.Millisecond})
		obs.Detail = &protocol{"HTTP/1.1"}
		return obs
	}
	tls := func(n byte) probes.Observation {
		return onLane(n, probes.OK, probes.PhaseTLS, 4*time.Millisecond,
			probedTLS.Is(1, "TLS 1.3", "TLS_AES_128_GCM_SHA256"), probedExpiry.Is(2e9+float64(n), "server"))
	}
	r := of("orders", v, laneAt(2, true), laneAt(1, true), laneAt(9, false)).
		saw("resolve", lookup(probes.OK, 3*time.Millisecond), lookup(probes.OK, 2*time.Millisecond)).
		saw("connect", onLane(2, probes.OK, probes.PhaseConnect, time.Millisecond), onLane(1, probes.OK, probes.PhaseConnect, 2*time.Millisecond),
			onLane(9, probes.Timeout, probes.PhaseConnect, time.Second)).
		saw("trace", probes.Observation{Addr: addr(1), Outcome: probes.OK, Phases: []probes.Phase{{Name: "trace", Took: 7 * time.Second}}}).
		saw("handshake", tls(2), tls(1)).
		saw("invoke", last(2, outcome, status), last(1, probes.OK, 200))
	r.r.Evidence.Target = &probes.Target{Name: "orders", Settings: &probes.Settings{Via: []probes.Via{probes.ViaPrivateDNS}}}
	r.r.Took = 1500 * time.Millisecond
	r.r.Paths, r.r.Working = 2, 2
	if outcome.Blames() {
		r.r.Working, r.r.Failing = 1, 1
	}
	return r
}

// probe asks for /probe and returns the status and the samples.
func probe(t *testing.T, r agent.Round, query string) (int, []string) {
	t.Helper()
	w := httptest.NewRecorder()
	h := Blackbox(probed(), func(name string) (agent.Round, bool) { return r, name == "orders" })
	h.ServeHTTP(w, httptest.NewRequest("GET", "/probe?"+query, nil))
	if w.Code != http.StatusOK {
		return w.Code, []string{strings.TrimSpace(w.Body.String())}
	}
	text := w.Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems { // blackbox_exporter has none, measured with version 0.23
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		if f.GetType().String() != "GAUGE" || f.GetHelp() == "" || !strings.HasPrefix(name, "probe_") {
			t.Errorf("%s is a %v: %q", name, f.GetType(), f.GetHelp())
		}
	}
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "probe_")))
		}
	}
	slices.Sort(lines)
	return w.Code, lines
}

func TestBlackboxOfAWholeWalk(t *testing.T) {
	code, got := probe(t, *walked(agent.Reachable, probes.OK, 200).r.Round, "target=orders")
	want := []string{
		`dns_lookup_time_seconds 0.003`,
		`duration_seconds 1.5`,
		`http_duration_seconds{phase="connect"} 0.002`,
		`http_duration_seconds{phase="processing"} 0.02`,
		`http_duration_seconds{phase="resolve"} 0.003`,
		`http_duration_seconds{phase="tls"} 0.004`,
		`http_duration_seconds{phase="transfer"} 0.001`,
		`http_redirects 0`,
		`http_ssl 1`,
		`http_status_code 200`,
		`http_version 1.1`,
		`ip_addr_hash 1.817209388e+09`,
		`ip_protocol 4`,
		`ssl_earliest_cert_expiry 2.000000001e+09`,
		`ssl_last_chain_expiry_timestamp_seconds 2.000000001e+09`,
		`success 1`,
		`tls_cipher_info{cipher="TLS_AES_128_GCM_SHA256"} 1`,
		`tls_version_info{version="TLS 1.3"} 1`,
	}
	if diff := cmp.Diff(want, got); code != 200 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", code, diff)
	}
}

// Of several addresses, what is said is said of the one that fails.
func TestBlackboxSpeaksOfTheWorstAddress(t *testing.T) {
	code, got := probe(t, *walked(agent.Degraded, probes.Denied, 403).r.Round, "target=orders&module=invoke")
	for _, want := range []string{
		"success 0", "http_status_code 403", `http_duration_seconds{phase="connect"} 0.001`,
		"ssl_earliest_cert_expiry 2.000000002e+09", "duration_seconds 1.029",
	} {
		if code != 200 || !slices.Contains(got, want) {
			t.Errorf("%d: %s is not in\n%s", code, want, strings.Join(got, "\n"))
		}
	}
}

// A module is its kind and what lies below it, and nothing above.
func TestBlackboxModules(t *testing.T) {
	r := *walked(agent.Degraded, probes.ServerError, 500).r.Round
	for _, tt := range []struct {
		module string
		want   []string
	}{
		{"resolve", []string{`dns_duration_seconds{phase="request"} 0.003`, "dns_lookup_time_seconds 0.003", "dns_query_succeeded 1", "duration_seconds 0.003", "success 1"}},
		{"connect", []string{"dns_lookup_time_seconds 0.003", "duration_seconds 0.005", "ip_addr_hash 1.817209388e+09", "ip_protocol 4", "success 1"}},
		{"trace", []string{"dns_lookup_time_seconds 0.003", "duration_seconds 7", "ip_addr_hash 1.817209388e+09", "ip_protocol 4", "success 1"}},
	} {
		if code, got := probe(t, r, "target=orders&module="+tt.module); code != 200 || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %d\n%s\nwant\n%s", tt.module, code, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

func TestBlackboxSuccess(t *testing.T) {
	warning := probes.Finding{Rule: &probes.Rule{ID: "server-cert-expiring", Severity: probes.Warning}}
	broken := probes.Finding{Rule: &probes.Rule{ID: "resolver-failing"}}
	denied := onLane(1, probes.Denied, probes.PhaseProcessing, time.Millisecond)
	denied.Kind = "invoke"
	asked := probes.Finding{Rule: &probes.Rule{ID: "resource-policy-silent"}, Expected: true, Because: []probes.Observation{denied}}
	noName := of("orders", agent.Unreachable).saw("resolve", lookup(probes.NoSuchName, time.Millisecond)).
		saw("connect", probes.Skip("")...).saw("invoke", probes.Skip("")...)
	ours := of("orders", agent.Unknown, laneAt(1, true)).saw("resolve", lookup(probes.OK, time.Millisecond)).
		saw("connect", onLane(1, probes.Fault, probes.PhaseConnect, 0)).saw("invoke", probes.Skip("")...)
	asking := func() *view {
		return walked(agent.Degraded, probes.Denied, 403).saw("followup", probes.Observation{Addr: addr(2), Outcome: probes.Denied})
	}
	for _, tt := range []struct {
		name   string
		r      *view
		module string
		want   string // of probe_success, or the status
	}{
		{"reachable", walked(agent.Reachable, probes.OK, 200), "", "1"},
		{"a warning", walked(agent.Degraded, probes.OK, 200).found(warning), "", "1"},
		{"an error beside working paths", walked(agent.Degraded, probes.OK, 200).found(broken), "", "0"},
		{"one path fails", walked(agent.Degraded, probes.Denied, 403), "", "0"},
		{"below the failure", walked(agent.Degraded, probes.Denied, 403), "connect", "1"},
		{"refused as expected", walked(agent.Reachable, probes.Denied, 403).found(asked), "invoke", "1"},
		{"no such name", noName, "", "0"},
		{"nothing to try above a failure", noName, "invoke", "0"},
		{"the failure itself", noName, "resolve", "0"},
		{"our own trouble", ours, "", "503"},
		{"our own trouble on the layer", ours, "connect", "503"},
		{"our own trouble below", ours, "invoke", "503"},
		{"below our own trouble", ours, "resolve", "1"},
		{"a lane that ends below", halfConnected(), "invoke", "0"},
		{"a lane that ends below, one layer up", halfConnected(), "handshake", "0"},
		{"a lane that ends here", halfConnected(), "connect", "0"},
		{"below the lane that ends", halfConnected(), "resolve", "1"},
		{"beside the lane that ends", halfConnected(), "trace", "1"},
		{"nothing to ask about", walked(agent.Reachable, probes.OK, 200).saw("followup"), "followup", "1"},
		{"a failure that leaves nothing to ask", walked(agent.Degraded, probes.ServerError, 500).saw("followup"), "followup", "0"},
		{"asked about a failure", asking(), "followup", "0"},
		{"nothing asked through our own trouble", ours.saw("followup"), "followup", "503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, got := probe(t, *tt.r.r.Round, "target=orders&module="+tt.module)
			if code == 200 {
				i := slices.IndexFunc(got, func(l string) bool { return strings.HasPrefix(l, "success ") })
				got = []string{strings.TrimPrefix(got[i], "success ")}
			} else {
				got = []string{fmt.Sprint(code)}
			}
			if got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
		})
	}
}

// halfConnected is a round in which one of two lanes cannot be connected to.
func halfConnected() *view {
	skipped := onLane(2, probes.Skipped, "", 0)
	return walked(agent.Degraded, probes.OK, 200).
		saw("connect", onLane(2, probes.Timeout, probes.PhaseConnect, time.Second), onLane(1, probes.OK, probes.PhaseConnect, time.Millisecond)).
		saw("handshake", skipped, onLane(1, probes.OK, probes.PhaseTLS, time.Millisecond)).
		saw("invoke", skipped, onLane(1, probes.OK, probes.PhaseProcessing, time.Millisecond, probedStatus.Is(200)))
}

// An answer that did not come is zeros, as blackbox_exporter has it.
func TestBlackboxWithoutAnAnswer(t *testing.T) {
	r := *of("orders", agent.Unreachable).saw("resolve", lookup(probes.Timeout, time.Second)).
		saw("connect", probes.Skip("")...).saw("handshake", probes.Skip("")...).saw("invoke", probes.Skip("")...).r.Round
	code, got := probe(t, r, "target=orders&module=invoke")
	want := []string{
		`dns_lookup_time_seconds 1`, `duration_seconds 1`,
		`http_duration_seconds{phase="connect"} 0`, `http_duration_seconds{phase="processing"} 0`, `http_duration_seconds{phase="resolve"} 1`,
		`http_duration_seconds{phase="tls"} 0`, `http_duration_seconds{phase="transfer"} 0`,
		`http_redirects 0`, `http_ssl 0`, `http_status_code 0`, `http_version 0`, `ip_protocol 0`, `success 0`,
	}
	if diff := cmp.Diff(want, got); code != 200 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", code, diff)
	}
	if code, got := probe(t, r, "target=orders&module=resolve"); code != 200 || !slices.Contains(got, "dns_query_succeeded 0") {
		t.Errorf("%d %v", code, got)
	}
}

func TestBlackboxRefuses(t *testing.T) {
	r := *walked(agent.Reachable, probes.OK, 200).r.Round
	fresh := agent.Round{Evidence: probes.Evidence{Target: r.Evidence.Target}, Verdict: agent.Unknown}
	lookedUp := *of("orders", agent.Reachable).saw("resolve", lookup(probes.OK, time.Millisecond)).r.Round
	for _, tt := range []struct {
		name  string
		r     agent.Round
		query string
		code  int
		text  string
	}{
		{"no target", r, "", 400, "say which target: /probe?target=NAME&module=KIND"},
		{"no such target", r, "target=http://169.254.169.254/", 404, `no target is called "http://169.254.169.254/"; only configured ones can be asked for`},
		{"no such module", r, "target=orders&module=http_2xx", 400, `unknown module "http_2xx": use one of resolve, connect, trace, handshake, invoke, followup, or none for the whole walk`},
		{"no such module of a new target", fresh, "target=orders&module=tcp", 400, `unknown module "tcp": use one of resolve, connect, trace, handshake, invoke, followup, or none for the whole walk`},
		{"a module that is not run", lookedUp, "target=orders&module=invoke", 400, `module "invoke" is not run for this target: use one of resolve, or none for the whole walk`},
		{"not walked yet", fresh, "target=orders&module=invoke", 503, `target "orders" was not walked yet`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, got := probe(t, tt.r, tt.query); code != tt.code || got[0] != tt.text {
				t.Errorf("%d %s, want %d %s", code, got[0], tt.code, tt.text)
			}
		})
	}
}

// A result that is never renewed is not served for ever: a scheduler that
// stands still must not look like targets that are well.
func TestBlackboxGrowsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := walked(agent.Reachable, probes.OK, 200)
		v.r.Evidence.Target.Every, v.r.Evidence.Target.Timeout = 10*time.Second, time.Second
		v.r.Took = 0
		time.Sleep(50 * time.Second)
		if code, got := probe(t, *v.r.Round, "target=orders"); code != 200 {
			t.Errorf("%d %v", code, got)
		}
		time.Sleep(time.Second)
		code, got := probe(t, *v.r.Round, "target=orders")
		if want := `target "orders" was last walked 51s ago`; code != 503 || got[0] != want {
			t.Errorf("%d %v", code, got)
		}
	})
}

// A target that is meant to be walked rarely is not stale between its walks: an
// alert on probe_success must see that it fails.
func TestBlackboxOfARareWalk(t *testing.T) {
	for name, edit := range map[string]func(*probes.Target){
		"less often while it fails": func(t *probes.Target) { t.WhileFailing = 5 * time.Minute },
		"a slow pace": func(t *probes.Target) {
			t.Kinds, t.Pace = []string{"resolve"}, map[string]time.Duration{"resolve": 5 * time.Minute}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := walked(agent.Unreachable, probes.Timeout, 0)
			v.r.Evidence.Target.Every, v.r.Evidence.Target.Timeout = 10*time.Second, time.Second
			edit(v.r.Evidence.Target)
			time.Sleep(5 * time.Minute)
			if code, got := probe(t, *v.r.Round, "target=orders"); code != 200 || !slices.Contains(got, "success 0") {
				t.Errorf("%s: %d %v", name, code, got)
			}
			time.Sleep(11 * time.Minute)
			if code, _ := probe(t, *v.r.Round, "target=orders"); code != 503 {
				t.Errorf("%s: %d long after the next walk was due", name, code)
			}
		})
	}
}
