package export

import (
	"bytes"
	"cmp"
	"compress/gzip"
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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"

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
// Large pushes are many requests, of some thousand points and a megabyte at
// most, and no more than that is gathered at once: thousands of targets would
// otherwise take hundreds of megabytes. Certificates are read at every push. Redirects are not followed, because that would show the
// headers, which may hold a token, to somebody else.
type OTLP struct {
	gatherer prometheus.Gatherer
	settings otlpSettings
	encoder  encoder
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
	maxPoints   = 4000    // of a request
	maxRequest  = 1 << 20 // bytes of a request, before compression
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
	return &OTLP{
		gatherer: gatherer, settings: s, backoff: time.Second,
		encoder: newEncoder(s.resource, cmp.Or(o.Version, "unknown"), time.Now()),
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
	}, nil
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
	client, err := o.client()
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	var gathering error
	for families, err := range batches(o.gatherer) {
		if err != nil {
			gathering = err // what could be gathered is worth pushing
			continue
		}
		for body := range o.encoder.requests(families, time.Now()) {
			n, err := o.send(ctx, client, body)
			rejected += n
			if err != nil {
				return rejected, err
			}
		}
	}
	return rejected, gathering
}

// client returns a client with the certificates as they are now.
func (o *OTLP) client() (*http.Client, error) {
	conf, err := o.settings.tls()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			DialContext:     (&net.Dialer{Timeout: o.settings.timeout}).DialContext,
			TLSClientConfig: conf, ForceAttemptHTTP2: true,
			MaxIdleConns: 1, MaxResponseHeaderBytes: maxResponse,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       o.settings.timeout,
	}, nil
}

// A transient error may be gone the next time.
type transient struct {
	error
	after time.Duration // the collector's wish, 0 if none
}

func (t transient) Unwrap() error { return t.error }

// send sends a request, again and again if need be.
func (o *OTLP) send(ctx context.Context, client *http.Client, body []byte) (rejected uint64, err error) {
	if o.settings.gzip {
		body = compressed(body)
	}
	for wait := o.backoff; ; wait = min(2*wait, maxBackoff) {
		rejected, err := o.try(ctx, client, body)
		t, ok := errors.AsType[transient](err)
		if !ok {
			return rejected, err
		}
		pause := max(t.after, wait/2+rand.N(wait/2+1))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(pause):
		}
	}
}

func compressed(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(body) // to memory
	w.Close()
	return b.Bytes()
}

// try sends a request once. See the OTLP specification, "OTLP/HTTP".
func (o *OTLP) try(ctx context.Context, client *http.Client, body []byte) (rejected uint64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.settings.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("User-Agent", "vpcprobe/"+o.encoder.version)
	for _, h := range o.settings.headers {
		r.Header.Set(h.name, h.value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	if o.settings.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, o.failure(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if resp.StatusCode/100 == 2 {
		return o.partial(resp, text), nil // it has arrived, whatever became of the answer
	}
	err = errors.Join(fmt.Errorf("the collector answers %s: %s", resp.Status, o.scrub(string(text))), err)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, transient{err, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return 0, err
}

// failure is an error of the connection without the URL, which may hold a
// token. Of these, only bad certificates are there to stay.
func (o *OTLP) failure(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return err
	}
	return transient{error: err}
}

// scrub makes what the collector says fit for the log.
func (o *OTLP) scrub(text string) string {
	var known []string
	for _, h := range o.settings.headers {
		known = append(known, h.value)
	}
	return probes.Scrub(text, 200, known...)
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// partial returns how many data points of a request the collector did not
// want, and tells why.
func (o *OTLP) partial(resp *http.Response, body []byte) uint64 {
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/x-protobuf") {
		return 0
	}
	rejected, message := partialSuccess(body)
	if rejected == 0 && message == "" {
		return 0
	}
	if skipped, ok := o.loud.ok(); ok {
		o.log.Warn("the collector did not want all metrics", "rejected", rejected, "message", o.scrub(message), "not_logged", skipped)
	}
	return rejected
}

// partialSuccess reads an ExportMetricsServiceResponse. What is no such
// message says nothing, or as much as its beginning.
func partialSuccess(body []byte) (rejected uint64, message string) {
	for f := range fields(body) {
		if f.number != 1 || f.kind != protowire.BytesType {
			continue
		}
		for g := range fields(f.bytes) {
			switch {
			case g.number == 1 && g.kind == protowire.VarintType:
				rejected = uint64(max(int64(g.varint), 0))
			case g.number == 2 && g.kind == protowire.BytesType:
				message = string(g.bytes)
			}
		}
	}
	return rejected, message
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
