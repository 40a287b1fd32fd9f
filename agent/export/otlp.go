package export

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"vpcprobe/probes"
)

// Options say how metrics are pushed. What they leave open is taken from the
// standard OTEL_ variables of the environment, and else the standard default
// applies.
type Options struct {
	// Endpoint is the collector's URL, such as http://127.0.0.1:4318.
	// Metrics go to v1/metrics below it.
	Endpoint string

	Every   time.Duration       // how often to push
	Getenv  func(string) string // the environment; os.Getenv if nil
	Version string              // ours
	Log     *slog.Logger        // discarded if nil
}

// An OTLP pushes what a gatherer gathers to an OpenTelemetry collector, by
// OTLP over HTTP. Values are cumulative, so a push that fails loses nothing
// but its moment: the next makes up for it.
//
// It is OpenTelemetry's own exporter behind its bridge from Prometheus, without
// its reader, which would hold all metrics at once, thrice. Here a push is many
// requests of some thousand points. Certificates are read at every push.
// Redirects are not followed, because that would show the headers, which may
// hold a token, to somebody else.
type OTLP struct {
	gatherer prometheus.Gatherer
	settings otlpSettings
	version  string
	resource *resource.Resource
	log      *slog.Logger
	loud     seldom
	backoff  time.Duration // before the first retry

	pushing sync.Mutex // held during a push
	mu      sync.Mutex
	stats   OTLPStats
	failing bool
}

// OTLPStats count pushes.
type OTLPStats struct {
	Pushed   uint64    // pushes that arrived whole
	Failed   uint64    // pushes that did not
	Rejected uint64    // data points that the collector did not want
	Latest   time.Time // of the latest push that arrived; zero if none did
}

const (
	maxPoints   = 4000 // of a request: less than a megabyte, as a rule
	maxResponse = 64 << 10
	maxBackoff  = 30 * time.Second
)

// NewOTLP returns an exporter. Its errors say which setting or variable is
// wrong. It sends nothing before Run or Push.
func NewOTLP(_ context.Context, gatherer prometheus.Gatherer, o Options) (*OTLP, error) {
	s, err := newSettings(o)
	if err != nil {
		return nil, err
	}
	otlp := &OTLP{
		gatherer: gatherer, settings: s, backoff: time.Second,
		version: cmp.Or(o.Version, "unknown"), resource: resource.NewSchemaless(s.resource...),
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
	}
	otlp.silence()
	return otlp, nil
}

// silence keeps OpenTelemetry from writing to standard error by itself. It
// reads variables of the environment that do not count, too, and would quote
// those that it cannot read, whatever is secret in them.
func (o *OTLP) silence() {
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if skipped, ok := o.loud.ok(); ok {
			o.log.Warn("not all metrics can be pushed", "error", err, "not_logged", skipped)
		}
	}))
}

// Run pushes every interval, from a random moment of the first on, until ctx
// is done. Failures are logged and counted.
func (o *OTLP) Run(ctx context.Context) {
	timer := time.NewTimer(rand.N(o.settings.every))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(o.settings.every)
			pushing, cancel := context.WithTimeout(ctx, max(o.settings.every, o.settings.timeout))
			o.Push(pushing)
			cancel()
		}
	}
}

// Shutdown pushes a last time, as long as ctx lasts. Run must have ended.
func (o *OTLP) Shutdown(ctx context.Context) error { return o.Push(ctx) }

// Stats returns how the pushes went.
func (o *OTLP) Stats() OTLPStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// Push pushes once. It tries again what may succeed the next time, as long as
// ctx lasts.
func (o *OTLP) Push(ctx context.Context) error {
	o.pushing.Lock()
	defer o.pushing.Unlock()
	rejected, err := o.push(ctx)
	o.count(rejected, err)
	if err != nil && ctx.Err() != context.Canceled {
		if skipped, ok := o.loud.ok(); ok {
			o.log.Warn("metrics cannot be pushed", "endpoint", o.settings.endpoint.Host, "error", err, "not_logged", skipped)
		}
	}
	return err
}

// count notes how a push went.
func (o *OTLP) count(rejected uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Rejected += rejected
	if err != nil {
		o.stats.Failed++
		o.failing = true
		return
	}
	o.stats.Pushed++
	o.stats.Latest = time.Now()
	if o.failing {
		o.log.Info("metrics are pushed again", "endpoint", o.settings.endpoint.Host)
	}
	o.failing = false
}

func (o *OTLP) push(ctx context.Context) (rejected uint64, err error) {
	w, err := o.wire()
	if err != nil {
		return 0, err
	}
	defer w.transport.CloseIdleConnections()
	exporter, err := o.exporter(ctx, w)
	if err != nil {
		return 0, err
	}
	var gathering error
	for families, err := range batches(o.gatherer) {
		if err != nil {
			gathering = err // what could be gathered is worth pushing
			continue
		}
		if err := o.send(ctx, exporter, families); err != nil {
			return w.rejected, w.plain(err)
		}
	}
	return w.rejected, gathering
}

// exporter returns OpenTelemetry's exporter with our settings. It reads the
// environment itself, too, but what it is told here takes precedence.
func (o *OTLP) exporter(ctx context.Context, w *wire) (*otlpmetrichttp.Exporter, error) {
	headers := map[string]string{"User-Agent": "vpcprobe/" + o.version}
	for _, h := range o.settings.headers {
		headers[h.name] = h.value
	}
	compression := otlpmetrichttp.NoCompression
	if o.settings.gzip {
		compression = otlpmetrichttp.GzipCompression
	}
	patience := o.settings.every
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	return otlpmetrichttp.New(ctx,
		otlpmetrichttp.WithEndpointURL(o.settings.endpoint.String()),
		otlpmetrichttp.WithHeaders(headers),
		otlpmetrichttp.WithCompression(compression),
		otlpmetrichttp.WithTLSClientConfig(nil), // the client has it
		otlpmetrichttp.WithHTTPClient(&http.Client{
			Transport:     w,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       o.settings.timeout,
		}),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{
			Enabled: true, InitialInterval: o.backoff, MaxInterval: maxBackoff, MaxElapsedTime: max(patience, 1),
		}),
	)
}

// send sends families in one request, again and again if need be.
func (o *OTLP) send(ctx context.Context, exporter *otlpmetrichttp.Exporter, families []*dto.MetricFamily) error {
	fixed := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	scopes, err := bridge.NewMetricProducer(bridge.WithGatherer(fixed)).Produce(ctx)
	if err != nil || len(scopes) == 0 {
		return err
	}
	scopes[0].Scope = instrumentation.Scope{Name: "vpcprobe", Version: o.version}
	return exporter.Export(ctx, &metricdata.ResourceMetrics{Resource: o.resource, ScopeMetrics: scopes})
}

// A wire carries the requests of one push. It says more of answers than the
// exporter would, and less of what may be secret.
type wire struct {
	*OTLP
	transport *http.Transport
	rejected  uint64 // data points
	refusal   error  // the latest answer other than 200
}

// wire returns a wire with the certificates as they are now. It speaks
// HTTP/1.1, because release builds have no other client in net/http.
func (o *OTLP) wire() (*wire, error) {
	conf, err := o.settings.tls()
	if err != nil {
		return nil, err
	}
	return &wire{OTLP: o, transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: o.settings.timeout}).DialContext,
		TLSClientConfig: conf,
		MaxIdleConns:    1, MaxResponseHeaderBytes: maxResponse,
	}}, nil
}

// A transient error may be gone the next time. The exporter asks for it by
// this method.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }
func (transient) Temporary() bool { return true }

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.refusal = nil
	r = r.Clone(r.Context())
	r.URL = w.settings.endpoint // with its query, which the exporter leaves out
	resp, err := w.transport.RoundTrip(r)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return nil, err
	}
	if err != nil {
		return nil, transient{err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	switch {
	case resp.StatusCode/100 != 2:
		w.refusal = errors.Join(fmt.Errorf("the collector answers %s: %s", resp.Status, w.scrub(string(text))), err)
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "application/x-protobuf"):
		w.partial(text) // it has arrived, whatever became of the answer
	}
	resp.Body = http.NoBody
	return resp, nil
}

// plain is the error of a push in our own words, and without the URL.
func (w *wire) plain(err error) error {
	if w.refusal != nil {
		return w.refusal
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// partial counts what data points of a request the collector did not want, and
// tells why.
func (w *wire) partial(body []byte) {
	var r collector.ExportMetricsServiceResponse
	if proto.Unmarshal(body, &r) != nil {
		return
	}
	rejected, message := max(r.GetPartialSuccess().GetRejectedDataPoints(), 0), r.GetPartialSuccess().GetErrorMessage()
	w.rejected += uint64(rejected)
	if rejected == 0 && message == "" {
		return
	}
	if skipped, ok := w.loud.ok(); ok {
		w.log.Warn("the collector did not want all metrics", "rejected", rejected, "message", w.scrub(message), "not_logged", skipped)
	}
}

// scrub makes what the collector says fit for the log.
func (o *OTLP) scrub(text string) string {
	var known []string
	for _, h := range o.settings.headers {
		known = append(known, h.value)
	}
	return probes.Scrub(text, 200, known...)
}

// A header is sent with every request.
type header struct{ name, value string }

// set replaces or adds a header.
func set(headers []header, h header) []header {
	i := slices.IndexFunc(headers, func(old header) bool { return strings.EqualFold(old.name, h.name) })
	if i < 0 {
		return append(headers, h)
	}
	headers[i] = h
	return headers
}
