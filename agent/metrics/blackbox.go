package metrics

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// Blackbox serves /probe?target=NAME&module=KIND to what expects
// blackbox_exporter: dashboards, alerts, and the Probe resource of the
// Prometheus Operator. NAME is a configured target, and KIND one of the kinds
// of probe with all layers below it; without it, the whole walk.
//
// It answers from the latest scheduled round and never probes. A gauge bears a
// name of blackbox_exporter's only where it means the same; what it has to say
// of one address is said of the address that fares worst. Where nothing is
// known, because the target was not walked yet or lately, or because of
// trouble of our own, the answer is 503: that Prometheus sees as up 0, and no
// alert takes it for a failure of the target.
func Blackbox(kinds []probes.Kind, statusOf func(target string) (agent.Round, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		target, module := query.Get("target"), query.Get("module")
		if target == "" {
			refuse(w, http.StatusBadRequest, "say which target: /probe?target=NAME&module=KIND")
			return
		}
		round, ok := statusOf(target)
		if !ok {
			refuse(w, http.StatusNotFound, fmt.Sprintf("no target is called %q; only configured ones can be asked for", target))
			return
		}
		s, err := scopeOf(kinds, round, module)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		success, why := s.success()
		if why == "" {
			why = stale(kinds, round)
		}
		if why != "" {
			refuse(w, http.StatusServiceUnavailable, why)
			return
		}
		registry := prometheus.NewRegistry()
		s.register(gauges{registry}, success)
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n")
}

// stale says that a round is so old that nobody looks any more, or nothing: a
// target is walked again at its next turn, and a step may take twenty times
// its timeout.
func stale(kinds []probes.Kind, r agent.Round) string {
	t := r.Evidence.Target
	allowed := 3*turn(kinds, t) + 20*t.StepTimeout()
	if age := time.Since(r.Started.Add(r.Took)); age > allowed {
		return fmt.Sprintf("target %q was last walked %v ago", t.Name, age.Round(time.Second))
	}
	return ""
}

// turn is how long it may take until a target is walked again.
func turn(kinds []probes.Kind, t *probes.Target) time.Duration {
	soonest := time.Duration(math.MaxInt64)
	for i := range kinds {
		if k := &kinds[i]; t.Runs(k.Name) {
			soonest = min(soonest, max(agent.Pace(t, k, false), agent.Pace(t, k, true)))
		}
	}
	return soonest
}

// A scope is what one answer is about: the kinds up to the one asked for, and
// of the lanes that callers take the one that fares worst.
type scope struct {
	agent.Round
	kinds  []probes.Kind // those that have run for the target
	module string        // the last of them, if it was asked for
	lane   probes.Lane
	onLane bool // there is a lane
}

func scopeOf(kinds []probes.Kind, r agent.Round, module string) (scope, error) {
	s := scope{Round: r, module: module}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	last := slices.Index(names, module)
	switch {
	case module == "":
		last = len(kinds) - 1
	case last < 0:
		return s, fmt.Errorf("unknown module %q: use one of %s, or none for the whole walk", module, strings.Join(names, ", "))
	case !r.Started.IsZero() && !slices.Contains(r.Evidence.Kinds(), module):
		return s, fmt.Errorf("module %q is not run for this target: use one of %s, or none for the whole walk", module, strings.Join(r.Evidence.Kinds(), ", "))
	}
	for _, k := range kinds[:last+1] {
		if len(r.Evidence.Of(k.Name)) > 0 {
			s.kinds = append(s.kinds, k)
		}
	}
	if n := len(s.kinds); module != "" && n > 0 {
		s.module = s.kinds[n-1].Name // a kind that had nothing to do leaves the answer to what it stands on
	}
	s.choose()
	return s, nil
}

// choose picks the lane to speak of: of those that callers take, the first
// that fails, else the first; in the order of name forms and addresses, so
// that it does not change with the order of a resolver's answers.
func (s *scope) choose() {
	forms := s.Evidence.Target.Via
	lanes := slices.DeleteFunc(slices.Clone(s.Evidence.Lanes), func(l probes.Lane) bool { return !l.Answered })
	if len(lanes) == 0 {
		return
	}
	slices.SortStableFunc(lanes, func(a, b probes.Lane) int {
		return cmp.Or(cmp.Compare(slices.Index(forms, a.Via), slices.Index(forms, b.Via)), a.Addr.Compare(b.Addr))
	})
	s.lane, s.onLane = lanes[0], true
	if i := slices.IndexFunc(lanes, s.fails); i >= 0 {
		s.lane = lanes[i]
	}
}

func (s *scope) fails(lane probes.Lane) bool {
	return slices.ContainsFunc(s.kinds, func(k probes.Kind) bool {
		o, ok := s.Evidence.On(k.Name, lane)
		return ok && k.Per == probes.PerLane && o.Outcome.Blames()
	})
}

// success says whether what is asked for went well, or why that is not known.
func (s *scope) success() (ok bool, unknown string) {
	name := s.Evidence.Target.Name
	if s.Started.IsZero() {
		return false, fmt.Sprintf("target %q was not walked yet", name)
	}
	if s.module == "" {
		if s.Verdict == agent.Unknown {
			return false, fmt.Sprintf("nothing is known of target %q through trouble of the agent's own: %s", name, s.Sentence())
		}
		return s.callersSucceed(), ""
	}
	if s.expected() {
		return true, ""
	}
	if s.cut() {
		return false, ""
	}
	for i := len(s.kinds) - 1; i >= 0; i-- {
		if r, known := latest(s.Evidence, s.kinds[i].Name); known && (r == failure || s.kinds[i].Name == s.module) {
			return r == success, ""
		}
	}
	return false, fmt.Sprintf("%s of target %q could not be tried, through nobody's fault but the agent's", s.module, name)
}

// callersSucceed reports whether callers get what they want. A warning does
// not keep them from it.
func (s *scope) callersSucceed() bool {
	switch s.Verdict {
	case agent.Reachable:
		return true
	case agent.Degraded:
		return s.Failing == 0 && !slices.ContainsFunc(s.Findings, probes.Finding.Breaks)
	}
	return false
}

// expected reports whether the configuration asks for what the module saw to
// be refused, and it was.
func (s *scope) expected() bool {
	return slices.ContainsFunc(s.Findings, func(f probes.Finding) bool {
		return f.Expected && slices.ContainsFunc(f.Because, func(o probes.Observation) bool { return o.Kind == s.module })
	})
}

// cut reports whether a lane ends at or below the module. What is skipped there
// is no failure of the module's, but callers do not get through it.
func (s *scope) cut() bool {
	n := len(s.kinds)
	return n > 0 && s.kinds[n-1].Per == probes.PerLane && s.onLane && s.fails(s.lane)
}

// gauges registers gauges as blackbox_exporter has them.
type gauges struct{ *prometheus.Registry }

func (g gauges) set(v float64, name, help string) {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	gauge.Set(v)
	g.MustRegister(gauge)
}

// by sets a gauge for each value of a label.
func (g gauges) by(label string, values map[string]float64, name, help string) {
	if len(values) == 0 {
		return
	}
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	for value, v := range values {
		vec.WithLabelValues(value).Set(v)
	}
	g.MustRegister(vec)
}

func (s *scope) register(g gauges, ok bool) {
	g.set(b2f(ok), "probe_success", "Displays whether or not the probe was a success")
	g.set(s.duration().Seconds(), "probe_duration_seconds", "Returns how long the probe took to complete in seconds")
	if lookups := s.lookups(""); len(lookups) > 0 {
		g.set(slowest(lookups).Seconds(), "probe_dns_lookup_time_seconds", "Returns the time taken for probe dns lookup in seconds")
	}
	if len(s.kinds) > 0 && s.kinds[len(s.kinds)-1].Lanes != nil {
		s.registerDNS(g)
		return
	}
	protocol := 0.0
	if s.onLane {
		protocol = 4
		if s.lane.Addr.Addr().Is6() {
			protocol = 6
		}
		g.set(hashOf(s.lane.Addr.Addr()), "probe_ip_addr_hash", "Specifies the hash of IP address. It's useful to detect if the IP address changes.")
	}
	g.set(protocol, "probe_ip_protocol", "Specifies whether probe ip protocol is IP4 or IP6")
	s.registerTLS(g)
	s.registerHTTP(g)
}

// registerDNS adds what blackbox_exporter's prober dns says.
func (s *scope) registerDNS(g gauges) {
	lookups := s.lookups("")
	replied := !slices.ContainsFunc(lookups, func(o probes.Observation) bool {
		switch o.Outcome {
		case probes.OK, probes.NoSuchName, probes.NoAddress, probes.ServerFailed, probes.Elsewhere:
			return false
		}
		return true
	})
	g.set(b2f(replied), "probe_dns_query_succeeded", "Displays whether or not the query was executed successfully")
	g.by("phase", map[string]float64{"request": slowest(lookups).Seconds()}, "probe_dns_duration_seconds", "Duration of DNS request by phase")
}

// registerTLS adds what the handshake agreed on, if there was one.
func (s *scope) registerTLS(g gauges) {
	if v, _, ok := s.reading("tls_info"); ok {
		g.by("version", map[string]float64{label(v, "version"): 1}, "probe_tls_version_info", "Contains the TLS version used")
		g.by("cipher", map[string]float64{label(v, "cipher"): 1}, "probe_tls_cipher_info", "Contains the TLS cipher negotiated during handshake")
	}
	if v, o, ok := s.reading("cert_not_after_timestamp_seconds"); ok && label(v, "role") == "server" {
		g.set(v.V, "probe_ssl_earliest_cert_expiry", "Returns earliest SSL cert expiry in unixtime")
		if o.Outcome == probes.OK {
			g.set(v.V, "probe_ssl_last_chain_expiry_timestamp_seconds", "Returns last SSL chain expiry in timestamp seconds")
		}
	}
}

// registerHTTP adds what blackbox_exporter's prober http says: 0 of an answer
// that did not come.
func (s *scope) registerHTTP(g gauges) {
	if !slices.ContainsFunc(s.kinds, func(k probes.Kind) bool { return declares(k, "http_status_code") }) {
		return
	}
	v, o, answered := s.reading("http_status_code")
	g.set(v.V, "probe_http_status_code", "Response HTTP status code")
	g.set(b2f(answered), "probe_http_ssl", "Indicates if SSL was used for the final redirect")
	g.set(0, "probe_http_redirects", "The number of redirects") // none is followed
	if !answered {
		g.set(0, "probe_http_version", "Returns the version of HTTP of the probe response")
	} else if version, ok := httpVersion(o); ok {
		g.set(version, "probe_http_version", "Returns the version of HTTP of the probe response")
	}
	phases := s.phases()
	shown := map[string]float64{}
	for _, name := range []string{probes.PhaseResolve, probes.PhaseConnect, probes.PhaseTLS, probes.PhaseProcessing, probes.PhaseTransfer} {
		shown[name] = phases[name].Seconds()
	}
	g.by("phase", shown, "probe_http_duration_seconds", "Duration of http request by phase, summed over all redirects")
}

// httpVersion reads the protocol from the documented JSON form of the answer.
func httpVersion(o probes.Observation) (float64, bool) {
	text, err := json.Marshal(o.Detail)
	if err != nil {
		return 0, false
	}
	var detail struct {
		Protocol string `json:"protocol"`
	}
	if json.Unmarshal(text, &detail) != nil {
		return 0, false
	}
	number, ok := strings.CutPrefix(detail.Protocol, "HTTP/")
	version, err := strconv.ParseFloat(number, 64)
	return version, ok && err == nil
}

// duration is how long what is asked for took: the walk; or the lane's phases
// up to the module; or, of a module that is not on lanes, its slowest
// observation.
func (s *scope) duration() (d time.Duration) {
	switch {
	case s.module == "":
		return s.Took
	case s.kinds[len(s.kinds)-1].Per == probes.PerTarget:
		return slowest(s.Evidence.Of(s.module))
	}
	for _, took := range s.phases() {
		d += took
	}
	return d
}

// phases are those of the lane, with the slowest lookup of its name. Where two
// steps report the same phase, the longer counts.
func (s *scope) phases() map[string]time.Duration {
	phases := map[string]time.Duration{probes.PhaseResolve: slowest(s.lookups(s.lane.Via))}
	for _, k := range s.kinds {
		o, ok := s.Evidence.On(k.Name, s.lane)
		if !ok || !s.onLane || k.Per != probes.PerLane {
			continue
		}
		for _, p := range o.Phases {
			phases[p.Name] = max(phases[p.Name], p.Took)
		}
	}
	return phases
}

// lookups are those of a name form, or all.
func (s *scope) lookups(via probes.Via) (found []probes.Observation) {
	for _, k := range s.kinds {
		found = append(found, probes.Filter(s.Evidence.Of(k.Name), func(o probes.Observation) bool {
			return o.Resolver != "" && (via == "" || o.Via == via)
		})...)
	}
	return found
}

func slowest(obs []probes.Observation) (d time.Duration) {
	for _, o := range obs {
		d = max(d, o.Took())
	}
	return d
}

// reading finds the lane's reading of a metric.
func (s *scope) reading(metric string) (probes.Value, probes.Observation, bool) {
	for _, k := range s.kinds {
		o, ok := s.Evidence.On(k.Name, s.lane)
		if !ok || !s.onLane || k.Per != probes.PerLane {
			continue
		}
		for _, v := range o.Values {
			if v.Name == metric {
				return v, o, true
			}
		}
	}
	return probes.Value{}, probes.Observation{}, false
}

func declares(k probes.Kind, metric string) bool {
	return slices.ContainsFunc(k.Metrics, func(m *probes.Metric) bool { return m.Name == metric })
}

// label returns the value of one of a reading's own labels.
func label(v probes.Value, name string) string {
	rest := v.Labels.Append(nil)
	for _, l := range v.Metric.Labels {
		switch {
		case l == "kind" || l == "via" || l == "name" || l == "resolver" || l == "address":
		case len(rest) == 0:
			return ""
		case l == name:
			return rest[0]
		default:
			rest = rest[1:]
		}
	}
	return ""
}

// hashOf is the hash that blackbox_exporter makes of an address: FNV-1a of its
// bytes.
func hashOf(a netip.Addr) float64 {
	h := fnv.New32a()
	h.Write(a.Unmap().AsSlice())
	return float64(h.Sum32())
}
