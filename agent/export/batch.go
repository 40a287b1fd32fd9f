package export

import (
	"iter"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A partial gatherer need not hold all its metrics at once. It may yield a
// family several times, each with a part of its metrics, and may go on after
// an error.
type partial interface {
	GatherParts() iter.Seq2[*dto.MetricFamily, error]
}

// parts yields what a gatherer gathers, family by family.
func parts(g prometheus.Gatherer) iter.Seq2[*dto.MetricFamily, error] {
	if p, ok := g.(partial); ok {
		return p.GatherParts()
	}
	return func(yield func(*dto.MetricFamily, error) bool) {
		families, err := g.Gather()
		for _, f := range families {
			if !yield(f, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// batches yields what a gatherer gathers, maxPoints at most at a time, and its
// errors.
func batches(g prometheus.Gatherer) iter.Seq2[[]*dto.MetricFamily, error] {
	return func(yield func([]*dto.MetricFamily, error) bool) {
		var batch []*dto.MetricFamily
		room := maxPoints
		for f, err := range parts(g) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			for rest := f.Metric; len(rest) > 0; {
				n := min(room, len(rest))
				batch = append(batch, &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit, Metric: rest[:n]})
				rest, room = rest[n:], room-n
				if room > 0 {
					continue
				}
				if !yield(batch, nil) {
					return
				}
				batch, room = nil, maxPoints
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
