package webtest

import (
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"vpcprobe/agent/export"
)

// received is what a collector was sent.
type received struct {
	path    string
	headers http.Header
	request *collector.ExportMetricsServiceRequest
}

// listen starts a collector that keeps what it is sent.
func listen(t *testing.T) (url string, got chan received) {
	t.Helper()
	got = make(chan received, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		text, _ := io.ReadAll(body)
		request := &collector.ExportMetricsServiceRequest{}
		if err := proto.Unmarshal(text, request); err != nil {
			t.Error(err)
		}
		got <- received{r.URL.Path, r.Header, request}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// pushTheirs pushes with OpenTelemetry's exporter, configured by the
// environment.
func pushTheirs(t *testing.T, g prometheus.Gatherer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := otlpmetrichttp.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reader := sdk.NewPeriodicReader(e, sdk.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(g))))
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	if err := provider.Shutdown(ctx); err != nil { // pushes once
		t.Fatal(err)
	}
}

func pushOurs(t *testing.T, g prometheus.Gatherer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := export.NewOTLP(ctx, g, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Push(ctx); err != nil {
		t.Fatal(err)
	}
}

// byName returns the metrics by their names. Where the registry does not know
// when counting began, each exporter says when itself did: that is set to 0.
func byName(t *testing.T, r *collector.ExportMetricsServiceRequest) map[string]*metrics.Metric {
	t.Helper()
	all := map[string]*metrics.Metric{}
	for _, resource := range r.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			if scope.Scope.Name == "go.opentelemetry.io/otel/sdk/metric" {
				continue
			}
			for _, m := range scope.Metrics {
				if all[m.Name] != nil {
					t.Errorf("%s comes twice", m.Name)
				}
				all[m.Name] = m
				if !strings.HasPrefix(m.Name, "go_") && !strings.HasPrefix(m.Name, "process_") {
					continue
				}
				for _, p := range m.GetSum().GetDataPoints() {
					p.StartTimeUnixNano = 0
				}
				for _, p := range m.GetSummary().GetDataPoints() {
					p.StartTimeUnixNano = 0
				}
			}
		}
	}
	return all
}

// everything is a registry of every type, with labels, created times, empty
// and full histograms, and the runtime's own families.
func everything() *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gauge", Help: "A gauge."}, []string{"b", "a"})
	gauge.WithLabelValues("1", "").Set(-1.5)
	gauge.WithLabelValues("", "ü").Set(0)
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "counter_total", Help: "A counter."}, []string{"target"})
	counter.WithLabelValues("orders").Add(3)
	empty := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "empty_seconds", Help: "Empty."})
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "classic_seconds", Help: "Classic.", Buckets: []float64{0.001, 0.01, 5}})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native_seconds", Help: "Native.", NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100})
	unused := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "unused_seconds", Help: "Native and empty.", NativeHistogramBucketFactor: 1.1})
	dual := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dual_seconds", Help: "Both.", Buckets: []float64{1}, NativeHistogramBucketFactor: 1.5})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "summary_seconds", Help: "A summary.", Objectives: map[float64]float64{0.5: 0.05, 0.99: 0.001}})
	for i := range 500 {
		v := float64(i%37-3) * 0.003 // 0 among them
		if i%50 == 0 {
			v = 1000 // beyond the last bucket
		}
		for _, o := range []prometheus.Observer{classic, native, dual, summary} {
			o.Observe(v)
		}
	}
	r.MustRegister(gauge, counter, empty, classic, native, unused, dual, summary, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Our exporter and OpenTelemetry's send the same metrics for the same
// registry, to the same path with the same headers.
func TestOTLPIsSentAlike(t *testing.T) {
	for _, compression := range []string{"none", "gzip"} {
		t.Run(compression, func(t *testing.T) {
			families, err := everything().Gather()
			if err != nil {
				t.Fatal(err)
			}
			fixed := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
			url, got := listen(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url+"/api/v1/otlp")
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b,authorization=Bearer%20x%3D")
			t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
			t.Setenv("OTEL_SERVICE_NAME", "edge")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "zone=eu%2Cwest,service.name=other")
			pushTheirs(t, fixed)
			pushOurs(t, fixed)
			theirs, ours := <-got, <-got
			if theirs.path != ours.path || ours.path != "/api/v1/otlp/v1/metrics" {
				t.Errorf("theirs goes to %s, ours to %s", theirs.path, ours.path)
			}
			for _, name := range []string{"Content-Type", "Content-Encoding", "X-Tenant", "Authorization"} {
				if theirs.headers.Get(name) != ours.headers.Get(name) {
					t.Errorf("%s: theirs is %q, ours %q", name, theirs.headers.Get(name), ours.headers.Get(name))
				}
			}
			for _, key := range []string{"service.name", "zone"} {
				if a, b := attribute(theirs, key), attribute(ours, key); a != b || b == "" {
					t.Errorf("%s: theirs is %q, ours %q", key, a, b)
				}
			}
			a, b := byName(t, theirs.request), byName(t, ours.request)
			if len(a) < 30 {
				t.Fatalf("only %d metrics were compared: %v", len(a), slices.Sorted(maps.Keys(a)))
			}
			if diff := cmp.Diff(a, b, protocmp.Transform(), ignoreTimes()); diff != "" {
				t.Errorf("the metrics differ (-theirs +ours):\n%s", diff)
			}
		})
	}
}

// ignoreTimes leaves out when points were taken, which differs.
func ignoreTimes() cmp.Option {
	var all cmp.Options
	for _, m := range []proto.Message{&metrics.NumberDataPoint{}, &metrics.HistogramDataPoint{}, &metrics.ExponentialHistogramDataPoint{}, &metrics.SummaryDataPoint{}} {
		all = append(all, protocmp.IgnoreFields(m, "time_unix_nano"))
	}
	return all
}

func attribute(r received, key string) string {
	for _, a := range r.request.ResourceMetrics[0].Resource.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}
