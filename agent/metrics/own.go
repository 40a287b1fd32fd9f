package metrics

import "time"

// Own are the parts of the agent that may fail without a word to the targets.
// What is nil is not configured, and its metrics are absent.
type Own struct {
	WebConfig  func() error  // why the files of the web configuration are not in force as they are now
	EMFDropped func() uint64 // rounds that were not written
	OTLP       func() Pushes
}

// Pushes count what was pushed to a collector.
type Pushes struct {
	Succeeded, Failed uint64
	Rejected          uint64    // data points that the collector did not want
	Latest            time.Time // of the latest success; zero if there was none
}

// ownFamilies tell how the exporters and the endpoint are doing.
func (m *Metrics) ownFamilies() []*family {
	return []*family{{
		name: prefix + "web_config_last_reload_successful",
		help: "Whether the web configuration and its certificates are in force as their files are now (1), or could not be read again (0), in which case those before stay in force. Absent without web_config_file.",
		ofAgent: func(out *samples) {
			if m.Own.WebConfig != nil {
				out.add(b2f(m.Own.WebConfig() == nil))
			}
		},
	}, {
		name: prefix + "emf_dropped_rounds_total", typ: counterType,
		help: "Rounds that were not written in the CloudWatch embedded metric format, because standard output was not read fast enough or could not be written. Absent without metrics.emf.",
		ofAgent: func(out *samples) {
			if m.Own.EMFDropped != nil {
				out.add(float64(m.Own.EMFDropped()))
			}
		},
	}, {
		name: prefix + "otlp_pushes_total", typ: counterType, labels: []string{"result"},
		help: "Pushes to the OpenTelemetry collector: success (it arrived whole) or failure (after all its retries). Absent without metrics.otlp.",
		ofAgent: m.pushed(func(out *samples, p Pushes) {
			out.add(float64(p.Succeeded), resultNames[success])
			out.add(float64(p.Failed), resultNames[failure])
		}),
	}, {
		name: prefix + "otlp_rejected_points_total", typ: counterType,
		help:    "Data points that arrived and that the collector did not want. The log has its reason. Absent without metrics.otlp.",
		ofAgent: m.pushed(func(out *samples, p Pushes) { out.add(float64(p.Rejected)) }),
	}, {
		name:    prefix + "otlp_last_success_timestamp_seconds",
		help:    "When a push last arrived whole, in Unix time. Absent if none did.",
		ofAgent: m.pushed(func(out *samples, p Pushes) { out.timestamp(p.Latest) }),
	}}
}

func (m *Metrics) pushed(add func(*samples, Pushes)) func(*samples) {
	return func(out *samples) {
		if m.Own.OTLP != nil {
			add(out, m.Own.OTLP())
		}
	}
}
