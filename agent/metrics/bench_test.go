package metrics

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkScrape reports the time for each series of a large installation.
func BenchmarkScrape(b *testing.B) {
	for _, coding := range []string{"identity", "gzip"} {
		b.Run(coding, func(b *testing.B) {
			m := New(kinds(), Options{})
			for i := range 1000 {
				m.Record(healthy(fmt.Sprint("target-", i)).r)
			}
			var plain discard
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			m.Handler().ServeHTTP(&plain, r)
			r.Header.Set("Accept-Encoding", coding)
			b.ReportAllocs()
			for b.Loop() {
				m.Handler().ServeHTTP(&discard{}, r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(plain.lines), "ns/series")
		})
	}
}

type discard struct{ lines int }

func (*discard) Header() http.Header { return http.Header{} }
func (*discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.lines += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}
