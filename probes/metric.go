package probes

import "time"

// A Metric is a number that observations may carry. Its declaration, beside
// the code that reads the number, is the only place that says what it is
// called and what it means; the collector, docs/metrics.md and the checks of
// dashboards derive from it.
type Metric struct {
	Name string // without the prefix vpcprobe_, with the unit: clock_skew_seconds
	Help string // one sentence with the unit and the meaning of special values
	Type MetricType

	// Labels beside target. Of these, kind, address, via, resolver and name
	// are filled in from the observation; the others are taken from the
	// Value, in order.
	Labels []string
}

// MetricType says how values add up.
type MetricType int

// The types of metric.
const (
	Gauge   MetricType = iota // the latest value
	Counter                   // values are added; the name ends in _total
)

// A Value is one reading of a metric.
type Value struct {
	*Metric
	V      float64
	Labels Labels // the values of the labels that the observation does not fill in
}

// Is returns a reading of m.
func (m *Metric) Is(v float64, labels ...string) Value { return Value{m, v, LabelsOf(labels...)} }

// If returns a reading of m that is 1 if b holds, and 0 if not.
func (m *Metric) If(b bool, labels ...string) Value {
	if b {
		return m.Is(1, labels...)
	}
	return m.Is(0, labels...)
}

// Delay is what kinds report that have the kernel's timing beside their own:
// how much later than the kernel they noticed. It tells how far the timings
// are to be trusted that nothing but this process's clock measured.
var Delay = &Metric{
	Name:   "probe_delay_seconds_total",
	Help:   "Seconds by which the agent noticed replies later than the kernel received them; a sum that grows fast means that this machine is too busy for exact timings.",
	Type:   Counter,
	Labels: []string{"kind"},
}

// tolerable is the delay above which an operation's timings are marked: what
// this process's clock measured of it may be this much too long.
const tolerable = 5 * time.Millisecond

// Late returns the [Delay] with which the operation was noticed, if that is so
// long that its timings are not to be trusted, and 0 if not.
func (o Observation) Late() time.Duration {
	for _, v := range o.Values {
		if d := time.Duration(v.V * float64(time.Second)); v.Metric == Delay && d > tolerable {
			return d
		}
	}
	return 0
}
