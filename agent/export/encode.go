package export

import (
	"iter"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of OTLP are written by hand, because the official exporter
// brings grpc and costs the binary 1.5 MB; a test module holds the result
// against the official exporter's. The numbers are those of
// opentelemetry/proto/metrics/v1/metrics.proto, which is stable.

// An attribute is a key with a text.
type attribute struct{ key, value string }

// An encoder renders families as requests.
type encoder struct {
	resource []byte
	scope    []byte
	version  string
	start    time.Time // when counting began, unless a counter knows better
}

func newEncoder(resource []attribute, version string, start time.Time) encoder {
	e := encoder{version: version, start: start}
	for _, a := range resource {
		e.resource = appendAttribute(e.resource, 1, a.key, a.value)
	}
	e.scope = appendText(appendText(nil, 1, "vpcprobe"), 2, version)
	return e
}

// The fields of Metric that hold the points, and those of the points that hold
// the attributes.
const (
	inGauge       = 5
	inSum         = 7
	inHistogram   = 9
	inExponential = 10
	inSummary     = 11
)

// requests returns ExportMetricsServiceRequests, none much longer than
// maxRequest: where a family is split, each request has a part of its points.
func (e encoder) requests(families []*dto.MetricFamily, now time.Time) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var metrics []byte
		for _, f := range families {
			field, encode := e.form(f)
			if encode == nil {
				continue
			}
			var points []byte
			for _, m := range f.Metric {
				points = appendMessage(points, 1, encode(m, at(m, now)))
				if len(metrics)+len(points) < maxRequest {
					continue
				}
				if !yield(e.request(appendMetric(metrics, f, field, points))) {
					return
				}
				metrics, points = metrics[:0], points[:0]
			}
			if len(points) > 0 {
				metrics = appendMetric(metrics, f, field, points)
			}
		}
		if len(metrics) > 0 {
			yield(e.request(metrics))
		}
	}
}

// request wraps metrics in their scope, resource and request.
func (e encoder) request(metrics []byte) []byte {
	scope := append(appendMessage(nil, 1, e.scope), metrics...)
	return appendMessage(nil, 1, appendMessage(appendMessage(nil, 1, e.resource), 2, scope))
}

// appendMetric appends a Metric, as a field of ScopeMetrics, to b.
func appendMetric(b []byte, f *dto.MetricFamily, field protowire.Number, points []byte) []byte {
	data := points
	switch field {
	case inSum:
		data = appendVarint(appendCumulative(data), 3, 1) // is_monotonic
	case inHistogram, inExponential:
		data = appendCumulative(data)
	}
	m := appendText(nil, 1, f.GetName())
	m = appendText(m, 2, f.GetHelp())
	return appendMessage(b, 2, appendMessage(m, field, data))
}

func appendCumulative(b []byte) []byte { return appendVarint(b, 2, 2) }

// form returns where the points of a family go and how one is rendered; nil
// for types that OTLP has not.
func (e encoder) form(f *dto.MetricFamily) (protowire.Number, func(*dto.Metric, time.Time) []byte) {
	switch f.GetType() {
	case dto.MetricType_GAUGE:
		return inGauge, func(m *dto.Metric, at time.Time) []byte { return number(m, m.GetGauge().GetValue(), at) }
	case dto.MetricType_UNTYPED:
		return inGauge, func(m *dto.Metric, at time.Time) []byte { return number(m, m.GetUntyped().GetValue(), at) }
	case dto.MetricType_COUNTER:
		return inSum, e.counter
	case dto.MetricType_SUMMARY:
		return inSummary, e.summary
	case dto.MetricType_HISTOGRAM:
		if len(f.Metric) > 0 && native(f.Metric[0].GetHistogram()) {
			return inExponential, e.exponential
		}
		return inHistogram, e.histogram
	}
	return 0, nil
}

// at is the time of a sample.
func at(m *dto.Metric, now time.Time) time.Time {
	if ms := m.GetTimestampMs(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return now
}

type timestamp interface {
	IsValid() bool
	AsTime() time.Time
}

// since is when counting began.
func (e encoder) since(created timestamp) time.Time {
	if created.IsValid() {
		return created.AsTime()
	}
	return e.start
}

// number renders a NumberDataPoint without a start.
func number(m *dto.Metric, v float64, at time.Time) []byte {
	b := appendTime(nil, 3, at)
	b = appendDouble(b, 4, v)
	return appendLabels(b, 7, m)
}

func (e encoder) counter(m *dto.Metric, at time.Time) []byte {
	b := appendTime(nil, 2, e.since(m.GetCounter().GetCreatedTimestamp()))
	return append(b, number(m, m.GetCounter().GetValue(), at)...)
}

// histogram renders a HistogramDataPoint. Its buckets are counted each for
// itself, and the last has no bound.
func (e encoder) histogram(m *dto.Metric, at time.Time) []byte {
	h := m.GetHistogram()
	b := appendTime(nil, 2, e.since(h.GetCreatedTimestamp()))
	b = appendTime(b, 3, at)
	b = appendFixed(b, 4, h.GetSampleCount())
	b = appendDouble(b, 5, h.GetSampleSum())
	var counts, bounds []byte
	var before uint64
	for _, bucket := range h.GetBucket() {
		if math.IsInf(bucket.GetUpperBound(), 1) {
			continue // what remains is counted below
		}
		counts = protowire.AppendFixed64(counts, bucket.GetCumulativeCount()-before)
		bounds = protowire.AppendFixed64(bounds, math.Float64bits(bucket.GetUpperBound()))
		before = bucket.GetCumulativeCount()
	}
	counts = protowire.AppendFixed64(counts, h.GetSampleCount()-before)
	b = appendMessage(b, 6, counts)
	b = appendMessage(b, 7, bounds)
	return appendLabels(b, 9, m)
}

// native reports whether a histogram has exponential buckets: one that has no
// samples yet has at least a threshold or a span without width.
func native(h *dto.Histogram) bool {
	return h.GetZeroThreshold() > 0 || h.GetZeroCount() > 0 || len(h.GetPositiveSpan()) > 0 || len(h.GetNegativeSpan()) > 0
}

// exponential renders an ExponentialHistogramDataPoint.
func (e encoder) exponential(m *dto.Metric, at time.Time) []byte {
	h := m.GetHistogram()
	b := appendLabels(nil, 1, m)
	b = appendTime(b, 2, e.since(h.GetCreatedTimestamp()))
	b = appendTime(b, 3, at)
	b = appendFixed(b, 4, h.GetSampleCount())
	b = appendDouble(b, 5, h.GetSampleSum())
	b = appendVarint(b, 6, protowire.EncodeZigZag(int64(h.GetSchema())))
	b = appendFixed(b, 7, h.GetZeroCount())
	b = appendMessage(b, 8, spread(h.GetPositiveSpan(), h.GetPositiveDelta()))
	b = appendMessage(b, 9, spread(h.GetNegativeSpan(), h.GetNegativeDelta()))
	return appendDouble(b, 14, h.GetZeroThreshold())
}

// spread renders Buckets. Prometheus numbers a bucket by its upper bound, OTLP
// by its lower, and only Prometheus leaves gaps and writes differences.
func spread(spans []*dto.BucketSpan, deltas []int64) []byte {
	if len(spans) == 0 {
		return nil
	}
	var counts []byte
	var count int64
	for i, s := range spans {
		if i > 0 {
			for range s.GetOffset() {
				counts = protowire.AppendVarint(counts, 0)
			}
		}
		for range s.GetLength() {
			if len(deltas) == 0 {
				break
			}
			count, deltas = count+deltas[0], deltas[1:]
			counts = protowire.AppendVarint(counts, uint64(max(count, 0)))
		}
	}
	b := appendVarint(nil, 1, protowire.EncodeZigZag(int64(spans[0].GetOffset())-1))
	return appendMessage(b, 2, counts)
}

// summary renders a SummaryDataPoint.
func (e encoder) summary(m *dto.Metric, at time.Time) []byte {
	s := m.GetSummary()
	b := appendTime(nil, 2, e.since(s.GetCreatedTimestamp()))
	b = appendTime(b, 3, at)
	b = appendFixed(b, 4, s.GetSampleCount())
	b = appendDouble(b, 5, s.GetSampleSum())
	for _, q := range s.GetQuantile() {
		b = appendMessage(b, 6, appendDouble(appendDouble(nil, 1, q.GetQuantile()), 2, q.GetValue()))
	}
	return appendLabels(b, 7, m)
}

func appendLabels(b []byte, field protowire.Number, m *dto.Metric) []byte {
	for _, l := range m.GetLabel() {
		b = appendAttribute(b, field, l.GetName(), l.GetValue())
	}
	return b
}

// appendAttribute appends a KeyValue.
func appendAttribute(b []byte, field protowire.Number, key, value string) []byte {
	return appendMessage(b, field, appendMessage(appendText(nil, 1, key), 2, appendText(nil, 1, value)))
}

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendFixed(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
}

func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	return appendFixed(b, field, math.Float64bits(v))
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return appendFixed(b, field, uint64(t.UnixNano()))
}

// A wireField is a field of a message that was received.
type wireField struct {
	number protowire.Number
	kind   protowire.Type
	varint uint64
	bytes  []byte
}

// fields returns the fields of a message, as far as it is one.
func fields(message []byte) iter.Seq[wireField] {
	return func(yield func(wireField) bool) {
		for len(message) > 0 {
			number, kind, n := protowire.ConsumeTag(message)
			if n < 0 {
				return
			}
			size := protowire.ConsumeFieldValue(number, kind, message[n:])
			if size < 0 {
				return
			}
			f := wireField{number: number, kind: kind}
			switch kind {
			case protowire.VarintType:
				f.varint, _ = protowire.ConsumeVarint(message[n:])
			case protowire.BytesType:
				f.bytes, _ = protowire.ConsumeBytes(message[n:])
			}
			if !yield(f) {
				return
			}
			message = message[n+size:]
		}
	}
}
