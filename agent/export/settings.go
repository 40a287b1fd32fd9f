package export

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/net/http/httpguts"
)

// otlpSettings are the options with what the environment adds to them. See the
// OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and
// "Environment Variable Specification".
type otlpSettings struct {
	endpoint *url.URL
	headers  []header
	timeout  time.Duration // of one request
	every    time.Duration
	gzip     bool
	resource []attribute.KeyValue

	caFile, certFile, keyFile string
}

const (
	defaultEndpoint = "http://localhost:4318"
	metricsPath     = "/v1/metrics"
)

// An environment is asked for variables.
type environment func(string) string

// otlp returns an exporter's variable: that for metrics, else that for all
// signals.
func (e environment) otlp(name string) (variable, value string) {
	variable = "OTEL_EXPORTER_OTLP_METRICS_" + name
	if value := e(variable); value != "" {
		return variable, value
	}
	variable = "OTEL_EXPORTER_OTLP_" + name
	return variable, e(variable)
}

func newSettings(o Options) (otlpSettings, error) {
	var env environment = os.Getenv
	if o.Getenv != nil {
		env = o.Getenv
	}
	var s otlpSettings
	var errs [6]error
	s.endpoint, errs[0] = env.endpoint(o.Endpoint)
	s.headers, errs[1] = env.headers()
	s.timeout, errs[2] = env.milliseconds(env.otlp("TIMEOUT"))
	s.every, errs[3] = env.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", env("OTEL_METRIC_EXPORT_INTERVAL"))
	s.gzip, errs[4] = env.compression()
	s.resource, errs[5] = env.resource(o.Version)
	s.timeout = cmp.Or(s.timeout, 10*time.Second)
	s.every = cmp.Or(o.Every, s.every, time.Minute)
	_, s.caFile = env.otlp("CERTIFICATE")
	_, s.certFile = env.otlp("CLIENT_CERTIFICATE")
	_, s.keyFile = env.otlp("CLIENT_KEY")
	err := errors.Join(errs[:]...)
	if variable, protocol := env.otlp("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		err = errors.Join(err, fmt.Errorf("%s: %q is not spoken; http/protobuf is", variable, protocol))
	}
	if s.every < 0 {
		err = errors.Join(err, errors.New("the interval is negative"))
	}
	_, failed := s.tls()
	return s, errors.Join(err, failed)
}

// endpoint is where metrics go.
func (e environment) endpoint(given string) (*url.URL, error) {
	source, text, whole := "endpoint", given, false
	if text == "" {
		source = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
		text, whole = e(source), true
	}
	if text == "" {
		source = "OTEL_EXPORTER_OTLP_ENDPOINT"
		text, whole = cmp.Or(e(source), defaultEndpoint), false
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s: it is not a URL such as %s", source, defaultEndpoint)
	}
	if u.User != nil {
		return nil, fmt.Errorf("%s: credentials belong into OTEL_EXPORTER_OTLP_HEADERS", source)
	}
	if !whole && !strings.HasSuffix(u.Path, metricsPath) {
		u = u.JoinPath(metricsPath)
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	return u, nil
}

// headers reads name=value pairs, separated by commas; values are
// percent-encoded. Its errors name no values, which may be secrets.
func (e environment) headers() ([]header, error) {
	variable, text := e.otlp("HEADERS")
	pairs, err := pairs(variable, text)
	var headers []header
	for _, p := range pairs {
		if !httpguts.ValidHeaderFieldName(p.key) || !httpguts.ValidHeaderFieldValue(p.value) {
			err = errors.Join(err, fmt.Errorf("%s: %q cannot be a header, or not with this value", variable, p.key))
			continue
		}
		headers = set(headers, header{p.key, p.value})
	}
	return headers, err
}

func (e environment) milliseconds(variable, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s: %q is not a number of milliseconds", variable, text)
	}
	return time.Duration(n) * time.Millisecond, nil
}

func (e environment) compression() (gzip bool, err error) {
	switch variable, text := e.otlp("COMPRESSION"); text {
	case "", "none":
		return false, nil
	case "gzip":
		return true, nil
	default:
		return false, fmt.Errorf("%s: %q is unknown; gzip and none are known", variable, text)
	}
}

// resource says who pushes: Prometheus makes job and instance of service.name
// and service.instance.id, so two agents must differ in the latter. Of several
// values of a key the last counts.
func (e environment) resource(version string) ([]attribute.KeyValue, error) {
	all := []attribute.KeyValue{attribute.String("service.name", "vpcprobe"), attribute.String("service.version", cmp.Or(version, "unknown"))}
	if host, err := os.Hostname(); err == nil {
		all = append(all, attribute.String("service.instance.id", host), attribute.String("host.name", host))
	}
	given, err := pairs("OTEL_RESOURCE_ATTRIBUTES", e("OTEL_RESOURCE_ATTRIBUTES"))
	for _, g := range given {
		all = append(all, attribute.String(g.key, g.value))
	}
	if name := e("OTEL_SERVICE_NAME"); name != "" {
		all = append(all, attribute.String("service.name", name))
	}
	return all, err
}

// A pair is a key with its value.
type pair struct{ key, value string }

// pairs reads key=value pairs, separated by commas; values are
// percent-encoded.
func pairs(variable, text string) ([]pair, error) {
	var all []pair
	var errs []error
	for i, part := range strings.Split(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		key = strings.TrimSpace(key)
		if !ok || err != nil || key == "" {
			errs = append(errs, fmt.Errorf("%s: pair %d is not name=value with a percent-encoded value", variable, i+1))
			continue
		}
		all = append(all, pair{strings.ToValidUTF8(key, "�"), strings.ToValidUTF8(value, "�")})
	}
	return all, errors.Join(errs...)
}

// tls returns the TLS settings with the files as they are now, nil if none are
// configured.
func (s *otlpSettings) tls() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" && s.keyFile == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("collector's authorities: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("collector's authorities: there is no certificate in %s", s.caFile)
		}
	}
	if s.certFile == "" && s.keyFile == "" {
		return conf, nil
	}
	pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate for the collector: %w", err)
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}
