package metrics

import (
	"math"
	"strconv"
	"testing"
)

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

// Numbers are as client_golang writes them, but for whole ones of six digits
// at most, which have no sign if they are 0.
func FuzzAppendFloat(f *testing.F) {
	for _, v := range []float64{
		0, 1, -1, 999999, 1e6, 123456.5, 999999.999999999, 1.3e-05, 0.0001, 0.00099, 0.001, 0.01, 0.053665515, 0.1, 0.25, 2.5, 10.000000001,
		1e-9, 5e-10, 1.5e-9, 0.1 + 0.2, 1.0 / 3, -0.25, 1.795338268475e+09, 1e15, 1e300, 5e-324, math.NaN(), math.Inf(1), math.Inf(-1),
	} {
		f.Add(v, int64(v*1e9))
	}
	f.Fuzz(func(t *testing.T, v float64, nanoseconds int64) {
		for _, v := range []float64{v, float64(nanoseconds) / 1e9} {
			want := strconv.FormatFloat(v+0, 'g', -1, 64) // + 0: without the sign of 0
			if got := string(appendFloat(nil, v, false)); got != want {
				t.Errorf("%v: %s, want %s", v, got, want)
			}
		}
	})
}
