package metrics

import (
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vpcprobe/probes"
)

// A registry holds, with client_golang, what is not worth an encoder of ours:
// the runtime's and the process' own families, and native histograms.
type registry struct {
	*prometheus.Registry
	phases *prometheus.HistogramVec // nil unless native histograms are wanted
}

func newRegistry(o Options) registry {
	r := registry{Registry: prometheus.NewRegistry()}
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if o.Native {
		r.phases = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "phase_duration_seconds", Help: phaseHistogramHelp,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"target", "phase"})
		r.MustRegister(r.phases)
	}
	return r
}

func (r registry) observe(target string, p probes.Phase) {
	if r.phases != nil {
		r.phases.WithLabelValues(target, p.Name).Observe(p.Took.Seconds())
	}
}

func (r registry) forget(target string) {
	if r.phases != nil {
		r.phases.DeletePartialMatch(prometheus.Labels{"target": target})
	}
}

// writeText writes the registry's families.
func (r registry) writeText(w io.Writer, open bool) {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if open {
		format = expfmt.NewFormat(expfmt.TypeOpenMetrics)
	}
	families, _ := r.Gather() // what could be gathered
	out := expfmt.NewEncoder(w, format)
	for _, f := range families {
		if out.Encode(f) != nil {
			return
		}
	}
}

// binary serves the format in which alone native histograms travel.
func (m *Metrics) binary() http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError})
}

// Gather implements [prometheus.Gatherer].
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) {
	families, err := m.registry.Gather()
	e := newEncoder(&m.recording)
	states := m.all()
	for _, f := range m.shown(states) {
		if g := e.gather(f, states); len(g.Metric) > 0 {
			families = append(families, g)
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// gathered is how many targets a part of a family has.
const gathered = 200

// GatherParts yields what Gather returns, of some targets at a time: for all
// at once, there may be hundreds of megabytes.
func (m *Metrics) GatherParts() iter.Seq2[*dto.MetricFamily, error] {
	return func(yield func(*dto.MetricFamily, error) bool) {
		families, err := m.registry.Gather()
		for _, f := range families {
			if !yield(f, nil) {
				return
			}
		}
		if err != nil && !yield(nil, err) {
			return
		}
		e := newEncoder(&m.recording)
		states := m.all()
		for _, f := range m.shown(states) {
			parts := slices.Chunk(states, gathered)
			if f.ofAgent != nil {
				parts = slices.Values([][]*state{nil})
			}
			for part := range parts {
				if g := e.gather(f, part); len(g.Metric) > 0 && !yield(g, nil) {
					return
				}
			}
		}
	}
}

// gather renders a family for client_golang.
func (e *encoder) gather(f *family, states []*state) *dto.MetricFamily {
	g := &dto.MetricFamily{
		Name: new(f.name), Help: new(f.help),
		Type: new([...]dto.MetricType{dto.MetricType_GAUGE, dto.MetricType_COUNTER, dto.MetricType_HISTOGRAM}[f.typ]),
	}
	e.collect(f, states, func() {
		for i := range e.samples.values {
			g.Metric = append(g.Metric, e.metric(f, i))
		}
	})
	return g
}

func (e *encoder) metric(f *family, i int) *dto.Metric {
	m := &dto.Metric{}
	for j, name := range f.labels {
		m.Label = append(m.Label, &dto.LabelPair{Name: new(name), Value: new(valid(e.samples.at(i)[j]))})
	}
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	v := e.samples.values[i]
	switch f.typ {
	case gauge:
		m.Gauge = &dto.Gauge{Value: new(v)}
	case counterType:
		m.Counter = &dto.Counter{Value: new(v), CreatedTimestamp: e.created(i)}
	case histogram:
		h := &dto.Histogram{SampleSum: new(e.samples.sum), CreatedTimestamp: e.created(i)}
		var n uint64
		for j, bound := range buckets {
			n += uint64(e.samples.buckets[j])
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(bound), CumulativeCount: new(n)})
		}
		h.SampleCount = new(n + uint64(e.samples.buckets[len(buckets)]))
		m.Histogram = h
	}
	return m
}

// created is when a sample began to count. One of a target that was changed, or of
// an address that came back, begins at 0 again, and would pass for one that falls.
func (e *encoder) created(i int) *timestamppb.Timestamp {
	if begun := e.samples.begun(i); begun != 0 {
		return timestamppb.New(time.UnixMilli(begun))
	}
	return nil // with the process
}
