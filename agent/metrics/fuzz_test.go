package metrics

import "testing"

// Whatever a client says it accepts, it gets a format that exists, and the
// binary one only where there is one.
func FuzzNegotiate(f *testing.F) {
	for _, accept := range []string{
		"", "*/*", "text/plain;version=0.0.4;q=0.3", "application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", ";;q=,", "text/plain;q=NaN", "text/plain;q=-1",
	} {
		f.Add(accept)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		if got := negotiate([]string{accept}, false); got != classic && got != openMetrics {
			t.Errorf("%q: %d", accept, got)
		}
		if got := negotiate([]string{accept}, true); got < classic || got > protobuf {
			t.Errorf("%q: %d", accept, got)
		}
	})
}
