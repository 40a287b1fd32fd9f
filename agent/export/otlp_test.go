package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// A receiver is a collector that answers as it is told, one answer after the
// other, then 200.
type receiver struct {
	mu       sync.Mutex
	answers  []answer
	requests []*http.Request
	bodies   [][]byte
}

type answer struct {
	status int
	header map[string]string
	body   string
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.bodies = append(c.requests, r), append(c.bodies, body)
	if len(c.answers) == 0 {
		return
	}
	a := c.answers[0]
	c.answers = c.answers[1:]
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// received decodes all requests.
func (c *receiver) received(t testing.TB) []*collector.ExportMetricsServiceRequest {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*collector.ExportMetricsServiceRequest
	for i, body := range c.bodies {
		if c.requests[i].Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		r := &collector.ExportMetricsServiceRequest{}
		if err := (proto.UnmarshalOptions{}).Unmarshal(body, r); err != nil {
			t.Fatal(err)
		}
		if n := len(r.ProtoReflect().GetUnknown()); n > 0 {
			t.Errorf("%d bytes of the request are unknown", n)
		}
		all = append(all, r)
	}
	return all
}

func (c *receiver) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

// collect starts a receiver.
func collect(t testing.TB, answers ...answer) (*receiver, string) {
	t.Helper()
	c := &receiver{answers: answers}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, s.URL
}

// env is an environment of pairs of name and value.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// exporter makes an exporter that tries again at once.
func exporter(t testing.TB, g prometheus.Gatherer, o Options) *OTLP {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = env()
	}
	e, err := NewOTLP(t.Context(), g, o)
	if err != nil {
		t.Fatal(err)
	}
	e.backoff = time.Millisecond
	return e
}

// within bounds what a test waits for.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// families gathers fixed families.
func families(fs ...*dto.MetricFamily) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return fs, nil })
}

func up(values ...float64) *dto.MetricFamily {
	f := &dto.MetricFamily{Name: new("up"), Help: new("Whether it is."), Type: dto.MetricType_GAUGE.Enum()}
	for i, v := range values {
		f.Metric = append(f.Metric, &dto.Metric{
			Label: []*dto.LabelPair{{Name: new("target"), Value: new(fmt.Sprint("t", i))}}, Gauge: &dto.Gauge{Value: new(v)},
		})
	}
	return f
}

// registry has a metric of every type, with values that add up.
func registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "verdict", Help: "The verdict."}, []string{"target", "verdict"})
	gauge.WithLabelValues("orders", "reachable").Set(1)
	gauge.WithLabelValues("users", "").Set(-0.5)
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "runs_total", Help: "Runs."})
	counter.Add(42)
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "phase_seconds", Help: "Phases.", Buckets: []float64{0.1, 1, 10}})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native_seconds", Help: "Native.", NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: 1e-9})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "pause_seconds", Help: "Pauses.", Objectives: map[float64]float64{0.5: 0.01}})
	for _, v := range []float64{0.05, 0.5, 0.7, 100} {
		classic.Observe(v)
		summary.Observe(v)
	}
	for _, v := range []float64{-2, 0, 1, 1.05, 64} {
		native.Observe(v)
	}
	untyped := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "untyped", Help: "Untyped."}, func() float64 { return 7 })
	r.MustRegister(gauge, counter, classic, native, summary, untyped)
	return r
}

func attributes(pairs ...string) []*common.KeyValue {
	var all []*common.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &common.KeyValue{Key: pairs[i], Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: pairs[i+1]}}})
	}
	return all
}

// What arrives, decoded with OpenTelemetry's own types, is what was gathered.
func TestOTLPArrives(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	e := exporter(t, registry(), Options{Endpoint: url, Version: "1.2.3", Getenv: env("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,host.name=h,zone=a%2Cb")})
	before := time.Now()
	if err := e.Push(within(t)); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	if got := c.requests[0]; got.Method != "POST" || got.URL.Path != "/v1/metrics" || got.Header.Get("Content-Type") != "application/x-protobuf" || got.Header.Get("User-Agent") != "vpcprobe/1.2.3" {
		t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
	}
	got := c.received(t)
	if len(got) != 1 || len(got[0].ResourceMetrics) != 1 || len(got[0].ResourceMetrics[0].ScopeMetrics) != 1 {
		t.Fatalf("received %v", got)
	}
	resource := got[0].ResourceMetrics[0]
	if diff := cmp.Diff(attributes("host.name", "h", "service.instance.id", "pod-1", "service.name", "vpcprobe", "service.version", "1.2.3", "zone", "a,b"), resource.Resource.Attributes, protocmp.Transform()); diff != "" {
		t.Errorf("the resource differs (-want +got):\n%s", diff)
	}
	scope := resource.ScopeMetrics[0]
	if scope.Scope.Name != "vpcprobe" || scope.Scope.Version != "1.2.3" {
		t.Errorf("the scope is %v", scope.Scope)
	}
	for _, at := range times(scope.Metrics) {
		if got := time.Unix(0, int64(at)); got.Before(before.Add(-time.Minute)) || got.After(after) {
			t.Errorf("a time is %v, not shortly before %v", got, after)
		}
	}
	if diff := cmp.Diff(wanted(), scope.Metrics, protocmp.Transform(), ignoreTimes()); diff != "" {
		t.Errorf("the metrics differ (-want +got):\n%s", diff)
	}
	if s := e.Stats(); s.Pushed != 1 || s.Failed != 0 || s.Rejected != 0 || s.Latest.Before(before) {
		t.Errorf("the counts are %+v", s)
	}
}

func ignoreTimes() cmp.Option {
	var options cmp.Options
	for _, m := range []proto.Message{&metrics.NumberDataPoint{}, &metrics.HistogramDataPoint{}, &metrics.ExponentialHistogramDataPoint{}, &metrics.SummaryDataPoint{}} {
		options = append(options, protocmp.IgnoreFields(m, "time_unix_nano", "start_time_unix_nano"))
	}
	return options
}

// times returns the times of all points, and when counting began.
func times(ms []*metrics.Metric) (all []uint64) {
	for _, m := range ms {
		for _, p := range slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()) {
			all = append(all, p.TimeUnixNano)
			if m.GetSum() != nil {
				all = append(all, p.StartTimeUnixNano)
			}
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			all = append(all, p.TimeUnixNano, p.StartTimeUnixNano)
		}
		for _, p := range m.GetExponentialHistogram().GetDataPoints() {
			all = append(all, p.TimeUnixNano, p.StartTimeUnixNano)
		}
		for _, p := range m.GetSummary().GetDataPoints() {
			all = append(all, p.TimeUnixNano, p.StartTimeUnixNano)
		}
	}
	return all
}

// wanted is what the registry is as OTLP.
func wanted() []*metrics.Metric {
	const cumulative = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	double := func(v float64) *metrics.NumberDataPoint_AsDouble {
		return &metrics.NumberDataPoint_AsDouble{AsDouble: v}
	}
	return []*metrics.Metric{
		{Name: "native_seconds", Description: "Native.", Data: &metrics.Metric_ExponentialHistogram{ExponentialHistogram: &metrics.ExponentialHistogram{
			AggregationTemporality: cumulative, DataPoints: []*metrics.ExponentialHistogramDataPoint{{
				Count: 5, Sum: new(64.05), Scale: 3, ZeroCount: 1, ZeroThreshold: 1e-9,
				Positive: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: -1, BucketCounts: append(append([]uint64{1, 1}, make([]uint64, 46)...), 1)},
				Negative: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: 7, BucketCounts: []uint64{1}},
			}},
		}}},
		{Name: "pause_seconds", Description: "Pauses.", Data: &metrics.Metric_Summary{Summary: &metrics.Summary{
			DataPoints: []*metrics.SummaryDataPoint{{Count: 4, Sum: 101.25, QuantileValues: []*metrics.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 0.5}}}},
		}}},
		{Name: "phase_seconds", Description: "Phases.", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
			AggregationTemporality: cumulative, DataPoints: []*metrics.HistogramDataPoint{{
				Count: 4, Sum: new(101.25), ExplicitBounds: []float64{0.1, 1, 10}, BucketCounts: []uint64{1, 2, 0, 1},
			}},
		}}},
		{Name: "runs_total", Description: "Runs.", Data: &metrics.Metric_Sum{Sum: &metrics.Sum{
			AggregationTemporality: cumulative, IsMonotonic: true, DataPoints: []*metrics.NumberDataPoint{{Value: double(42)}},
		}}},
		{Name: "untyped", Description: "Untyped.", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{{Value: double(7)}}}}},
		{Name: "verdict", Description: "The verdict.", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{
			{Attributes: attributes("target", "orders", "verdict", "reachable"), Value: double(1)},
			{Attributes: attributes("target", "users", "verdict", ""), Value: double(-0.5)},
		}}}},
	}
}

// A large push is split into requests of bounded size, and no point is lost or
// sent twice.
func TestOTLPSplitsLargePushes(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	const n = 60_000
	many := up(make([]float64, n)...)
	if err := exporter(t, families(up(1), many, up(2)), Options{Endpoint: url}).Push(within(t)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i, r := range c.received(t) {
		if size := len(c.bodies[i]); size > 1<<20 {
			t.Errorf("a request has %d bytes", size)
		}
		if len(r.ResourceMetrics[0].Resource.Attributes) == 0 || r.ResourceMetrics[0].ScopeMetrics[0].Scope.Name != "vpcprobe" {
			t.Errorf("request %d does not say whose it is", i)
		}
		for _, m := range r.ResourceMetrics[0].ScopeMetrics[0].Metrics {
			if m.Name != "up" {
				t.Errorf("a part is called %q", m.Name)
			}
			for _, p := range m.GetGauge().DataPoints {
				seen[p.Attributes[0].Value.GetStringValue()]++
			}
		}
	}
	if len(c.bodies) < 3 || len(seen) != n || seen["t0"] != 3 || seen["t59999"] != 1 {
		t.Errorf("%d requests with %d targets", len(c.bodies), len(seen))
	}
}

func TestOTLPNothingToPush(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	if err := exporter(t, families(), Options{Endpoint: url}).Push(within(t)); err != nil || c.count() != 0 {
		t.Errorf("%d requests, %v", c.count(), err)
	}
}

// What could be gathered is pushed although something could not.
func TestOTLPPartOfTheMetrics(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	broken := errors.New("a collector broke")
	g := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return []*dto.MetricFamily{up(1)}, broken })
	e := exporter(t, g, Options{Endpoint: url})
	if err := e.Push(within(t)); !errors.Is(err, broken) || c.count() != 1 || e.Stats().Failed != 1 {
		t.Errorf("%d requests, %+v, %v", c.count(), e.Stats(), err)
	}
}

func TestOTLPTriesAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status   int
		requests int
		fails    string
	}{
		{429, 2, ""}, {502, 2, ""}, {503, 2, ""}, {504, 2, ""},
		{400, 1, "the collector answers 400 Bad Request: no x-api-key: [redacted]"},
		{401, 1, "the collector answers 401 Unauthorized: no x-api-key: [redacted]"},
		{404, 1, "the collector answers 404 Not Found: no x-api-key: [redacted]"},
		{500, 1, "the collector answers 500 Internal Server Error: no x-api-key: [redacted]"},
		{301, 1, "the collector answers 301 Moved Permanently: no x-api-key: [redacted]"},
	}
	for _, tt := range tests {
		c, url := collect(t, answer{tt.status, map[string]string{"Location": "/elsewhere", "Retry-After": "0"}, "no x-api-key: hunter2\x1b[31m"})
		e := exporter(t, families(up(1)), Options{Endpoint: url})
		err := e.Push(within(t))
		if (err != nil) != (tt.fails != "") || err != nil && !strings.HasPrefix(err.Error(), tt.fails) {
			t.Errorf("%d: %v, want %q", tt.status, err, tt.fails)
		}
		if c.count() != tt.requests {
			t.Errorf("%d: %d requests, want %d", tt.status, c.count(), tt.requests)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%d: the error has control characters: %q", tt.status, err)
		}
	}
}

// The collector's wish for a pause is heard, but not beyond the push's own end.
func TestOTLPRetryAfterBeyondTheEnd(t *testing.T) {
	t.Parallel()
	c, url := collect(t, answer{503, map[string]string{"Retry-After": "3600"}, ""})
	err := exporter(t, families(up(1)), Options{Endpoint: url}).Push(within(t))
	if err == nil || c.count() != 1 {
		t.Errorf("%d requests, %v", c.count(), err)
	}
}

// A collector that is down spoils nothing; it is told once, and again when it
// is back.
func TestOTLPCollectorIsDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var logged bytes.Buffer
	e := exporter(t, families(up(1)), Options{Endpoint: "http://" + addr + "/?token=hunter2", Log: slog.New(slog.NewTextHandler(&logged, nil))})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := e.Push(ctx); err == nil {
			t.Error("a push to nobody went well")
		}
		cancel()
	}
	if got := strings.Count(logged.String(), "metrics cannot be pushed"); got != 1 || e.Stats().Failed != 3 {
		t.Errorf("told %d times, %+v:\n%s", got, e.Stats(), &logged)
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skipf("the port was taken: %v", err)
	}
	s := &http.Server{Handler: &receiver{}}
	go s.Serve(l)
	defer s.Close()
	if err := e.Push(within(t)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "metrics are pushed again") || strings.Contains(logged.String(), "hunter2") {
		t.Errorf("the log says\n%s", &logged)
	}
}

// A collector that wants only a part is heard, and not asked again.
func TestOTLPPartialSuccess(t *testing.T) {
	t.Parallel()
	body, err := proto.Marshal(&collector.ExportMetricsServiceResponse{PartialSuccess: &collector.ExportMetricsPartialSuccess{
		RejectedDataPoints: 3, ErrorMessage: "too old, authorization: Bearer hunter2hunter2",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	c, url := collect(t, answer{200, map[string]string{"Content-Type": "application/x-protobuf"}, string(body)})
	e := exporter(t, families(up(1)), Options{Endpoint: url, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err := e.Push(within(t)); err != nil {
		t.Error(err)
	}
	if s := e.Stats(); s.Rejected != 3 || s.Pushed != 1 || c.count() != 1 {
		t.Errorf("the counts are %+v after %d requests", s, c.count())
	}
	if !strings.Contains(logged.String(), "rejected=3") || !strings.Contains(logged.String(), "too old") || strings.Contains(logged.String(), "hunter2") {
		t.Errorf("the log says\n%s", &logged)
	}
}

func TestOTLPHeadersAndCompression(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	e := exporter(t, families(up(1)), Options{Getenv: env(
		"OTEL_EXPORTER_OTLP_ENDPOINT", url+"/base/", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip",
		"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s%3D1, x-tenant = a ,content-type=text/plain",
		"OTEL_SERVICE_NAME", "edge")})
	if err := e.Push(within(t)); err != nil {
		t.Fatal(err)
	}
	r := c.requests[0]
	if r.URL.Path != "/base/v1/metrics" || r.Header.Get("Authorization") != "Bearer s=1" || r.Header.Get("X-Tenant") != "a" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	got := c.received(t)[0].ResourceMetrics[0].Resource.Attributes
	i := slices.IndexFunc(got, func(a *common.KeyValue) bool { return a.Key == "service.name" })
	if i < 0 || got[i].Value.GetStringValue() != "edge" {
		t.Errorf("the resource is %v", got)
	}
}

// OpenTelemetry's exporter reads the variables that do not count, too. It must
// not quote those that it cannot read on standard error.
func TestOTLPQuotesNoVariables(t *testing.T) {
	t.Parallel()
	const child, secret = "VPCPROBE_TEST_PUSHES_TO", "hunter2-9d41"
	if url := os.Getenv(child); url != "" {
		if err := exporter(t, registry(), Options{Endpoint: url, Getenv: os.Getenv}).Push(within(t)); err != nil {
			t.Fatal(err)
		}
		return
	}
	c, url := collect(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOTLPQuotesNoVariables$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+url,
		"OTEL_EXPORTER_OTLP_METRICS_HEADERS=authorization=Bearer%20good",
		"OTEL_EXPORTER_OTLP_HEADERS="+secret+",api-key="+secret+"%zz,=x,",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:"+secret+"@[::1",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://user:"+secret+"@ host:%",
	)
	said, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(said), secret) || !strings.Contains(string(said), "--- PASS: TestOTLPQuotesNoVariables") {
		t.Errorf("%v: %s", err, said)
	}
	if got := c.requests; len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer good" || got[0].Header.Get("Api-Key") != "" {
		t.Errorf("received %v", got)
	}
}

func TestOTLPSettings(t *testing.T) {
	t.Parallel()
	endpoints := []struct{ given, metrics, all, want string }{
		{"", "", "", "http://localhost:4318/v1/metrics"},
		{"", "", "https://c:4318", "https://c:4318/v1/metrics"},
		{"", "", "https://c/otlp/", "https://c/otlp/v1/metrics"},
		{"", "https://c/as/is", "https://d", "https://c/as/is"},
		{"", "https://c", "https://d", "https://c/"},
		{"http://e", "https://c", "https://d", "http://e/v1/metrics"},
		{"http://e/api/v1/otlp", "", "", "http://e/api/v1/otlp/v1/metrics"},
		{"http://e/api/v1/otlp/v1/metrics", "", "", "http://e/api/v1/otlp/v1/metrics"},
	}
	for _, tt := range endpoints {
		s, err := newSettings(Options{Endpoint: tt.given, Getenv: env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", tt.metrics, "OTEL_EXPORTER_OTLP_ENDPOINT", tt.all)})
		if err != nil || s.endpoint.String() != tt.want {
			t.Errorf("%+v: %v, %v", tt, s.endpoint, err)
		}
	}
	s, err := newSettings(Options{Getenv: env("OTEL_METRIC_EXPORT_INTERVAL", "5000", "OTEL_EXPORTER_OTLP_TIMEOUT", "1", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500")})
	if err != nil || s.every != 5*time.Second || s.timeout != 2500*time.Millisecond || s.gzip {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = newSettings(Options{Every: time.Second, Getenv: env("OTEL_METRIC_EXPORT_INTERVAL", "5000", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")})
	if err != nil || s.every != time.Second || s.timeout != 10*time.Second || s.gzip {
		t.Errorf("%+v, %v", s, err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := []attribute.KeyValue{
		attribute.String("service.name", "vpcprobe"), attribute.String("service.version", "unknown"),
		attribute.String("service.instance.id", hostname), attribute.String("host.name", hostname),
	}
	if !slices.Equal(s.resource, want) {
		t.Errorf("the resource is %v, want %v", s.resource, want)
	}
}

// What is wrong is told by the name of its variable, and never a header's value.
func TestOTLPBadSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		endpoint string
		env      []string
		want     string
	}{
		{"collector:4318", nil, "endpoint: it is not a URL such as http://localhost:4318"},
		{"grpc://collector", nil, "endpoint: it is not a URL such as http://localhost:4318"},
		{"", []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@c"}, "OTEL_EXPORTER_OTLP_ENDPOINT: credentials belong into OTEL_EXPORTER_OTLP_HEADERS"},
		{"", []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a b"}, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: it is not a URL such as http://localhost:4318"},
		{"", []string{"OTEL_EXPORTER_OTLP_HEADERS", "a=1,hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS: pair 2 is not name=value with a percent-encoded value"},
		{"", []string{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a b=hunter2"}, `OTEL_EXPORTER_OTLP_METRICS_HEADERS: "a b" cannot be a header, or not with this value`},
		{"", []string{"OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0d%0ab: c"}, `OTEL_EXPORTER_OTLP_HEADERS: "a" cannot be a header, or not with this value`},
		{"", []string{"OTEL_EXPORTER_OTLP_HEADERS", "a=%zz"}, "OTEL_EXPORTER_OTLP_HEADERS: pair 1 is not name=value with a percent-encoded value"},
		{"", []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s"}, `OTEL_EXPORTER_OTLP_TIMEOUT: "10s" is not a number of milliseconds`},
		{"", []string{"OTEL_METRIC_EXPORT_INTERVAL", "0"}, `OTEL_METRIC_EXPORT_INTERVAL: "0" is not a number of milliseconds`},
		{"", []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"}, `OTEL_EXPORTER_OTLP_COMPRESSION: "zstd" is unknown; gzip and none are known`},
		{"", []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}, `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not spoken; http/protobuf is`},
		{"", []string{"OTEL_RESOURCE_ATTRIBUTES", "=x"}, "OTEL_RESOURCE_ATTRIBUTES: pair 1 is not name=value with a percent-encoded value"},
		{"", []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/none.pem"}, "collector's authorities: open /none.pem: no such file or directory"},
		{"", []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null"}, "collector's authorities: there is no certificate in /dev/null"},
		{"", []string{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/none.key"}, "client certificate for the collector: open : no such file or directory"},
	}
	for _, tt := range tests {
		_, err := NewOTLP(t.Context(), families(), Options{Endpoint: tt.endpoint, Getenv: env(tt.env...)})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q %v: the error is %v, want %s", tt.endpoint, tt.env, err, tt.want)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

// The collector's authority is read at every push: it may be rotated.
func TestOTLPOverTLS(t *testing.T) {
	t.Parallel()
	c := &receiver{}
	s := httptest.NewTLSServer(c)
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, authority(t))
	e := exporter(t, families(up(1)), Options{Endpoint: s.URL, Getenv: env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca)})
	if err := e.Push(within(t)); err == nil || c.count() != 0 {
		t.Errorf("with another authority: %d requests, %v", c.count(), err)
	}
	write(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	if err := e.Push(within(t)); err != nil || c.count() != 1 {
		t.Errorf("with its authority: %d requests, %v", c.count(), err)
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority returns a certificate that vouches for nobody.
func authority(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Run pushes again and again until it is told to stop, and Shutdown once more.
func TestOTLPRun(t *testing.T) {
	t.Parallel()
	c, url := collect(t)
	e := exporter(t, families(up(1)), Options{Endpoint: url, Every: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); c.count() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not push")
		}
	}
	cancel()
	<-done
	before := c.count()
	if err := e.Shutdown(within(t)); err != nil || c.count() != before+1 {
		t.Errorf("at the end: %v, %d requests more", err, c.count()-before)
	}
}

// A collector that never answers holds up no end.
func TestOTLPEndsBesideASilentCollector(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 10), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	defer s.Close()
	defer close(release)
	var logged bytes.Buffer
	e := exporter(t, families(up(1)), Options{Endpoint: s.URL, Every: time.Millisecond, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	<-asked
	cancel()
	<-done
	if logged.Len() > 0 {
		t.Errorf("being stopped is told as trouble:\n%s", &logged)
	}
}
