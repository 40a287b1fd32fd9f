package metrics

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// A format is a way of writing metrics.
type format int

const (
	classic format = iota
	openMetrics
	protobuf
)

var contentTypes = [...]string{
	classic:     "text/plain; version=0.0.4; charset=utf-8",
	openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

// Handler serves the metrics: as text or OpenMetrics by this package's own
// encoder, in the binary format, in which alone native histograms travel, by
// client_golang's.
func (m *Metrics) Handler() http.Handler {
	binary := m.binary()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := negotiate(r.Header.Values("Accept"), binary != nil)
		if f == protobuf {
			binary.ServeHTTP(w, r)
			return
		}
		m.serveText(w, r, f)
	})
}

// negotiate returns the format that the client likes best.
func negotiate(accept []string, binary bool) format {
	best, weight := classic, 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		f, ok := formatOf(media, params)
		if !ok || f == protobuf && !binary {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			q, err = strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
		}
		if q > weight {
			best, weight = f, q
		}
	}
	return best
}

func formatOf(media string, params map[string]string) (format, bool) {
	switch {
	case media == "application/openmetrics-text":
		return openMetrics, params["version"] == "" || strings.HasPrefix(params["version"], "1.")
	case media == "application/vnd.google.protobuf":
		return protobuf, params["proto"] == "io.prometheus.client.MetricFamily" && params["encoding"] == "delimited"
	case media == "text/plain":
		return classic, true
	}
	return classic, false
}

func (m *Metrics) serveText(w http.ResponseWriter, r *http.Request, f format) {
	w.Header().Set("Content-Type", contentTypes[f])
	w.Header().Add("Vary", "Accept, Accept-Encoding")
	e := m.encoders.Get().(*encoder)
	defer m.encoders.Put(e)
	if !acceptsGzip(r) {
		e.start(w, f == openMetrics)
		m.writeText(e)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	e.gzip.Reset(w)
	defer e.gzip.Close()
	e.start(e.gzip, f == openMetrics)
	m.writeText(e)
}

func (m *Metrics) writeText(e *encoder) {
	states := m.all()
	for _, f := range m.shown(states) {
		e.write(f, states)
	}
	m.registry.writeText(e, e.open)
	if e.open {
		e.text = append(e.text, "# EOF\n"...)
	}
	e.flush()
	e.w = nil
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if coding == "gzip" && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
