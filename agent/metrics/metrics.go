// Package metrics shows rounds to Prometheus.
package metrics

import (
	"net/http"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// Options say what is shown beside the rounds.
type Options struct {
	Version string
	Stats   func() agent.Stats // the agent's, for the scheduler's families; may be nil
	Native  bool               // native histograms beside the classic ones
}

// Metrics is an [agent.Sink] and a [prometheus.Gatherer].
type Metrics struct{}

// New returns the metrics of the kinds.
func New(kinds []probes.Kind, o Options) *Metrics { return &Metrics{} }

// Record implements [agent.Sink].
func (m *Metrics) Record(r agent.Round) {}

// Forget implements [agent.Forgetter].
func (m *Metrics) Forget(target string) {}

// Reloaded notes whether a reload of the configuration was successful.
func (m *Metrics) Reloaded(ok bool) {}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler { return http.NotFoundHandler() }

// Reference renders docs/metrics.md.
func Reference(kinds []probes.Kind) string { return "" }
